package watchfaults

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/test/controlplane"
)

const (
	// outagePatience is how long a kind may be out of reach before the agent says so.
	outagePatience = 30 * time.Second
	// firstListPatience is how long the first list of one kind may hold up others.
	firstListPatience = 15 * time.Second
	// slack is what a busy machine may take on top.
	slack = 5 * time.Second
	// settled is how old a stream must be so that its end is an ordinary one: an informer takes one that ends within a second, and
	// without an event, for a failure.
	settled = 1500 * time.Millisecond
)

// TestWatchFaults tries each fault on an agent of its own.
func TestWatchFaults(t *testing.T) {
	s := newStage(t, controlplane.Options{})
	t.Run("no goroutine is left", func(t *testing.T) { noGoroutineIsLeft(t, s) })
	t.Run("the API server dies", func(t *testing.T) {
		t.Parallel()
		apiServerDies(t)
	})
	for name, fault := range map[string]func(*testing.T, *stage){
		"a watch is answered 410": expiredAtTheStart,
		"410 in a stream":         expiredOnTheWay,
		"bookmarks":               bookmarks,
		"429":                     throttling,
		"streams are cut":         cutStreams,
		"connections are cut":     cutConnections,
		"first lists are cut":     cutFirstLists,
		"connections are refused": refusedConnections,
		"nothing gets through":    blackHole,
		"another certificate":     anotherCertificate,
		"another token":           anotherToken,
		"an old API server":       oldAPIServer,
		"custom resources are not served for a moment":    notServed,
		"a kind that is slow at first":                    slowFirstList,
		"a kind without an answer":                        noAnswer,
		"a kind that is slow to be sent again":            slowList,
		"an edit, and the end, while a kind is throttled": endWhileThrottled,
		"the end while connections are refused":           endWhileRefused,
		"the end while nothing gets through":              endWhileNothingGetsThrough,
		"faults by chance":                                byChance,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fault(t, s)
		})
	}
}

// running is a scene with an agent that has seen everything.
func (s *stage) running(t *testing.T, change ...func(*meshsync.Options)) *scene {
	t.Helper()
	c := s.newScene(t)
	c.startAgent(change...)
	c.begun()
	return c
}

// begun waits until the agent has seen everything, and counts from then on.
func (c *scene) begun() {
	c.t.Helper()
	c.agent.waitReady()
	c.waitStreaming(time.Millisecond)
	c.agent.watchReadiness()
	c.forget()
}

// waitStreaming waits until everything has been streamed for a while.
func (c *scene) waitStreaming(while time.Duration) {
	c.t.Helper()
	eventually(c.t, "everything is streamed", func() error {
		if age := c.youngest(resourcesOf(watched)); age < while {
			return fmt.Errorf("for %s", age)
		}
		return nil
	})
}

// waitAsked waits until there were so many requests.
func (c *scene) waitAsked(verb, resource string, times int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d %s %s", times, verb, resource), func() error {
		if asked := c.counts(); asked[request{verb, resource}] < times {
			return fmt.Errorf("had %s", asked)
		}
		return nil
	})
}

// waitResumed waits until each of the watched kinds was asked for so often.
func (c *scene) waitResumed(times int) {
	c.t.Helper()
	for _, kind := range watched {
		eventually(c.t, fmt.Sprintf("%d requests for %s", times, kind.Resource), func() error {
			asked := c.counts()
			if asked[request{watch, kind.Resource}]+asked[request{streamList, kind.Resource}] < times {
				return fmt.Errorf("had %s", asked)
			}
			return nil
		})
	}
}

// each is so many requests for each of the watched kinds.
func each(verb string, times int) counts {
	want := counts{}
	for _, kind := range watched {
		want[request{verb, kind.Resource}] = times
	}
	return want
}

// wantAsked compares the requests to list or watch what is watched.
func (c *scene) wantAsked(want counts) {
	c.t.Helper()
	asked := c.counts()
	c.t.Logf("requests: %s", asked)
	for _, kind := range watched {
		for _, verb := range []string{list, watch, streamList} {
			of := request{verb, kind.Resource}
			if asked[of] != want[of] {
				c.t.Errorf("%d %s %s, want %d", asked[of], verb, kind.Resource, want[of])
			}
		}
		for _, version := range c.resumedFrom(kind.Resource) {
			if version == "" || version == "0" {
				c.t.Errorf("a watch of %s went on from version %q", kind.Resource, version)
			}
		}
	}
}

// wantRestarts compares how often the agent says that it had to begin a watch anew, for a reason.
func (c *scene) wantRestarts(reason, resource string, want float64) {
	c.t.Helper()
	series := fmt.Sprintf("meshery_meshsync_watch_restarts_total{reason=%q,resource=%q}", reason, resource)
	if have := c.agent.metric(series); have != want {
		c.t.Errorf("%s is %v, want %v", series, have, want)
	}
}

