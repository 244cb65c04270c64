package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/watchlist"
)

// inScene runs a test with a watch that has seen everything.
func inScene(t *testing.T, test func(t *testing.T, s *scene, w *Watcher)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.begin(t)
		s.got.agrees(t, "at first", s.truth())
		s.got.tolerant = true
		test(t, s, &Watcher{set: s.set})
	})
}

// whileListed lets something happen when a list is answered, and before anything of the answer arrives. The watch has heard of it by
// then, unless the server is held.
func (s *scene) whileListed(happen func()) {
	s.once(isList, func(w http.ResponseWriter, _ *http.Request) {
		objects, version := s.now()
		happen()
		synctest.Wait()
		writeList(w, version, "", objects...)
	})
}

// sent is a consumer that is sent objects by another way than through the sink, which is slower.
func (c *consumer) sent(objects [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, object := range objects {
		var known struct {
			Metadata struct{ Namespace, Name, UID, ResourceVersion string }
		}
		if err := json.Unmarshal(object, &known); err != nil {
			c.complaints = append(c.complaints, err.Error())
		}
		c.alive[known.Metadata.UID] = true
		c.newest[known.Metadata.UID] = 0 // it may be older than what was offered
		c.there[fmt.Sprintf("configmaps/%s/%s", known.Metadata.Namespace, known.Metadata.Name)] = known.Metadata.UID + " " + known.Metadata.ResourceVersion
	}
}

// lookAside lists everything for a consumer, who gets it when more has happened.
func (s *scene) lookAside(t *testing.T, w *Watcher) {
	t.Helper()
	var objects [][]byte
	catchUp, err := w.Objects(t.Context(), func(object []byte) error {
		objects = append(objects, slices.Clone(object))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	synctest.Wait()
	s.got.sent(objects)
	if err := catchUp(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(s.watch.journals); n != 0 {
		t.Errorf("%d journals are still open", n)
	}
}

func TestAResyncOffersWhatIsThere(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene, w *Watcher) {
		heard := s.got.count()
		if err := w.Resync(t.Context()); err != nil {
			t.Error(err)
		}
		if n := s.got.count() - heard; n != 4 {
			t.Errorf("%d were offered", n)
		}
		s.got.agrees(t, "after a resync", s.truth())
	})
}

// TestAResyncDoesNotGoBack: a server that is behind lists what was, and only what has not changed since is offered.
func TestAResyncDoesNotGoBack(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene, w *Watcher) {
		old, version := s.now()
		s.put(a, "a1")
		s.put(b, "b2")
		synctest.Wait()
		s.once(isList, func(w http.ResponseWriter, _ *http.Request) { writeList(w, version, "", old...) })
		heard := s.got.count()
		if err := w.Resync(t.Context()); err != nil {
			t.Error(err)
		}
		if n := s.got.count() - heard; n != 2 {
			t.Errorf("%d were offered", n)
		}
		s.got.agrees(t, "after a resync", s.truth())
	})
}

