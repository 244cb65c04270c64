package watch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"
)

// maxFirstLists is how many kinds are listed for the first time at once. More would only make the API server and this process hold
// more objects at the same time.
const maxFirstLists = 8

// set is the running watches.
type set struct {
	client     dynamic.Interface
	namespaces map[string]bool
	sink       Sink
	metrics    *metrics
	gate       chan struct{} // holds one element per first list under way

	mu      sync.RWMutex
	running map[schema.GroupVersionResource]*watch
}

func newSet(client dynamic.Interface, namespaces []string, sink Sink, metrics *metrics) *set {
	s := &set{
		client:  client,
		sink:    sink,
		metrics: metrics,
		gate:    make(chan struct{}, maxFirstLists),
		running: map[schema.GroupVersionResource]*watch{},
	}
	if len(namespaces) > 0 {
		s.namespaces = map[string]bool{}
		for _, namespace := range namespaces {
			s.namespaces[namespace] = true
		}
	}
	return s
}

// apply makes exactly the wanted watches run: those that run already are kept, with the events now wanted. A running watch of a
// group version in unknown is kept too: that nothing is known of it does not mean that it is gone. There is one caller at a time.
func (s *set) apply(ctx context.Context, want []Target, unknown map[schema.GroupVersion]error) {
	wanted := map[schema.GroupVersionResource]Target{}
	for _, target := range want {
		wanted[target.Resource] = target
	}
	removed := s.remove(func(w *watch) bool {
		_, ok := wanted[w.resource]
		_, unclear := unknown[w.resource.GroupVersion()]
		return !ok && !unclear
	})
	added := s.add(ctx, want)
	if added+removed > 0 {
		klog.FromContext(ctx).Info("Watched kinds changed", "kept", len(s.all())-added, "added", added, "removed", removed)
	}
}

func (s *set) add(ctx context.Context, want []Target) (added int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, target := range want {
		if w, ok := s.running[target.Resource]; ok {
			w.setEvents(target.Events)
			continue
		}
		w := newWatch(s.client, target, s.namespaces, s.sink, s.metrics)
		w.start(ctx, s.gate)
		s.running[target.Resource] = w
		added++
		klog.FromContext(ctx).V(2).Info("Watch added", "resource", target.Resource, "events", target.Events)
	}
	return added
}

// remove stops watches and drops what they have offered. All are told to stop before the first is waited for.
func (s *set) remove(doomed func(*watch) bool) int {
	s.mu.Lock()
	var stopping []*watch
	for resource, w := range s.running {
		if doomed(w) {
			delete(s.running, resource)
			stopping = append(stopping, w)
			w.cancel()
		}
	}
	s.mu.Unlock()
	for _, w := range stopping {
		w.stop()
		s.sink.Forget(w.resource)
		s.metrics.forget(w.resource)
	}
	return len(stopping)
}

// stop ends every watch. What was offered stays with the sink.
func (s *set) stop() {
	for _, w := range s.all() {
		w.cancel()
	}
	for _, w := range s.all() {
		w.stop()
	}
}

// all returns the running watches in the order of their names.
func (s *set) all() []*watch {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.running), func(a, b *watch) int {
		return strings.Compare(a.resource.String(), b.resource.String())
	})
}

func (s *set) get(resource schema.GroupVersionResource) *watch {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.running[resource]
}

// ready returns nil when every watch has offered its first list or was refused, and otherwise what is missing.
func (s *set) ready() error {
	const named = 5 // in the message
	var missing []string
	all := s.all()
	for _, w := range all {
		if state, err := w.state(); state == pending {
			missing = append(missing, w.describe(err))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	more := ""
	if len(missing) > named {
		more = "; …"
	}
	return fmt.Errorf("%d of %d kinds not synced: %s%s", len(missing), len(all), strings.Join(missing[:min(named, len(missing))], "; "), more)
}

// count returns the number of watches in each state.
func (s *set) count() map[state]int {
	counts := map[state]int{synced: 0, pending: 0, refused: 0}
	for _, w := range s.all() {
		state, _ := w.state()
		counts[state]++
	}
	return counts
}