func expiredAtTheStart(t *testing.T, s *stage) {
	c := s.running(t)
	c.on(watch, "configmaps", 1, expired)
	c.cutNext("configmaps", whole)
	c.waitAsked(streamList, "configmaps", 1)
	c.settle()
	c.wantAsked(counts{{watch, "configmaps"}: 1, {streamList, "configmaps"}: 1})
	c.wantRestarts("Expired", "configmaps.v1.", 1)
	c.agent.wasAlwaysReady()
}

func expiredOnTheWay(t *testing.T, s *stage) {
	c := s.running(t)
	c.cutNext("configmaps", expiredInStream)
	c.waitAsked(streamList, "configmaps", 1)
	c.settle()
	c.wantAsked(counts{{streamList, "configmaps"}: 1})
	c.wantRestarts("Expired", "configmaps.v1.", 1)
	c.agent.wasAlwaysReady()
}

// A watch goes on from the bookmark that came last, although no object has that version.
func bookmarks(t *testing.T, s *stage) {
	c := s.running(t)
	c.churn.stop() // what happens between the event and the bookmark would be lost
	c.agree()
	var version string
	c.cutNext("configmaps", func(data []byte) ([]byte, error) {
		now, err := c.in(configMaps).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return data, err
		}
		version = now.GetResourceVersion()
		bookmark := fmt.Sprintf(`{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":%q}}}`+"\n", version)
		return append(data, bookmark...), io.EOF
	})
	c.create(t, c.in(configMaps), "{apiVersion: v1, kind: ConfigMap, metadata: {name: event}}")
	c.waitAsked(watch, "configmaps", 1)
	c.settle()
	c.wantAsked(counts{{watch, "configmaps"}: 1})
	if from := c.resumedFrom("configmaps"); !slices.Equal(from, []string{version}) {
		t.Errorf("went on from %q, the bookmark was %q", from, version)
	}
	c.agent.wasAlwaysReady()
}

func throttling(t *testing.T, s *stage) {
	c := s.running(t)
	c.on(watch, "configmaps", 3, throttled)
	c.on(streamList, "widgets", 3, throttled)
	c.cutNext("configmaps", whole)
	c.cutNext("widgets", expiredInStream)
	c.waitAsked(watch, "configmaps", 4)
	c.waitAsked(streamList, "widgets", 4)
	c.settle()
	c.wantAsked(counts{{watch, "configmaps"}: 4, {streamList, "widgets"}: 4})
	c.agent.wasAlwaysReady()
}

func cutStreams(t *testing.T, s *stage) {
	c := s.running(t)
	for i, how := range []cut{whole, halfEnded, halfBroken} {
		c.waitStreaming(time.Millisecond)
		for _, kind := range watched {
			c.cutNext(kind.Resource, how)
		}
		c.waitResumed(i + 1)
	}
	c.settle()
	c.wantAsked(each(watch, 3))
	c.agent.wasAlwaysReady()
}

func cutConnections(t *testing.T, s *stage) {
	c := s.running(t)
	for i, how := range []func(*link){(*link).reset, (*link).endHalfway} {
		c.waitStreaming(settled)
		c.breakConnections(how)
		c.waitResumed(i + 1)
	}
	c.settle()
	c.wantAsked(each(watch, 2))
	c.agent.wasAlwaysReady()
}

// A streaming list that breaks off is followed by a plain one: a server that cannot finish streams is no reason to see nothing.
func cutFirstLists(t *testing.T, s *stage) {
	c := s.newScene(t)
	c.early("configmaps", 1, halfEnded)
	c.early("widgets", 1, halfBroken)
	c.early("serviceaccounts", 1, halfEnded)
	c.early("secrets", -1, halfEnded)
	c.startAgent()
	c.agent.waitReady()
	c.settle()
	want := each(streamList, 1)
	maps.Copy(want, each(list, 1))
	maps.Copy(want, each(watch, 1))
	c.wantAsked(want)
}

func refusedConnections(t *testing.T, s *stage) {
	c := s.running(t)
	c.waitStreaming(settled)
	c.refuseConnections()
	pass(t, 3*time.Second)
	c.acceptConnections()
	c.settle()
	c.wantAsked(each(watch, 1))
	c.agent.wasAlwaysReady()
}

// Where packets vanish nothing fails. The agent asks whether the connection lives, and goes on over another one.
func blackHole(t *testing.T, s *stage) {
	c := s.running(t)
	c.waitStreaming(settled)
	c.close()
	pass(t, deadConnection+slack)
	c.open()
	c.waitResumed(1)
	c.settle()
	c.wantAsked(each(watch, 1))
	c.agent.wasAlwaysReady()
}