// TestWhatHappensWhileAListIsRead comes to the consumer in one piece, however the list and the watch overtake each other.
func TestWhatHappensWhileAListIsRead(t *testing.T) {
	happenings := map[string]func(s *scene){
		"nothing":       func(*scene) {},
		"a change":      func(s *scene) { s.put(a, "a1") },
		"a new object":  func(s *scene) { s.put("configmaps/demo/e", "e1") },
		"a delete":      func(s *scene) { s.delete(a) },
		"made again":    func(s *scene) { s.put(a, "a2") },
		"and again":     func(s *scene) { s.put(a, "a2"); s.put(a, "a3"); s.put(a, "a3") },
		"came and went": func(s *scene) { s.put("configmaps/demo/e", "e1"); s.delete("configmaps/demo/e") },
		"a bit of all": func(s *scene) {
			s.put(a, "a1")
			s.put(b, "b2")
			s.delete(b)
			s.delete(c)
			s.put(d, "d2")
			s.put("configmaps/demo/e", "e1")
		},
		"all is gone": func(s *scene) {
			for _, key := range []string{a, b, c, d} {
				s.delete(key)
			}
		},
		"the watch begins anew": func(s *scene) { s.missed(func() { s.delete(a); s.put(b, "b2") }); pass(time.Minute) },
	}
	ways := map[string]func(t *testing.T, s *scene, w *Watcher){
		"resync": func(t *testing.T, _ *scene, w *Watcher) {
			if err := w.Resync(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"objects": func(t *testing.T, s *scene, w *Watcher) { s.lookAside(t, w) },
	}
	orders := map[string]func(s *scene, happen func()){
		"after the list was made":   func(s *scene, happen func()) { s.whileListed(happen) },
		"and the watch hears later": func(s *scene, happen func()) { s.do(func() { s.held = true }); happen() },
	}
	for what, happen := range happenings {
		for way, list := range ways {
			for when, order := range orders {
				t.Run(what+", "+way+", "+when, func(t *testing.T) {
					inScene(t, func(t *testing.T, s *scene, w *Watcher) {
						order(s, func() { happen(s) })
						list(t, s, w)
						s.do(func() { s.held = false })
						pass(10 * time.Minute)
						s.got.agrees(t, "at last", s.truth())
					})
				})
			}
		}
	}
}

// TestAResyncDoesNotBringBackWhatNobodyKnew: an object came and went while the watch was away, and only the resync has seen it.
func TestAResyncDoesNotBringBackWhatNobodyKnew(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene, w *Watcher) {
		s.do(func() { s.held = true })
		s.put("configmaps/demo/e", "e1")
		s.whileListed(func() {
			s.missed(func() {
				s.delete("configmaps/demo/e")
				s.held = false
			})
			pass(time.Minute)
		})
		if err := w.Resync(t.Context()); err != nil {
			t.Error(err)
		}
		pass(10 * time.Minute)
		s.got.agrees(t, "at last", s.truth())
	})
}

func TestListsThatFailAreTriedAgain(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene, w *Watcher) {
		failures := []func(http.ResponseWriter){
			func(w http.ResponseWriter) { refuse(w, apierrors.NewServiceUnavailable("away")) },
			func(w http.ResponseWriter) { refuse(w, apierrors.NewUnauthorized("who?")) },
			func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, `{"items":[`) },
			func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, `{}`) },
			func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		}
		s.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if !isList(r) || len(failures) == 0 {
				return false
			}
			fail := failures[0]
			failures = failures[1:]
			s.put(a, "a1")
			fail(w)
			return true
		})
		if err := w.Resync(t.Context()); err != nil || len(failures) > 0 {
			t.Errorf("%v, and %d failures are left", err, len(failures))
		}
		s.got.agrees(t, "at last", s.truth())
		s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, apierrors.NewServiceUnavailable("away"))
			return true
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := w.Resync(ctx); err == nil || time.Since(began) != time.Minute {
			t.Errorf("it ended after %s with %v", time.Since(began), err)
		}
	})
}

func TestWhatMayNotBeListedIsLeftOut(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene, w *Watcher) {
		s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, apierrors.NewForbidden(configMaps.GroupResource(), "", nil))
			return true
		})
		began := time.Now()
		if err := w.Resync(t.Context()); err != nil || time.Since(began) > 0 {
			t.Errorf("it ended after %s with %v", time.Since(began), err)
		}
	})
}

func TestAVisitThatFailsEndsIt(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene, w *Watcher) {
		asked, enough, visits := len(s.asked), errors.New("enough"), 0
		began := time.Now()
		catchUp, err := w.Objects(t.Context(), func([]byte) error {
			visits++
			return enough
		})
		if !errors.Is(err, enough) || visits != 1 || len(s.asked) != asked+1 || time.Since(began) > 0 {
			t.Errorf("%d visits, %d requests, ended after %s with %v", visits, len(s.asked)-asked, time.Since(began), err)
		}
		if err := catchUp(t.Context()); err != nil || len(s.watch.journals) != 0 {
			t.Errorf("%v, and %d journals are open", err, len(s.watch.journals))
		}
	})
}

// TestListsArePaged: also what comes with a later page, and twice because one came too late.
func TestListsArePaged(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene, w *Watcher) {
		for i := range 2 * pageSize {
			s.put(fmt.Sprintf("configmaps/demo/%04d", i), "u"+strconv.Itoa(i))
		}
		synctest.Wait()
		for _, tooLate := range []bool{false, true} {
			if tooLate {
				s.once(nextPage, func(w http.ResponseWriter, _ *http.Request) {
					s.delete(a)
					refuse(w, apierrors.NewResourceExpired("too late"))
				})
			}
			heard, asked := s.got.count(), len(s.asked)
			if err := w.Resync(t.Context()); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			s.got.agrees(t, fmt.Sprintf("too late: %t", tooLate), s.truth())
			if n := len(s.asked) - asked; n != 3 {
				t.Errorf("%d requests", n)
			}
			want := len(s.truth())
			if tooLate {
				want++ // the delete
			}
			if n := s.got.count() - heard; n != want {
				t.Errorf("%d were offered, want %d", n, want)
			}
		}
	})
}

