package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/watchlist"
)

// consumer replays what a sink gets, and complains of what no consumer can make sense of.
type consumer struct {
	mu         sync.Mutex
	there      map[string]string // uid and version, by resource/namespace/name
	alive      map[string]bool   // by uid, for those who know objects by that
	newest     map[string]int    // version that was heard of a uid
	offered    int
	complaints []string
	tolerant   bool // it gets objects by another way, too, and so hears of some things late
}

func newConsumer() *consumer {
	return &consumer{there: map[string]string{}, alive: map[string]bool{}, newest: map[string]int{}}
}

func (c *consumer) MakeWay() bool { return true }

func (c *consumer) Offer(resource schema.GroupVersionResource, change wire.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offered++
	now := readChange(change)
	key := fmt.Sprintf("%s/%s/%s", resource.Resource, now.namespace, now.name)
	c.alive[now.uid] = now.event != wire.Deleted
	version, err := strconv.Atoi(now.version)
	before, there := c.there[key]
	same := there && strings.HasPrefix(before, now.uid+" ")
	switch {
	case err != nil, version < c.newest[now.uid]:
		c.complaints = append(c.complaints, fmt.Sprintf("%v after version %d", now, c.newest[now.uid]))
	case c.tolerant && now.event == wire.Deleted && !same:
		return // it was another one, or is gone already
	case c.tolerant:
	case now.event == wire.Added && there && !same, now.event != wire.Added && !same:
		c.complaints = append(c.complaints, fmt.Sprintf("%v, and there is %q", now, before))
	}
	c.newest[now.uid] = version
	c.there[key] = now.uid + " " + now.version
	if now.event == wire.Deleted {
		delete(c.there, key)
	}
}

// forgetVersions lets versions begin anew.
func (c *consumer) forgetVersions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.newest)
}

func (c *consumer) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offered
}

// agrees reports whether a consumer knows exactly the truth, and has had nothing to complain of.
func (c *consumer) agrees(t *testing.T, when string, truth map[string]string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !maps.Equal(c.there, truth) {
		t.Errorf("%s: the consumer knows %v, and the truth is %v", when, c.there, truth)
	}
	var uids []string
	for _, known := range c.there {
		uid, _, _ := strings.Cut(known, " ")
		uids = append(uids, uid)
	}
	for uid, alive := range c.alive {
		if alive && !slices.Contains(uids, uid) {
			t.Errorf("%s: nobody has said that %s is gone", when, uid)
		}
	}
	if len(c.complaints) > 0 {
		t.Errorf("%s: %s", when, strings.Join(c.complaints, "\n"))
	}
	c.complaints = nil
}

// scene is a watch of all ConfigMaps, and who hears of it. It is part of a bubble.
type scene struct {
	*apiServer
	got   *consumer
	set   *set
	watch *watch
}

// newScene has some objects, and a watch that has not begun.
func newScene(t *testing.T) *scene {
	s := &scene{apiServer: newAPIServer(t), got: newConsumer()}
	for _, name := range []string{"a", "b", "c", "d"} {
		s.put("configmaps/demo/"+name, name+"1")
	}
	s.set = newTestSet(s.client(t), s.got)
	return s
}

// begin starts the watch, which ends with the test.
func (s *scene) begin(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s.set.apply(ctx, wishFor(watchlist.Target{Resource: configMaps, Kind: "ConfigMap", Events: watchlist.AllEvents}))
	s.watch = s.set.covering(configMaps, "")
	pass(time.Minute)
	t.Cleanup(func() {
		cancel()
		s.set.stop()
	})
}

// once answers the next request of a sort.
func (s *apiServer) once(sort func(r *http.Request) bool, how func(w http.ResponseWriter, r *http.Request)) {
	var mu sync.Mutex
	answered := false
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		mine := !answered && sort(r)
		answered = answered || mine
		mu.Unlock()
		if mine {
			how(w, r)
		}
		return mine
	})
}