func anotherCertificate(t *testing.T, s *stage) {
	c := s.running(t)
	c.waitStreaming(settled)
	c.renewCertificate()
	c.breakConnections((*link).reset)
	c.waitResumed(1)
	c.settle()
	c.wantAsked(each(watch, 1))
	c.agent.wasAlwaysReady()
}

// A token that is refused is read anew at once. The informers that have used it until then list once more, since it was not a watch that
// ended; the others have the new one already.
func anotherToken(t *testing.T, s *stage) {
	file := filepath.Join(t.TempDir(), "token")
	use := func(c *scene, token string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		c.token.Store(&token)
	}
	c := s.newScene(t)
	use(c, "first")
	c.startAgent(func(o *meshsync.Options) { o.Kubeconfig = c.kubeconfig(file) })
	c.begun()
	c.waitStreaming(settled)
	use(c, "second")
	c.breakConnections((*link).reset)
	c.waitResumed(1)
	c.settle()
	asked := c.counts()
	for _, kind := range watched {
		if n := asked[request{watch, kind.Resource}]; n != 1 {
			t.Errorf("%d watches of %s, want 1", n, kind.Resource)
		}
		if n := asked[request{streamList, kind.Resource}]; n > 1 {
			t.Errorf("%s was listed %d times, want once at most", kind.Resource, n)
		}
	}
	c.agent.wasAlwaysReady()
}

// An API server that does not know of streaming lists is asked for plain ones.
func oldAPIServer(t *testing.T, s *stage) {
	c := s.newScene(t)
	c.on(streamList, "", -1, cannotStream)
	c.startAgent()
	c.begun()
	for _, kind := range watched {
		c.wantRestarts("Closed", kind.Resource, 0)
	}
	c.cutNext("configmaps", expiredInStream)
	c.cutNext("secrets", halfBroken)
	c.waitAsked(watch, "configmaps", 1)
	c.waitAsked(watch, "secrets", 1)
	c.wantRestarts("Expired", "configmaps.v1.", 1)
	c.wantRestarts("Closed", "secrets.v1.", 1)

	over := make(chan struct{})
	c.on(list, "widgets", 1, delayUntil(over))
	c.cutNext("widgets", expiredInStream)
	c.waitAsked(list, "widgets", 1)
	c.agent.wasAlwaysReady()
	c.notReadyAfterPatience("widgets.v1.watchfaults.example.com: the API server does not answer")
	close(over)
	c.agent.waitReady()
	c.settle()
	c.wantAsked(counts{
		{streamList, "configmaps"}: 1, {list, "configmaps"}: 1, {watch, "configmaps"}: 1,
		{watch, "secrets"}:      1,
		{streamList, "widgets"}: 1, {list, "widgets"}: 1, {watch, "widgets"}: 1,
	})
}

// notReadyAfterPatience waits until the agent says of one kind, and of no other, that it cannot be watched.
func (c *scene) notReadyAfterPatience(reason string) {
	c.t.Helper()
	began := time.Now()
	eventually(c.t, "the agent says so", func() error { return c.agent.notReadyBecause("1 of 4 kinds", reason) })
	took := time.Since(began)
	c.t.Logf("said after %s", took.Round(time.Millisecond))
	if took < outagePatience-slack || took > outagePatience+slack {
		c.t.Errorf("the agent says so after %s, want %s", took, outagePatience)
	}
	if n := c.agent.metric(`meshery_meshsync_watched_kinds{state="Failed"}`); n != 1 {
		c.t.Errorf("%v kinds are Failed", n)
	}
}