// TestWhatIsWatchedOtherwiseByNow is what a consumer was sent of a watch in whose place there is another one.
func TestWhatIsWatchedOtherwiseByNow(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene, w *Watcher) {
		s.whileListed(func() {
			s.delete(a) // the watch has heard of it
			synctest.Wait()
			var changed sync.WaitGroup
			changed.Go(func() {
				s.set.apply(t.Context(), wishFor(watchlist.Target{Resource: configMaps, Kind: "ConfigMap", Events: watchlist.AllEvents, LabelSelector: "!x"}))
			})
			changed.Wait()
			s.put(b, "b1") // the next one hears of it
			s.delete(c)
			pass(time.Minute)
			s.watch = s.set.covering(configMaps, "")
		})
		s.lookAside(t, w)
		pass(time.Minute)
		s.got.agrees(t, "at last", s.truth())
	})
}

// TestNothingIsOfferedOfAWatchThatHasEnded, whatever is still being read for it.
func TestNothingIsOfferedOfAWatchThatHasEnded(t *testing.T) {
	tests := map[string]func(t *testing.T, s *scene, w *Watcher){
		"by a resync": func(t *testing.T, _ *scene, w *Watcher) { _ = w.Resync(t.Context()) },
		"to catch up": func(t *testing.T, s *scene, w *Watcher) {
			s.lookAside(t, w)
		},
		"by its own list": func(_ *testing.T, s *scene, _ *Watcher) {
			s.do(func() { s.noStreamingLists = true })
			s.missed(func() {})
			pass(5 * time.Minute)
		},
	}
	for name, list := range tests {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene, w *Watcher) {
				var ended sync.WaitGroup
				s.once(isList, func(w http.ResponseWriter, _ *http.Request) {
					s.put(a, "a1") // so that there would be something to offer, also when catching up
					objects, version := s.now()
					_, _ = fmt.Fprintf(w, `{"metadata":{"resourceVersion":"%d"},"items":[%s,`, version, objects[0])
					_ = http.NewResponseController(w).Flush()
					synctest.Wait() // the first one was taken
					ended.Go(func() {
						s.set.apply(t.Context(), wish{served: map[schema.GroupVersionResource]bool{configMaps: true}})
					})
					ended.Wait()
					_, _ = fmt.Fprintf(w, `%s]}`, objects[1])
				})
				list(t, s, w)
				pass(time.Minute)
				s.got.agrees(t, "at last", map[string]string{})
			})
		})
	}
}

// A resync reads what was there when it was asked for. What the informer's own list says of it later is newer.
func TestAListThatIsNotTheInformersProvesNothing(t *testing.T) {
	t.Run("what was gone before the informer's list began", func(t *testing.T) {
		w, sink := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
		w.lists("1", "x a 1")
		resync := w.open()
		w.Begin()
		w.takeAgain(object("x a 1"), everything, resync)
		sink.take()
		if err := w.End("3"); err != nil {
			t.Fatal(err)
		}
		if got := sink.take(); !slices.Equal(got, []string{"DELETED x a 1"}) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("what the informer's list is too old to know", func(t *testing.T) {
		w, sink := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
		w.lists("1")
		w.Begin()
		w.takeAgain(object("x a 5"), everything, w.open())
		if err := w.End("4"); err != nil {
			t.Errorf("the informer's list is not believed: %v", err)
		}
		w.seen("x a 5")
		if got := sink.take(); !slices.Equal(got, []string{"ADDED x a 5"}) {
			t.Errorf("got %v", got)
		}
	})
}

// Somebody was sent an object that came and went before the watch heard of it.
func TestWhatOnlyAReplyHasShownIsTakenBack(t *testing.T) {
	w, sink := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
	w.lists("1")
	reply := w.open()
	w.shown(object("x a 2"), reply)
	w.close(reply)
	w.mu.Lock()
	again := w.takenBack(reply)
	w.mu.Unlock()
	if got := sink.take(); len(again) != 1 || !slices.Equal(got, []string{"DELETED x a 2"}) {
		t.Errorf("got %v", got)
	}
}