func isList(r *http.Request) bool   { return !isWatch(r) }
func goesOn(r *http.Request) bool   { return isWatch(r) && !streamsList(r) }
func nextPage(r *http.Request) bool { return r.FormValue("continue") != "" }
func anyRequest(*http.Request) bool { return true }

// last is what happened last.
func (s *apiServer) last() happened {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.history[len(s.history)-1]
}

// missed lets something happen that no watch is told of.
func (s *apiServer) missed(happen func()) {
	s.leave(errors.New("away"))
	synctest.Wait()
	happen()
	s.compact()
	s.comeBack()
}

const a, b, c, d = "configmaps/demo/a", "configmaps/demo/b", "configmaps/demo/c", "configmaps/demo/d"

func TestFaultSchedules(t *testing.T) {
	// Each begins before the watch, and returns what happens when that is synced, if anything.
	schedules := map[string]func(s *scene) (then func()){
		"nothing goes wrong": func(s *scene) func() {
			return func() {
				s.put(a, "a1")
				s.put(b, "b2")
				s.delete(c)
			}
		},
		"the initial stream is cut, and an object is gone meanwhile": func(s *scene) func() {
			s.once(streamsList, func(w http.ResponseWriter, _ *http.Request) {
				objects, _ := s.now()
				tell(w, apiwatch.Added, objects[:3]...)
				s.delete(b)
			})
			return nil
		},
		"so is the next one": func(s *scene) func() {
			cut := 0
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case streamsList(r) && cut < 3:
					objects, _ := s.now()
					tell(w, apiwatch.Added, objects...)
					s.delete([]string{a, b, c}[cut])
					cut++
				case isList(r) && cut < 3:
					refuse(w, apierrors.NewInternalError(errors.New("no list")))
				default:
					return false
				}
				return true
			})
			return nil
		},
		"the initial stream is cut in the middle of an object": func(s *scene) func() {
			s.once(streamsList, func(w http.ResponseWriter, _ *http.Request) {
				objects, _ := s.now()
				tell(w, apiwatch.Added, objects[:2]...)
				_, _ = fmt.Fprintf(w, `{"type":"ADDED","object":{"metadata":{"name":"c","namespace":"demo","uid":"c1","resourceVersion":"9`)
				s.delete(a)
			})
			return nil
		},
		"ADDED and DELETED inside one initial stream": func(s *scene) func() {
			s.once(streamsList, func(w http.ResponseWriter, r *http.Request) {
				objects, _ := s.now()
				tell(w, apiwatch.Added, objects...)
				s.delete(b)
				tell(w, apiwatch.Deleted, s.last().stored)
				_, version := s.now()
				tellEnd(w, version)
				s.follow(w, r, version, 0)
			})
			return func() { s.put(b, "b2") }
		},
		"ADDED, DELETED and ADDED again inside one initial stream": func(s *scene) func() {
			s.once(streamsList, func(w http.ResponseWriter, r *http.Request) {
				objects, _ := s.now()
				tell(w, apiwatch.Added, objects...)
				s.delete(b)
				tell(w, apiwatch.Deleted, s.last().stored)
				s.put(b, "b2")
				tell(w, apiwatch.Added, s.last().stored)
				_, version := s.now()
				tellEnd(w, version)
				s.follow(w, r, version, 0)
			})
			return nil
		},
		"410 in the stream, and an object was made again": func(s *scene) func() {
			return func() {
				s.missed(func() {
					s.put(a, "a2")
					s.delete(b)
					s.put(c, "c1")
				})
			}
		},
		"410 to the request, and an object was made again": func(s *scene) func() {
			return func() {
				s.once(goesOn, func(w http.ResponseWriter, _ *http.Request) {
					s.put(a, "a2")
					s.delete(b)
					s.compact()
					refuse(w, apierrors.NewResourceExpired("too old"))
				})
				s.cut()
			}
		},
		"an API server that is behind lists first": func(s *scene) func() {
			s.put(a, "a2")
			s.delete(b)
			s.put("configmaps/demo/e", "e1")
			s.noStreamingLists, s.behind = true, 3
			return nil
		},
		"an API server that is behind lists again": func(s *scene) func() {
			s.noStreamingLists = true
			return func() {
				s.missed(func() {
					s.put(a, "a1")
					s.put(b, "b2")
					s.put("configmaps/demo/e", "e1")
					s.delete(c)
				})
				pass(5 * time.Minute)
				s.do(func() { s.behind, s.lies = 5, true })
				s.missed(func() {})
			}
		},
		"an API server that is behind streams again": func(s *scene) func() {
			return func() {
				s.put(a, "a1")
				s.put(b, "b2")
				s.put("configmaps/demo/e", "e1")
				synctest.Wait()
				s.do(func() { s.behind, s.lies = 4, true })
				s.missed(func() {})
			}
		},
		"a list has an older state than it says": func(s *scene) func() {
			s.noStreamingLists = true
			return func() {
				old, _ := s.now()
				s.put(a, "a1")
				s.put(b, "b2")
				synctest.Wait()
				s.once(isList, func(w http.ResponseWriter, _ *http.Request) {
					_, version := s.now()
					writeList(w, version, "", old...)
				})
				s.missed(func() {})
			}
		},
		"restored from a backup": func(s *scene) func() {
			_, before := s.now()
			return func() {
				s.put(a, "a1")
				s.put(b, "b2")
				s.put("configmaps/demo/e", "e1")
				s.delete(c)
				synctest.Wait()
				s.got.forgetVersions()
				s.restore(before)
			}
		},
		"restored from a backup, and things go on": func(s *scene) func() {
			_, before := s.now()
			return func() {
				for range 5 {
					s.put(a, "a1")
				}
				synctest.Wait()
				s.got.forgetVersions()
				s.restore(before)
				s.put("configmaps/demo/e", "e1")
				s.delete(b)
			}
		},
		"restored from a backup, without streaming lists": func(s *scene) func() {
			_, before := s.now()
			s.noStreamingLists = true
			return func() {
				s.put(a, "a1")
				s.put(b, "b2")
				s.delete(c)
				synctest.Wait()
				s.got.forgetVersions()
				s.restore(before)
			}
		},
		"poison in the stream": func(s *scene) func() {
			return func() {
				s.once(goesOn, func(w http.ResponseWriter, r *http.Request) {
					_, version := s.now()
					for _, poison := range []string{
						`{"type":"MODIFIED","object":{"metadata":{"name":7}}}`, `{"type":"ADDED","object":null}`, `{"type":"ADDED"}`, `{"type":7}`, `not JSON`, `{`, "\x00\xff",
						`{"type":"RENAMED","object":{"metadata":{"name":"x"}}}`, `{"type":"ADDED","object":{"metadata":{"name":"\x"}}}`, ``, `}`, `[]`,
						`{"type":"BOOKMARK","object":7}`, `{"type":"BOOKMARK","object":{}}`,
					} {
						s.put(a, "a1")
						write(w, poison)
						tell(w, apiwatch.Modified, s.last().stored)
					}
					s.follow(w, r, version+14, 1)
				})
				s.cut()
			}
		},
		"poison in the initial stream": func(s *scene) func() {
			s.once(streamsList, func(w http.ResponseWriter, r *http.Request) {
				objects, version := s.now()
				for _, object := range objects {
					write(w, `{"type":"ADDED","object":{"metadata":{}}}`)
					tell(w, apiwatch.Added, object)
				}
				tellEnd(w, version)
				s.follow(w, r, version, 0)
			})
			return func() { s.delete(a) }
		},
		"poison in the list, and then none": func(s *scene) func() {
			s.noStreamingLists = true
			return func() {
				s.once(isList, func(w http.ResponseWriter, _ *http.Request) {
					objects, version := s.now()
					_, _ = fmt.Fprint(w, `{"items":[null,7,{}`)
					for _, object := range objects {
						_, _ = fmt.Fprintf(w, ",%s,[]", object)
					}
					_, _ = fmt.Fprintf(w, `],"metadata":{"resourceVersion":"%d"}}`, version)
				})
				s.missed(func() { s.put(a, "a1") })
				pass(5 * time.Minute)
				s.missed(func() { s.delete(b) })
			}
		},
		"an error that is none": func(s *scene) func() {
			return func() {
				s.once(goesOn, func(w http.ResponseWriter, _ *http.Request) {
					s.put(a, "a1")
					write(w, `{"type":"ERROR","object":"sorry"}`)
				})
				s.cut()
			}
		},
		"no streaming lists": func(s *scene) func() {
			s.noStreamingLists = true
			return func() {
				s.put(a, "a1")
				s.missed(func() { s.put(b, "b2"); s.delete(c) })
			}
		},
		"no bookmarks": func(s *scene) func() {
			s.noBookmarks = true
			return func() {
				s.put(a, "a1")
				s.missed(func() { s.put(b, "b2"); s.delete(c) })
			}
		},
		"a page comes too late": func(s *scene) func() {
			s.noStreamingLists = true
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				objects, version := s.now()
				switch {
				case isList(r) && nextPage(r):
					s.delete(a)
					refuse(w, apierrors.NewResourceExpired("too late"))
				case isList(r) && r.FormValue("limit") != "":
					writeList(w, version, "more", objects[:2]...)
				default:
					return false
				}
				return true
			})
			return nil
		},
		"a list breaks off": func(s *scene) func() {
			s.noStreamingLists = true
			s.once(isList, func(w http.ResponseWriter, _ *http.Request) {
				objects, _ := s.now()
				_, _ = fmt.Fprintf(w, `{"metadata":{"resourceVersion":"4"},"items":[%s,{"metadata":{"name":"b`, objects[0])
				s.delete(a)
			})
			return nil
		},
		"an answer that is no list": func(s *scene) func() {
			s.noStreamingLists = true
			return func() {
				answers := []string{``, `{}`, `<html>`, `null`, `{"kind":"Status","status":"Success","metadata":{}}`, `{"items":7}`}
				s.answer(func(w http.ResponseWriter, r *http.Request) bool {
					if !isList(r) || len(answers) == 0 {
						return false
					}
					_, _ = fmt.Fprint(w, answers[0])
					answers = answers[1:]
					return true
				})
				s.missed(func() { s.delete(a) })
			}
		},
	}
	for name, schedule := range schedules {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				then := schedule(s)
				s.begin(t)
				pass(10 * time.Minute)
				s.got.agrees(t, "at first", s.truth())
				if then != nil {
					then()
					pass(10 * time.Minute)
					s.got.agrees(t, "then", s.truth())
				}
				s.put("configmaps/demo/z", "z1")
				s.delete(d)
				synctest.Wait()
				s.got.agrees(t, "at last", s.truth())
				if state, err := s.watch.state(); state != "Synced" {
					t.Errorf("it is %s: %v", state, err)
				}
			})
		})
	}
}