// An API server that has just been started serves custom resources later than the rest. Nobody must hear that they are gone.
func notServed(t *testing.T, s *stage) {
	c := s.running(t)
	off := c.hideWidgets()
	c.create(t, c.admin.Resource(crds), definition("Gadget", c.namespace+".example.com")) // so that the agent looks
	eventually(t, "the agent has looked several times", func() error {
		if n := c.counts()[request{verb: discovery}]; n < 6 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	off()
	c.settle()
	c.wantAsked(counts{})
	c.agent.wasAlwaysReady()
}

// hideWidgets lets the API server not name a group among those that it serves. It serves it all the same.
func (c *scene) hideWidgets() (off func()) {
	return c.on(discovery, "", -1, func(w http.ResponseWriter, r *http.Request) bool {
		whole := httptest.NewRecorder()
		r.Header.Del("Accept-Encoding")
		c.upstream.ServeHTTP(whole, r)
		var groups map[string]any
		if err := json.Unmarshal(whole.Body.Bytes(), &groups); err != nil {
			c.t.Errorf("%s: %v", r.URL.Path, err)
		}
		if items, ok := groups["items"].([]any); ok {
			groups["items"] = slices.DeleteFunc(items, func(item any) bool {
				name, _, _ := unstructured.NestedString(item.(map[string]any), "metadata", "name")
				return name == widgets.Group
			})
		}
		maps.Copy(w.Header(), whole.Header())
		w.Header().Del("Content-Length")
		_ = json.NewEncoder(w).Encode(groups)
		return true
	})
}

// A list of an early tier that takes long holds up later ones, but not for ever.
func slowFirstList(t *testing.T, s *stage) {
	c := s.newScene(t)
	over := make(chan struct{})
	entries := []string{`{"Resource":"nodes.v1."}`, `{"Resource":"persistentvolumes.v1."}`, `{"Resource":"priorityclasses.v1.scheduling.k8s.io"}`}
	for _, kind := range watched {
		entries = append(entries, kind.entry)
	}
	c.watchList(entries...)
	c.on(streamList, "nodes", 1, delayUntil(over))
	c.startAgent()
	c.waitAsked(streamList, "nodes", 1)
	began := time.Now()
	c.waitAsked(streamList, "priorityclasses", 1)
	if took := time.Since(began); took > slack {
		t.Errorf("another kind of the same tier had to wait for %s", took)
	}
	c.agree()
	took := time.Since(began)
	t.Logf("all other kinds are seen after %s", took.Round(time.Millisecond))
	if took < firstListPatience-slack || took > firstListPatience+slack {
		t.Errorf("others had to wait for %s, want %s", took, firstListPatience)
	}
	if err := c.agent.notReadyBecause("1 of 7 kinds", "nodes.v1.: waiting for its first list"); err != nil {
		t.Error(err)
	}
	close(over)
	c.agent.waitReady()
	c.settle()
	c.wantAsked(each(streamList, 1))
}

func noAnswer(t *testing.T, s *stage) {
	c := s.running(t)
	over := make(chan struct{})
	c.on(watch, "widgets", 1, delayUntil(over))
	c.cutNext("widgets", whole)
	c.waitAsked(watch, "widgets", 1)
	c.notReadyAfterPatience("widgets.v1.watchfaults.example.com: the API server does not answer")
	close(over)
	c.agent.waitReady()
	c.settle()
	c.wantAsked(counts{{watch, "widgets"}: 1})
}

// A kind that must be listed anew is not what it was until the list has arrived as a whole.
func slowList(t *testing.T, s *stage) {
	c := s.running(t)
	over := make(chan struct{})
	c.early("widgets", 1, stallUntil(over))
	c.cutNext("widgets", expiredInStream)
	c.waitAsked(streamList, "widgets", 1)
	c.notReadyAfterPatience("widgets.v1.watchfaults.example.com: the API server has not sent all of it again yet")
	close(over)
	c.agent.waitReady()
	c.settle()
	c.wantAsked(counts{{streamList, "widgets"}: 1})
}

// endsAtOnce ends an agent whose broker is well.
func (c *scene) endsAtOnce() {
	c.t.Helper()
	took := c.agent.stop()
	c.t.Logf("the agent ended after %s", took.Round(time.Millisecond))
	if took > 2*time.Second {
		c.t.Errorf("the agent took %s to end", took)
	}
}

// A kind that is waited for holds up neither an edit of the watch-list nor the end.
func endWhileThrottled(t *testing.T, s *stage) {
	c := s.running(t)
	c.on(streamList, "configmaps", -1, throttledForLong)
	c.on(streamList, "secrets", -1, throttledForLong)
	c.cutNext("configmaps", expiredInStream)
	c.cutNext("secrets", expiredInStream)
	c.waitAsked(streamList, "configmaps", 3) // the next attempt is 3 s away, or more
	c.watchList(`{"Resource":"secrets.v1.","labelSelector":"watched=yes"}`, `{"Resource":"services.v1."}`)
	edited := time.Now()
	c.waitAsked(streamList, "services", 1)
	took := time.Since(edited)
	t.Logf("the kind added is asked for after %s", took.Round(time.Millisecond))
	if took > 2*time.Second {
		t.Errorf("the edit was followed after %s", took)
	}
	c.churn.stop()
	c.endsAtOnce()
}

func endWhileRefused(t *testing.T, s *stage) {
	c := s.running(t)
	c.cutNext("configmaps", expiredInStream)
	c.on(streamList, "configmaps", 1, func(http.ResponseWriter, *http.Request) bool {
		go c.refuseConnections()
		return true
	})
	requests := func() float64 {
		return c.agent.metric(`meshery_meshsync_watch_requests_total{resource="configmaps.v1.",verb="watch"}`)
	}
	eventually(t, "several attempts", func() error {
		if n := requests(); n < 4 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	c.endsAtOnce()
}

func endWhileNothingGetsThrough(t *testing.T, s *stage) {
	c := s.running(t)
	c.close()
	c.watchList(`{"Resource":"services.v1."}`) // which it cannot hear of
	pass(t, time.Second)
	c.endsAtOnce()
}

// pass lets time go by in which nothing is to happen.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
