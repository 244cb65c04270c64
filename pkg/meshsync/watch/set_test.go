package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

var secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

// heldSet starts a set with watches that run no informer, and have offered what is given by "namespace/name".
func heldSet(t *testing.T, targets []watchlist.Target, names ...string) (*set, *recorder) {
	t.Helper()
	sink := &recorder{}
	s := newTestSet(nil, sink)
	for _, target := range targets {
		for _, of := range scopesOf(target) {
			w := newWatch(klog.Background(), &s.shared, of, target)
			close(w.done)
			s.running[of] = w
		}
	}
	for _, name := range names {
		namespace, name, _ := strings.Cut(name, "/")
		s.covering(configMaps, namespace).Take(apiwatch.Added, objectIn(namespace, name+" u 1"))
	}
	sink.take()
	return s, sink
}

// refuseAll keeps apply from starting informers.
func refuseAll(want wish) wish {
	want.refused = map[scope]error{}
	for _, target := range want.targets {
		for _, of := range scopesOf(target) {
			want.refused[of] = errors.New("not in this test")
		}
	}
	return want
}

func TestWhatAStoppedWatchHeldIsBequeathedOrWithdrawn(t *testing.T) {
	everywhere := watchlist.Target{Resource: configMaps, Events: watchlist.AllEvents, Depth: v1alpha1.DepthFull}
	with := func(change func(*watchlist.Target)) watchlist.Target {
		target := everywhere
		change(&target)
		return target
	}
	in := func(namespaces ...string) watchlist.Target {
		return with(func(t *watchlist.Target) { t.Namespaces = namespaces })
	}
	tests := map[string]struct {
		before, after []watchlist.Target
		served        bool
		keep          bool
		withdrawn     []string
		held          []string
	}{
		"the kind is not wanted any more": {
			before: []watchlist.Target{everywhere}, served: true,
			withdrawn: []string{"WatchListChanged x", "WatchListChanged y"},
		},
		"the kind is not served any more": {
			before:    []watchlist.Target{everywhere},
			withdrawn: []string{"NotServed x", "NotServed y"},
		},
		"what is not wanted is to be kept": {before: []watchlist.Target{everywhere}, served: true, keep: true},
		"deletes were not wanted": {
			before: []watchlist.Target{with(func(t *watchlist.Target) { t.Events = watchlist.Added })}, served: true,
		},
		"one namespace is left": {
			before: []watchlist.Target{everywhere}, after: []watchlist.Target{in("a")}, served: true,
			withdrawn: []string{"WatchListChanged y"}, held: []string{"x"},
		},
		"a namespace fewer": {
			before: []watchlist.Target{in("a", "b")}, after: []watchlist.Target{in("b")}, served: true,
			withdrawn: []string{"WatchListChanged x"}, held: []string{"y"},
		},
		"a namespace is excluded": {
			before: []watchlist.Target{everywhere}, served: true,
			after:     []watchlist.Target{with(func(t *watchlist.Target) { t.Excluded = []string{"a", "c"} })},
			withdrawn: []string{"WatchListChanged x"}, held: []string{"y"},
		},
		"all namespaces at once": {
			before: []watchlist.Target{in("a", "b")}, after: []watchlist.Target{everywhere}, served: true, held: []string{"x", "y"},
		},
		"another selector: the first list will tell": {
			before: []watchlist.Target{everywhere}, served: true,
			after: []watchlist.Target{with(func(t *watchlist.Target) { t.LabelSelector = "a=b" })}, held: []string{"x", "y"},
		},
		"another kind instead": {
			before: []watchlist.Target{everywhere}, after: []watchlist.Target{{Resource: secrets}}, served: true,
			withdrawn: []string{"WatchListChanged x", "WatchListChanged y"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, sink := heldSet(t, test.before, "a/x", "b/y")
			s.keep.Store(test.keep)
			want := refuseAll(wishFor(test.after...))
			want.served = map[schema.GroupVersionResource]bool{configMaps: test.served}
			s.apply(t.Context(), want)
			withdrawn := sink.take()
			slices.Sort(withdrawn)
			if !slices.Equal(withdrawn, test.withdrawn) {
				t.Errorf("withdrawn: got %v, want %v", withdrawn, test.withdrawn)
			}
			var held []string
			for _, w := range s.all() {
				for _, left := range w.leaves() {
					held = append(held, left.Name())
				}
			}
			slices.Sort(held)
			if !slices.Equal(held, test.held) {
				t.Errorf("held: got %v, want %v", held, test.held)
			}
		})
	}
}