// TestPoisonDoesNotEndAWatch: it would be begun again, and meet the same.
func TestPoisonDoesNotEndAWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.once(streamsList, func(w http.ResponseWriter, r *http.Request) {
			objects, version := s.now()
			write(w, `{"type":"ADDED","object":{"metadata":{}}}`)
			tell(w, apiwatch.Added, objects...)
			tellEnd(w, version)
			write(w, `{"type":"MODIFIED","object":{"metadata":{}}}`)
			write(w, `garbage`)
			s.follow(w, r, version, 0)
		})
		s.begin(t)
		pass(time.Minute)
		s.put(a, "a1")
		pass(time.Minute)
		s.got.agrees(t, "at last", s.truth())
		if len(s.asked) != 1 {
			t.Errorf("asked for %v", s.asked)
		}
	})
}

// TestNothingIsSaidTwice: a list that brings nothing new is not heard of.
func TestNothingIsSaidTwice(t *testing.T) {
	for _, plainly := range []bool{false, true} {
		t.Run(fmt.Sprintf("without streaming lists %t", plainly), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				s.noStreamingLists = plainly
				s.begin(t)
				pass(time.Minute)
				heard := s.got.count()
				s.missed(func() { s.put("secrets/demo/x", "x1") })
				pass(5 * time.Minute)
				if n := s.got.count(); n != heard {
					t.Errorf("%d changes were offered although there were none", n-heard)
				}
				s.got.agrees(t, "at last", s.truth())
				if n := len(s.asked) - len(slices.DeleteFunc(s.asked, func(verb string) bool { return verb != "watch" })); n < 2 {
					t.Errorf("it was not listed again: %v", s.asked)
				}
			})
		})
	}
}

