package publish_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/publish"
	"meshery.io/operator/pkg/meshsync/wire"
)

var (
	podKind     = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	serviceKind = schema.GroupVersionResource{Version: "v1", Resource: "services"}
)

func pod(name string) publish.Key {
	return publish.Key{Resource: podKind, Namespace: "default", Name: name}
}

var there = &wire.Change{Event: wire.Modified}

// second is a time that many seconds after a start.
func second(n int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(n) * time.Second) }

func newRecent(most int) *publish.Recent {
	return publish.NewRecent(second(0), time.Minute, most)
}

// expectBetween compares what was published from one second until another: names of pods, with a minus for those that are gone.
func expectBetween(t *testing.T, r *publish.Recent, from, until int, wantComplete bool, want ...string) {
	t.Helper()
	there, gone, complete := r.Between(second(from), second(until))
	var got []string
	for _, key := range there[podKind] {
		got = append(got, key.Name)
	}
	for _, object := range gone {
		got = append(got, "-"+object.Key.Name)
		if string(object.Change.Message) != object.Key.Name+" is gone" {
			t.Errorf("the message about %s is %q", object.Key.Name, object.Change.Message)
		}
	}
	if !slices.Equal(got, want) || complete != wantComplete {
		t.Errorf("from %d until %d: %v (complete: %v), want %v (complete: %v)", from, until, got, complete, want, wantComplete)
	}
}

func noteGone(r *publish.Recent, name string, at int) {
	r.Note(pod(name), second(at), &wire.Change{Event: wire.Deleted, UID: name, Message: []byte("all of it"), Gone: []byte(name + " is gone")})
}

func TestRecentIsWhatWasPublishedLastInATime(t *testing.T) {
	r := newRecent(10)
	expectBetween(t, r, -100, 100, true)
	r.Note(pod("a"), second(1), there)
	r.Note(pod("b"), second(2), there)
	noteGone(r, "c", 3)
	r.Note(pod("d"), second(4), there)
	noteGone(r, "d", 5)
	noteGone(r, "e", 6)
	r.Note(pod("e"), second(7), there) // there again
	r.Note(publish.Key{Resource: serviceKind, Namespace: "default", Name: "s"}, second(8), there)
	expectBetween(t, r, 0, 10, true, "a", "b", "e", "-c", "-d", "-e")
	expectBetween(t, r, 2, 5, true, "b", "-c", "-d")
	expectBetween(t, r, 6, 6, true)
	if there, _, _ := r.Between(second(0), second(10)); len(there) != 2 || there[serviceKind][0].Name != "s" {
		t.Errorf("by kind: %v", there)
	}
	r.Note(pod("a"), second(9), there) // who listened then has missed nothing of it
	expectBetween(t, r, 0, 8, true, "b", "e", "-c", "-d", "-e")
	r.Note(pod("b"), second(8), there) // late
	expectBetween(t, r, 9, 9, true, "a", "b")
}

func TestRecentForgetsWhatIsOld(t *testing.T) {
	r := newRecent(10)
	r.Note(pod("a"), second(0), there)
	noteGone(r, "b", 1)
	r.Note(pod("c"), second(60), there)
	expectBetween(t, r, 0, 60, true, "a", "c", "-b")
	r.Note(pod("c"), second(62), there)
	expectBetween(t, r, 2, 62, true, "c")
	expectBetween(t, r, 1, 62, false, "c")
}

func TestRecentKeepsWhatMayMatterAfterAnOutage(t *testing.T) {
	r := newRecent(10)
	for i, name := range []string{"a", "b", "c"} {
		r.Note(pod(name), second(i), there)
	}
	r.Keep(second(1))
	r.Note(pod("d"), second(3600), there)
	expectBetween(t, r, 1, 3600, true, "b", "c", "d")
	expectBetween(t, r, 0, 3600, false, "b", "c", "d")
	r.Keep(time.Time{})
	r.Note(pod("e"), second(3601), there)
	expectBetween(t, r, 3600, 3601, true, "d", "e")
	expectBetween(t, r, 2, 3601, false, "d", "e")
}

func TestRecentForgetsTheOldestOfTooMany(t *testing.T) {
	r := newRecent(3)
	for i, name := range []string{"a", "b", "c", "a", "d"} {
		r.Note(pod(name), second(i), there)
	}
	expectBetween(t, r, 2, 9, true, "c", "a", "d")
	expectBetween(t, r, 1, 9, false, "c", "a", "d")
	r.Keep(second(2))
	r.Note(pod("e"), second(5), there)
	expectBetween(t, r, 2, 9, false, "a", "d", "e")
}

// TestRecentIsWhatALogSays compares it with a log of everything, over many seeds.
func TestRecentIsWhatALogSays(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		r := newRecent(20)
		var log []struct {
			name string
			at   int
			gone bool
		}
		now := 0
		for range 300 {
			now += random.IntN(5)
			name, gone := fmt.Sprint("pod-", random.IntN(30)), random.IntN(3) == 0
			log = append(log, struct {
				name string
				at   int
				gone bool
			}{name, now, gone})
			if gone {
				noteGone(r, name, now)
			} else {
				r.Note(pod(name), second(now), there)
			}
			from := now - random.IntN(100)
			want := map[string]bool{}
			for _, entry := range log {
				delete(want, entry.name)
				if entry.at >= from {
					want[entry.name] = entry.gone
				}
			}
			there, gones, complete := r.Between(second(from), second(now))
			got := map[string]bool{}
			for _, object := range gones {
				got[object.Key.Name] = true
			}
			for _, key := range there[podKind] {
				got[key.Name] = false // there again
			}
			if complete && !maps.Equal(got, want) {
				t.Fatalf("seed %d: from %d until %d: %v, want %v", seed, from, now, got, want)
			}
			if mustKnow := len(want) < 20 && now-from < 60; mustKnow && !complete {
				// Only what was published since could have pushed it out.
				t.Fatalf("seed %d: from %d until %d: not complete with %d objects", seed, from, now, len(want))
			}
		}
	}
}

func TestRecentCostsLittle(t *testing.T) {
	keys := make([]publish.Key, publish.DefaultMostRecent)
	for i := range keys {
		keys[i] = pod(fmt.Sprint("pod-", i))
	}
	before := heap()
	r := newRecent(len(keys))
	for _, key := range keys {
		r.Note(key, second(0), there)
	}
	full := heap()
	perKey := float64(full-before) / float64(len(keys))
	t.Logf("%.0f bytes per object", perKey)
	if perKey > 256 {
		t.Errorf("an object costs %.0f bytes", perKey)
	}
	r.Note(keys[0], second(100), there)
	if left := heap() - before; left > 64<<10 {
		t.Errorf("%d bytes are left of %d", left, full-before)
	}
	runtime.KeepAlive(r)
	runtime.KeepAlive(keys)
}

// heap is the bytes in use.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
