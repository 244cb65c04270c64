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
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
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

func (r *recorder) Withdraw(_ schema.GroupVersionResource, obj *unstructured.Unstructured, reason wire.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offered = append(r.offered, fmt.Sprintf("%s %s", reason, obj.GetName()))
}

func newTestSet(client dynamic.Interface, sink Sink) *set {
	return &set{running: map[scope]*watch{}, shared: shared{
		dynamic: client, sink: sink, metrics: newMetrics(prometheus.NewRegistry()), forbidden: func() {},
		ignore: func(_ schema.GroupVersionResource, _, obj *unstructured.Unstructured) bool {
			return obj.GetName() == "own"
		},
	}}
}

func wishFor(targets ...watchlist.Target) wish { return wish{targets: targets} }

func newTestWatch(target watchlist.Target) (*watch, *recorder) {
	sink := &recorder{}
	target.Resource = configMaps
	s := newTestSet(fake.NewSimpleDynamicClient(runtime.NewScheme()), sink)
	return newWatch(klog.Background(), &s.shared, scope{resource: configMaps}, target), sink
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
		known  bool // old was seen before
		handle func(*watch)
		want   []string
	}{
		"added":                       {watchlist.AllEvents, false, func(w *watch) { w.seen(old) }, []string{"ADDED x a 1"}},
		"changed":                     {watchlist.AllEvents, true, func(w *watch) { w.seen(configMap("demo", "x", "a", "2")) }, []string{"MODIFIED x a 2"}},
		"listed again without change": {watchlist.AllEvents, true, func(w *watch) { w.seen(configMap("demo", "x", "a", "1")) }, nil},
		"deleted":                     {watchlist.AllEvents, true, func(w *watch) { w.deleted(deletedObject{OptionalObj: old}) }, []string{"DELETED x a 1"}},
		"its end was missed": {watchlist.AllEvents, true, func(w *watch) {
			w.deleted(deletedObject{OptionalObj: old, FinalStateUnknown: &cache.DeletedFinalStateUnknown{}})
		}, []string{"DELETED x a 1"}},
		"only its name is left": {watchlist.AllEvents, true, func(w *watch) {
			w.deleted(deletedObject{FinalStateUnknown: &cache.DeletedFinalStateUnknown{Key: "demo/x"}})
		}, []string{"DELETED x a 1"}},
		"nobody knows what it was": {watchlist.AllEvents, false, func(w *watch) {
			w.deleted(deletedObject{FinalStateUnknown: &cache.DeletedFinalStateUnknown{Key: "demo/x"}})
		}, nil},
		"replaced under the same name": {watchlist.AllEvents, true, func(w *watch) { w.seen(configMap("demo", "x", "b", "2")) }, []string{"DELETED x a 1", "ADDED x b 2"}},
		"replaced, deletes not wanted": {watchlist.Added, true, func(w *watch) { w.seen(configMap("demo", "x", "b", "2")) }, []string{"ADDED x b 2"}},
		"change not wanted":            {watchlist.Added | watchlist.Deleted, true, func(w *watch) { w.seen(configMap("demo", "x", "a", "2")) }, nil},
		"change to be ignored": {watchlist.AllEvents, false, func(w *watch) {
			w.seen(configMap("demo", "own", "a", "1"))
			w.seen(configMap("demo", "own", "a", "2"))
		}, []string{"ADDED own a 1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, sink := newTestWatch(watchlist.Target{Events: test.events})
			if test.known {
				w.seen(old)
				sink.offered = nil
			}
			test.handle(w)
			if !slices.Equal(sink.offered, test.want) {
				t.Errorf("got %v, want %v", sink.offered, test.want)
			}
		})
	}
}

func TestCatchUpAndResyncSayWhatIsThereNow(t *testing.T) {
	w, sink := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
	for _, obj := range []*unstructured.Unstructured{
		configMap("demo", "same", "a", "1"), configMap("demo", "changed", "a", "2"), configMap("demo", "replaced", "b", "2"), configMap("demo", "new", "a", "1"),
	} {
		w.seen(obj)
	}
	sink.offered = nil
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
		errs    []error
		want    v1alpha1.ResourceState
		waitFor bool // it counts against readiness
	}{
		"not heard of":             {nil, v1alpha1.ResourceSyncing, true},
		"forbidden":                {[]error{apierrors.NewForbidden(kind, "", nil)}, v1alpha1.ResourceForbidden, false},
		"not served":               {[]error{apierrors.NewNotFound(kind, "")}, v1alpha1.ResourceNotServed, false},
		"cannot be watched":        {[]error{apierrors.NewMethodNotSupported(kind, "watch")}, v1alpha1.ResourceNotServed, false},
		"a selector is refused":    {[]error{apierrors.NewBadRequest("field label not supported")}, v1alpha1.ResourceFailed, false},
		"the API server is away":   {[]error{errors.New("connection refused")}, v1alpha1.ResourceFailed, true},
		"not logged in":            {[]error{apierrors.NewUnauthorized("")}, v1alpha1.ResourceFailed, true},
		"away after forbidden":     {[]error{apierrors.NewForbidden(kind, "", nil), errors.New("connection refused")}, v1alpha1.ResourceFailed, true},
		"a watch that was too old": {[]error{apierrors.NewResourceExpired("too old"), io.EOF}, v1alpha1.ResourceSyncing, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, _ := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
			for _, err := range test.errs {
				w.watchFailed(err)
			}
			if got, _ := w.state(); got != test.want || (w.missing() != nil) != test.waitFor {
				t.Errorf("got %s, %v; want %s", got, w.missing(), test.want)
			}
		})
	}
}
