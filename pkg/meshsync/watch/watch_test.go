package watch

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/watchlist"
)

// recorder is a Sink that remembers.
type recorder struct {
	mu      sync.Mutex
	offered []string
}

func (r *recorder) Offer(_ schema.GroupVersionResource, event wire.Event, obj *unstructured.Unstructured) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offered = append(r.offered, fmt.Sprintf("%s %s %s %s", event, obj.GetName(), obj.GetUID(), obj.GetResourceVersion()))
}

func (r *recorder) Forget(schema.GroupVersionResource) {}

func newTestWatch(events watchlist.Events, namespaces ...string) (*watch, *recorder) {
	sink := &recorder{}
	s := newSet(fake.NewSimpleDynamicClient(runtime.NewScheme()), namespaces, sink, newMetrics(prometheus.NewRegistry()))
	w := newWatch(s.client, Target{Resource: configMaps, Events: events}, s.namespaces, sink, s.metrics)
	return w, sink
}

func configMap(namespace, name, uid, version string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
	obj.SetNamespace(namespace)
	obj.SetName(name)
	obj.SetUID(types.UID(uid))
	obj.SetResourceVersion(version)
	return obj
}

type deletedObject = cache.DeletedObject[*unstructured.Unstructured]

func TestHandlersSayWhatHappened(t *testing.T) {
	old := configMap("demo", "x", "a", "1")
	tests := map[string]struct {
		events watchlist.Events
		handle func(*watch)
		want   []string
	}{
		"added":                       {watchlist.AllEvents, func(w *watch) { w.added(old) }, []string{"ADDED x a 1"}},
		"changed":                     {watchlist.AllEvents, func(w *watch) { w.updated(old, configMap("demo", "x", "a", "2")) }, []string{"MODIFIED x a 2"}},
		"listed again without change": {watchlist.AllEvents, func(w *watch) { w.updated(old, configMap("demo", "x", "a", "1")) }, nil},
		"deleted":                     {watchlist.AllEvents, func(w *watch) { w.deleted(deletedObject{OptionalObj: old}) }, []string{"DELETED x a 1"}},
		"its end was missed": {watchlist.AllEvents, func(w *watch) {
			w.deleted(deletedObject{OptionalObj: old, FinalStateUnknown: &cache.DeletedFinalStateUnknown{}})
		}, []string{"DELETED x a 1"}},
		"nobody knows what it was":     {watchlist.AllEvents, func(w *watch) { w.deleted(deletedObject{}) }, nil},
		"replaced under the same name": {watchlist.AllEvents, func(w *watch) { w.updated(old, configMap("demo", "x", "b", "2")) }, []string{"DELETED x a 1", "ADDED x b 2"}},
		"replaced, deletes not wanted": {watchlist.Added, func(w *watch) { w.updated(old, configMap("demo", "x", "b", "2")) }, []string{"ADDED x b 2"}},
		"change not wanted":            {watchlist.Added | watchlist.Deleted, func(w *watch) { w.updated(old, configMap("demo", "x", "a", "2")) }, nil},
		"in another namespace":         {watchlist.AllEvents, func(w *watch) { w.added(configMap("other", "x", "a", "1")) }, nil},
		"in no namespace":              {watchlist.AllEvents, func(w *watch) { w.added(configMap("", "x", "a", "1")) }, []string{"ADDED x a 1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, sink := newTestWatch(test.events, "demo")
			test.handle(w)
			if !slices.Equal(sink.offered, test.want) {
				t.Errorf("got %v, want %v", sink.offered, test.want)
			}
		})
	}
}

func TestCatchUpAndResyncSayWhatIsThereNow(t *testing.T) {
	w, sink := newTestWatch(watchlist.AllEvents)
	for _, obj := range []*unstructured.Unstructured{
		configMap("demo", "same", "a", "1"), configMap("demo", "changed", "a", "2"), configMap("demo", "replaced", "b", "2"), configMap("demo", "new", "a", "1"),
	} {
		if err := w.informer.GetIndexer().Add(obj); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"same", "changed", "replaced", "gone"} {
		w.catchUp(configMap("demo", name, "a", "1"))
	}
	want := []string{"MODIFIED changed a 2", "DELETED replaced a 1", "ADDED replaced b 2", "DELETED gone a 1"}
	if !slices.Equal(sink.offered, want) {
		t.Errorf("catch up: got %v, want %v", sink.offered, want)
	}
	sink.offered = nil
	w.resync()
	slices.Sort(sink.offered)
	want = []string{"ADDED changed a 2", "ADDED new a 1", "ADDED replaced b 2", "ADDED same a 1"}
	if !slices.Equal(sink.offered, want) {
		t.Errorf("resync: got %v, want %v", sink.offered, want)
	}
}

func TestManagedFieldsAreNotKept(t *testing.T) {
	obj := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "x", "managedFields": []any{map[string]any{}}}}}
	if _, err := dropManagedFields(obj); err != nil || len(obj.GetManagedFields()) != 0 || obj.GetName() != "x" {
		t.Errorf("got %v, %v", obj, err)
	}
}

func TestStates(t *testing.T) {
	kind := schema.GroupResource{Resource: "configmaps"}
	tests := map[string]struct {
		errs []error
		want state
	}{
		"not heard of":             {nil, pending},
		"forbidden":                {[]error{apierrors.NewForbidden(kind, "", nil)}, refused},
		"not served":               {[]error{apierrors.NewNotFound(kind, "")}, refused},
		"cannot be watched":        {[]error{apierrors.NewMethodNotSupported(kind, "watch")}, refused},
		"the API server is away":   {[]error{errors.New("connection refused")}, pending},
		"not logged in":            {[]error{apierrors.NewUnauthorized("")}, pending},
		"away after forbidden":     {[]error{apierrors.NewForbidden(kind, "", nil), errors.New("connection refused")}, pending},
		"a watch that was too old": {[]error{apierrors.NewResourceExpired("too old"), io.EOF}, pending},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, _ := newTestWatch(watchlist.AllEvents)
			w.configure(klog.FromContext(t.Context()))
			for _, err := range test.errs {
				w.watchFailed(t.Context(), err)
			}
			if got, _ := w.state(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestRunningWatchesOfGroupsThatDoNotAnswerAreKept(t *testing.T) {
	sink := &recorder{}
	s := newSet(fake.NewSimpleDynamicClient(runtime.NewScheme()), nil, sink, newMetrics(prometheus.NewRegistry()))
	defer s.stop()
	listKinds := []schema.GroupVersionResource{configMaps, {Group: "a.example.com", Version: "v1", Resource: "as"}, {Group: "b.example.com", Version: "v1", Resource: "bs"}}
	var want []Target
	for _, resource := range listKinds {
		s.running[resource] = newWatch(s.client, Target{Resource: resource}, nil, sink, s.metrics)
		s.running[resource].cancel = func() {}
		close(s.running[resource].done)
		want = append(want, Target{Resource: resource})
	}
	s.apply(t.Context(), want[:1], map[schema.GroupVersion]error{listKinds[1].GroupVersion(): errors.New("no answer")})
	if len(s.running) != 2 || s.get(listKinds[0]) == nil || s.get(listKinds[1]) == nil {
		t.Errorf("running: %v", s.running)
	}
}
