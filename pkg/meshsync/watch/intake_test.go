package watch

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/watchlist"
)

// recorder is a Sink that remembers.
type recorder struct {
	mu      sync.Mutex
	offered []string
}

func (r *recorder) MakeWay() bool { return true }

func (r *recorder) Offer(_ schema.GroupVersionResource, change wire.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if change.Reason != "" {
		r.offered = append(r.offered, fmt.Sprintf("%s %s", change.Reason, change.Name))
		return
	}
	object := readChange(change)
	r.offered = append(r.offered, fmt.Sprintf("%s %s %s %s", object.event, object.name, object.uid, object.version))
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	offered := r.offered
	r.offered = nil
	return offered
}

// said is what a message says of an object.
type said struct {
	event                         wire.Event
	namespace, name, uid, version string
}

// readChange reads what a consumer would get.
func readChange(change wire.Change) said {
	var message struct {
		EventType wire.Event
		Object    struct {
			Metadata struct{ Namespace, Name, UID, ResourceVersion string }
		}
	}
	if err := json.Unmarshal(wire.AppendEnd(slices.Clone(change.Message), change.Event), &message); err != nil {
		return said{event: wire.Event(err.Error())}
	}
	object := message.Object.Metadata
	if object.Namespace != change.Namespace || object.Name != change.Name || object.UID != change.UID {
		return said{event: "another object than was said"}
	}
	return said{message.EventType, object.Namespace, object.Name, object.UID, object.ResourceVersion}
}

// newTestSet makes a set that reads from a server; without one it must not ask for anything.
func newTestSet(client *raw.Client, sink Sink) *set {
	return &set{running: map[scope]*watch{}, shared: shared{
		client: client, sink: sink, metrics: newMetrics(prometheus.NewRegistry()), forbidden: func() {},
		encoding: Encoding{Essence: func(schema.GroupVersionResource) func(object []byte) []byte {
			return func(object []byte) []byte {
				if strings.Contains(string(object), `"name":"own"`) {
					return []byte("always the same")
				}
				return nil
			}
		}},
	}}
}

func wishFor(targets ...watchlist.Target) wish { return wish{targets: targets} }

func newTestWatch(target watchlist.Target) (*watch, *recorder) {
	sink := &recorder{}
	target.Resource, target.Kind = configMaps, "ConfigMap"
	return newWatch(klog.Background(), &newTestSet(nil, sink).shared, scope{resource: configMaps}, target), sink
}

// object is what an API server sends of one that is given as "name uid resourceVersion".
func object(text string) []byte { return objectIn("demo", text) }

func objectIn(namespace, text string) []byte {
	parts := strings.Fields(text)
	return fmt.Appendf(nil, `{"metadata":{"name":%q,"namespace":%q,"uid":%q,"resourceVersion":%q}}`, parts[0], namespace, parts[1], parts[2])
}

// unwritable is an object whose identity can be read, and nothing else.
func unwritable(name, uid, version string) []byte {
	return fmt.Appendf(nil, `{"metadata":{"name":%q,"namespace":"demo","uid":%q,"resourceVersion":%q,"labels":7}}`, name, uid, version)
}

// The three things that happen to an object.
func (w *watch) seen(text string)    { w.Take(apiwatch.Added, object(text)) }
func (w *watch) changed(text string) { w.Take(apiwatch.Modified, object(text)) }
func (w *watch) deleted(text string) { w.Take(apiwatch.Deleted, object(text)) }

// listed is a list, from its beginning to its end.
func (w *watch) lists(version string, texts ...string) {
	w.Begin()
	for _, text := range texts {
		w.seen(text)
	}
	_ = w.End(version)
}