// TestNoListIsOlderThanWhatWasOffered: not even the first one of a watch that goes on with what another has offered.
func TestNoListIsOlderThanWhatWasOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.noStreamingLists = true
		s.begin(t)
		s.put(a, "a1")
		s.delete(b)
		synctest.Wait()
		s.do(func() { s.behind = 2 })
		heard := s.got.count()
		s.set.apply(t.Context(), wishFor(watchlist.Target{Resource: configMaps, Kind: "ConfigMap", Events: watchlist.AllEvents, LabelSelector: "!x"}))
		pass(time.Minute)
		if n := s.got.count(); n != heard {
			t.Errorf("%d changes were offered although there were none", n-heard)
		}
		s.got.agrees(t, "at last", s.truth())
	})
}

// TestFaultsByChance mixes changes and faults.
func TestFaultsByChance(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				chance := rand.New(rand.NewPCG(seed, 0))
				s := newScene(t)
				s.noStreamingLists, s.noBookmarks = chance.IntN(4) == 0, chance.IntN(6) == 0
				s.begin(t)
				uid := 0
				change := func() {
					key := fmt.Sprintf("configmaps/demo/%d", chance.IntN(6))
					switch chance.IntN(3) {
					case 0:
						s.delete(key)
					case 1:
						uid++
						s.put(key, fmt.Sprintf("u%d", uid))
					default:
						_, version := s.now()
						s.put(key, s.uidOf(version, key))
					}
				}
				for range 150 {
					switch chance.IntN(12) {
					case 0:
						s.cut()
					case 1:
						s.missed(change)
					case 2:
						s.compact()
					case 3:
						s.do(func() { s.behind = chance.IntN(5) })
					case 4: // the next list, however it is asked for, ends too early
						many := chance.IntN(8)
						s.once(func(r *http.Request) bool { return streamsList(r) || isList(r) }, func(w http.ResponseWriter, r *http.Request) {
							objects, version := s.now()
							objects = objects[:min(many, len(objects))]
							if streamsList(r) {
								tell(w, apiwatch.Added, objects...)
							} else {
								writeList(hangingUp{w}, version, "", objects...)
							}
						})
					case 5:
						s.once(anyRequest, func(w http.ResponseWriter, _ *http.Request) {
							refuse(w, []error{
								apierrors.NewResourceExpired("expired"), apierrors.NewInternalError(errors.New("broken")),
								apierrors.NewTooManyRequests("later", 0), apierrors.NewServiceUnavailable("away"),
							}[len(s.asked)%4])
						})
					default:
						change()
					}
					switch chance.IntN(4) {
					case 0:
						pass(time.Duration(chance.IntN(60)) * time.Second)
					case 1:
						synctest.Wait()
					}
				}
				s.answer(nil)
				pass(10 * time.Minute)
				s.got.agrees(t, "at last", s.truth())
			})
		})
	}
}

// uidOf is the uid of an object, or a new one.
func (s *apiServer) uidOf(version int, key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if object, there := s.objects(version)[key]; there {
		return object.uid
	}
	return fmt.Sprintf("n%d", version)
}

// hangingUp writes all but the end.
type hangingUp struct{ http.ResponseWriter }

func (h hangingUp) Write(data []byte) (int, error) {
	_, err := h.ResponseWriter.Write(data[:len(data)-1])
	return len(data), err
}