func TestTheFirstListSettlesWhatWasInherited(t *testing.T) {
	full := watchlist.Target{Resource: configMaps, Events: watchlist.AllEvents, Depth: v1alpha1.DepthFull}
	labelled, inventory := full, full
	labelled.LabelSelector, inventory.Depth = "a=b", v1alpha1.DepthInventory
	tests := map[string]struct {
		after watchlist.Target
		want  []string
	}{
		"another selector": {labelled, []string{"ADDED new u 1", "DELETED replaced u 1", "ADDED replaced v 1", "MODIFIED changed u 2", "WatchListChanged gone"}},
		"another depth":    {inventory, []string{"ADDED new u 1", "DELETED replaced u 1", "ADDED replaced v 1", "ADDED changed u 2", "ADDED same u 1", "DELETED gone u 1"}},
		"only permission was missing": {full, []string{
			"ADDED new u 1", "DELETED replaced u 1", "ADDED replaced v 1", "MODIFIED changed u 2", "DELETED gone u 1",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, sink := heldSet(t, []watchlist.Target{full}, "a/same", "a/changed", "a/replaced", "a/gone")
			if name == "only permission was missing" {
				s.running[scope{resource: configMaps}].denial.Store(new(errors.New("forbidden")))
			}
			after := newWatch(klog.Background(), &s.shared, scope{resource: configMaps}, test.after)
			if orphans := bequeath(s.all(), []*watch{after}); len(orphans) != 0 {
				t.Fatalf("orphans: %v", orphans)
			}
			after.Begin()
			for _, object := range []string{"new u 1", "replaced v 1", "changed u 2", "same u 1"} {
				after.Take(apiwatch.Added, objectIn("a", object))
			}
			if err := after.End("2"); err != nil {
				t.Error(err)
			}
			if got := sink.take(); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if n := after.count(); n != 4 {
				t.Errorf("holds %d", n)
			}
		})
	}
}

func TestApplyTouchesOnlyWhatChanged(t *testing.T) {
	a := watchlist.Target{Resource: configMaps, Events: watchlist.AllEvents}
	b := watchlist.Target{Resource: secrets, Events: watchlist.AllEvents}
	s, _ := heldSet(t, []watchlist.Target{a, b})
	keptA, keptB := s.covering(configMaps, ""), s.covering(secrets, "")

	a.Events = watchlist.Added
	s.apply(t.Context(), wishFor(a, b))
	if s.covering(configMaps, "") != keptA || keptA.wants("DELETED") || !keptA.wants("ADDED") {
		t.Error("other events for a kind take no other watch")
	}
	a.FieldSelector = "metadata.name=x"
	s.apply(t.Context(), refuseAll(wishFor(a)))
	if s.covering(configMaps, "") == keptA {
		t.Error("another selector takes another watch")
	}
	if s.covering(secrets, "") != nil || keptB == nil {
		t.Error("what is not wanted is gone")
	}
}

func TestAKindInSeveralNamespacesIsAsBadlyOffAsTheWorst(t *testing.T) {
	s, _ := heldSet(t, []watchlist.Target{{Resource: configMaps, Namespaces: []string{"a", "b", "c"}}}, "a/x", "b/y", "b/z")
	s.covering(configMaps, "b").denial.Store(new(errors.New("may not list it in namespace b")))
	want := []v1alpha1.ResourceStatus{{Resource: "configmaps.v1.", State: v1alpha1.ResourceForbidden, Objects: 3, Message: "may not list it in namespace b"}}
	if got := s.kinds(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Readiness, metrics and status ask at any time, also while watches are being made.
func TestWatchesCanBeAskedFromTheStart(t *testing.T) {
	var targets []watchlist.Target
	for i := range 50 {
		resource := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: fmt.Sprintf("kind%ds", i)}
		targets = append(targets, watchlist.Target{Resource: resource, Events: watchlist.AllEvents})
	}
	s := newTestSet(newAPIServer(t).client(t), &recorder{})
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		for ctx.Err() == nil {
			s.kinds()
			_ = s.ready()
		}
	})
	s.apply(ctx, wishFor(targets...))
	s.apply(ctx, refuseAll(wishFor(targets...)))
	cancel()
	asking.Wait()
	s.stop()
}