func TestWatchesSayWhatHappened(t *testing.T) {
	const old = "x a 5"
	tests := map[string]struct {
		events watchlist.Events
		known  bool // old was seen before
		happen func(*watch)
		want   []string
	}{
		"added":                           {watchlist.AllEvents, false, func(w *watch) { w.seen(old) }, []string{"ADDED x a 5"}},
		"added, and said to have changed": {watchlist.AllEvents, false, func(w *watch) { w.changed(old) }, []string{"ADDED x a 5"}},
		"changed":                         {watchlist.AllEvents, true, func(w *watch) { w.changed("x a 6") }, []string{"MODIFIED x a 6"}},
		"changed while nobody looked":     {watchlist.AllEvents, true, func(w *watch) { w.lists("6", "x a 6") }, []string{"MODIFIED x a 6"}},
		"listed again without change":     {watchlist.AllEvents, true, func(w *watch) { w.lists("6", old) }, nil},
		"an older state":                  {watchlist.AllEvents, true, func(w *watch) { w.changed("x a 4") }, nil},
		"deleted":                         {watchlist.AllEvents, true, func(w *watch) { w.deleted("x a 6") }, []string{"DELETED x a 6"}},
		"its end was missed":              {watchlist.AllEvents, true, func(w *watch) { w.lists("6") }, []string{"DELETED x a 5"}},
		"nobody knows what it was":        {watchlist.AllEvents, false, func(w *watch) { w.deleted("x a 6") }, nil},
		"deleted before it came back":     {watchlist.AllEvents, true, func(w *watch) { w.deleted("x b 4") }, nil},
		"came and went within one list": {watchlist.AllEvents, false, func(w *watch) {
			w.Begin()
			w.seen(old)
			w.deleted("x a 6")
			_ = w.End("6")
		}, []string{"ADDED x a 5", "DELETED x a 6"}},
		"replaced under the same name":   {watchlist.AllEvents, true, func(w *watch) { w.seen("x b 6") }, []string{"DELETED x a 5", "ADDED x b 6"}},
		"replaced, deletes not wanted":   {watchlist.Added, true, func(w *watch) { w.seen("x b 6") }, []string{"ADDED x b 6"}},
		"replaced, and that was deleted": {watchlist.AllEvents, true, func(w *watch) { w.deleted("x b 7") }, []string{"DELETED x a 5"}},
		"change not wanted":              {watchlist.Added | watchlist.Deleted, true, func(w *watch) { w.changed("x a 6") }, nil},
		"change to be ignored": {watchlist.AllEvents, false, func(w *watch) {
			w.seen("own a 1")
			w.changed("own a 2")
			w.deleted("own a 3")
		}, []string{"ADDED own a 1", "DELETED own a 3"}},
		"replaced by what cannot be written": {watchlist.AllEvents, true, func(w *watch) { w.Take(apiwatch.Modified, unwritable("x", "b", "6")) }, []string{"DELETED x a 5"}},
		"an event that nobody knows":         {watchlist.AllEvents, true, func(w *watch) { w.Take("RENAMED", object("x a 6")) }, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, sink := newTestWatch(watchlist.Target{Events: test.events})
			if test.known {
				w.seen(old)
				sink.take()
			}
			test.happen(w)
			if got := sink.take(); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// TestWhatAnInformerKeeps: where an informer goes on from is the version of what it got last.
func TestWhatAnInformerKeeps(t *testing.T) {
	w, _ := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
	tests := []struct {
		what   string
		kind   apiwatch.EventType
		object []byte
		want   string // resource version; nothing if it is empty
	}{
		{"what is new", apiwatch.Added, object("x a 5"), "5"},
		{"what it has", apiwatch.Added, object("x a 5"), "5"},
		{"an older state", apiwatch.Modified, object("x a 4"), "4"},
		{"a change", apiwatch.Modified, object("x a 6"), "6"},
		{"what cannot be written", apiwatch.Modified, unwritable("x", "a", "7"), "7"},
		{"what has no name", apiwatch.Modified, []byte(`{"metadata":{"resourceVersion":"8"}}`), ""},
		{"what cannot be read", apiwatch.Modified, []byte(`{"metadata":{"name":"x"`), ""},
		{"what nobody knows", "RENAMED", object("x a 8"), ""},
		{"what is deleted", apiwatch.Deleted, object("x a 9"), "9"},
		{"what was deleted", apiwatch.Deleted, object("y a 10"), "10"},
	}
	for _, test := range tests {
		got := w.Take(test.kind, test.object)
		if (got != nil) != (test.want != "") || got != nil && got.ResourceVersion != test.want {
			t.Errorf("of %s: %v, want version %q", test.what, got, test.want)
		}
	}
	if got := valueOf(t, w.shared.metrics.unreadable.WithLabelValues(w.name)); got != 4 {
		t.Errorf("%v unreadable objects counted, want 4", got)
	}
}

func TestWhatCannotBeReadMakesNothingDisappear(t *testing.T) {
	tests := map[string]struct {
		item []byte
		want []string
	}{
		"it has a name, and is no news":   {unwritable("x", "a", "1"), []string{"DELETED y a 1"}},
		"it has a name, and has changed":  {unwritable("x", "a", "2"), []string{"DELETED y a 1"}},
		"it has a name, and is new":       {unwritable("z", "a", "2"), []string{"DELETED x a 1", "DELETED y a 1"}},
		"it has a name, and was replaced": {unwritable("x", "b", "2"), []string{"DELETED x a 1", "DELETED y a 1"}},
		"nobody knows what it is":         {[]byte(`{"metadata":7}`), nil},
		"it is no JSON":                   {[]byte(`<html>`), nil},
		"it is nothing":                   {nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, sink := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
			w.lists("1", "x a 1", "y a 1")
			sink.take()
			w.Begin()
			w.Take(apiwatch.Added, test.item)
			_ = w.End("5")
			got := sink.take()
			slices.Sort(got)
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestUnchangedMessagesCanBeSkipped(t *testing.T) {
	sink := &recorder{}
	s := newTestSet(nil, sink)
	s.encoding = Encoding{SkipUnchanged: true}
	w := newWatch(klog.Background(), &s.shared, scope{resource: configMaps}, watchlist.Target{Events: watchlist.AllEvents, Kind: "ConfigMap"})
	w.seen("x a 1")
	w.changed("x a 2")
	w.Take(apiwatch.Modified, []byte(`{"metadata":{"name":"x","namespace":"demo","uid":"a","resourceVersion":"3","labels":{"k":"v"}}}`))
	w.deleted("x a 4")
	w.seen("x a 5")
	want := []string{"ADDED x a 1", "MODIFIED x a 3", "DELETED x a 4", "ADDED x a 5"}
	if got := sink.take(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestInventoryIsMetadata, also where an API server sends whole objects all the same.
func TestInventoryIsMetadata(t *testing.T) {
	var offered []wire.Change
	s := newTestSet(nil, sinkFunc(func(change wire.Change) { offered = append(offered, change) }))
	target := watchlist.Target{Events: watchlist.AllEvents, Kind: "ConfigMap", Depth: v1alpha1.DepthInventory}
	w := newWatch(klog.Background(), &s.shared, scope{resource: configMaps}, target)
	w.Take(apiwatch.Added, []byte(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"x","namespace":"demo","uid":"a"},"data":{"k":"v"}}`))
	if len(offered) != 1 {
		t.Fatalf("offered %v", offered)
	}
	if message := string(offered[0].Message); !strings.Contains(message, `"kind":"ConfigMap"`) || strings.Contains(message, `"data"`) {
		t.Errorf("got %s", message)
	}
}

// TestLargeObjectsLeaveNothing: memory for one is given away with its message, or given back.
func TestLargeObjectsLeaveNothing(t *testing.T) {
	large := fmt.Sprintf(`"metadata":{"name":"x","namespace":"demo","uid":"a","resourceVersion":"%%d"},"data":{"k":%q}`, strings.Repeat("x", 4*scratchKept))
	tests := map[string]struct {
		depth v1alpha1.Depth
		data  string // of the object, before its version is put in
		most  int    // that its message may take
	}{
		"its message is large, too": {v1alpha1.DepthFull, "{" + large + "}", 8 * scratchKept},
		"its message is small":      {v1alpha1.DepthInventory, "{" + large + "}", 1 << 10},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var offered []wire.Change
			s := newTestSet(nil, sinkFunc(func(change wire.Change) { offered = append(offered, change) }))
			target := watchlist.Target{Events: watchlist.Added, Kind: "ConfigMap", Depth: test.depth}
			w := newWatch(klog.Background(), &s.shared, scope{resource: configMaps}, target)
			w.Take(apiwatch.Added, fmt.Appendf(nil, test.data, 1))
			w.Take(apiwatch.Modified, fmt.Appendf(nil, test.data, 2)) // nobody wants to hear of that
			if len(offered) != 1 || cap(offered[0].Message) > test.most {
				t.Errorf("%d messages, of %d bytes", len(offered), cap(offered[0].Message))
			}
			if n := cap(w.encoder.scratch); n > scratchKept {
				t.Errorf("%d bytes are kept", n)
			}
		})
	}
}

type sinkFunc func(change wire.Change)

func (f sinkFunc) MakeWay() bool { return true }

func (f sinkFunc) Offer(_ schema.GroupVersionResource, change wire.Change) { f(change) }
