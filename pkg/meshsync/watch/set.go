package watch

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/watchlist"
)

// set is the running watches, and those that are wanted and refused.
type set struct {
	shared

	mu      sync.RWMutex
	running map[scope]*watch
}

// wish is what is wanted of a set.
type wish struct {
	targets []watchlist.Target // by tier
	refused map[scope]error
	// served tells of a resource that is not wanted any more whether that is because the API server does not serve it.
	served map[schema.GroupVersionResource]bool
}

// scopesOf are what it takes to watch a target.
func scopesOf(target watchlist.Target) []scope {
	if len(target.Namespaces) == 0 {
		return []scope{{resource: target.Resource}}
	}
	scopes := make([]scope, 0, len(target.Namespaces))
	for _, namespace := range target.Namespaces {
		scopes = append(scopes, scope{target.Resource, namespace})
	}
	return scopes
}

// doubtful returns the scopes of which it is not known that they may be watched: those without a watch, and those whose watch is refused.
func (s *set) doubtful(targets []watchlist.Target) []scope {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var doubtful []scope
	for _, target := range targets {
		for _, of := range scopesOf(target) {
			w, ok := s.running[of]
			if !ok || w.forbiddenNow() {
				doubtful = append(doubtful, of)
			}
		}
	}
	return doubtful
}

// apply makes exactly the wanted watches run. Those that run already are kept, with the events now wanted. What the others have
// offered goes to the watch that covers it now, and is withdrawn if there is none. There is one caller at a time.
func (s *set) apply(ctx context.Context, want wish) {
	next := map[scope]*watch{}
	var starting []*watch // by tier
	for _, target := range want.targets {
		for _, of := range scopesOf(target) {
			w := s.running[of]
			refusal := want.refused[of]
			if w == nil || w.selection != selectionOf(target) || w.isDenied() != (refusal != nil) {
				w = newWatch(klog.FromContext(ctx), &s.shared, of, target)
				if refusal != nil {
					w.refuse(refusal)
				}
				starting = append(starting, w)
			}
			w.setEvents(target.Events)
			next[of] = w
		}
	}
	var stopping []*watch
	for of, w := range s.running {
		if next[of] != w {
			stopping = append(stopping, w)
		}
	}
	if len(starting)+len(stopping) == 0 {
		return
	}
	s.replace(ctx, next, starting, stopping, want)
}

func (s *set) replace(ctx context.Context, next map[scope]*watch, starting, stopping []*watch, want wish) {
	for _, w := range stopping {
		w.cancel()
	}
	for _, w := range stopping {
		w.stop()
		w.logger.V(2).Info("Watch removed")
	}
	orphans := bequeath(stopping, starting)
	s.mu.Lock()
	s.running = next
	s.mu.Unlock()
	for _, w := range starting { // before the orphans: a cluster that grows is worth more than one that shrinks
		if denial := w.denial.Load(); denial != nil {
			w.logger.Info("Kind may not be watched", "reason", (*denial).Error())
			continue
		}
		w.start(ctx)
		w.logger.V(2).Info("Watch added", "events", w.events.Load())
	}
	for _, orphan := range orphans {
		reason := wire.WatchListChanged
		if !want.served[orphan.from.resource] {
			reason = wire.NotServed
		}
		orphan.from.withdraw(orphan.object, reason)
	}
	for _, w := range stopping {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(next)), func(of scope) bool { return of.resource == w.resource }) {
			s.metrics.forget(w.resource)
		}
	}
	klog.FromContext(ctx).Info("Watched kinds changed", "kept", len(next)-len(starting), "started", len(starting), "stopped", len(stopping))
}

// orphan is an object that nobody watches any more.
type orphan struct {
	object *raw.Object
	from   *watch
}

// bequeath hands what the stopped watches hold to those that are about to start and cover it.
func bequeath(stopped, starting []*watch) []orphan {
	var orphans []orphan
	for _, w := range stopped {
		heirs := slices.DeleteFunc(slices.Clone(starting), func(heir *watch) bool { return heir.resource != w.resource })
		for _, heir := range heirs {
			heir.index.reach(w.index.newest) // also what was deleted since
		}
		for _, left := range w.leaves() {
			i := slices.IndexFunc(heirs, func(heir *watch) bool { return heir.covers(left.Namespace()) })
			if i < 0 {
				orphans = append(orphans, orphan{left.Object, w})
				continue
			}
			if !heirs[i].sameObjects(w.selection) {
				left.from.reason = wire.WatchListChanged
			}
			heirs[i].inherit(left.Object, left.from)
		}
	}
	return orphans
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

// all returns the watches in the order of their names.
func (s *set) all() []*watch {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.running), func(a, b *watch) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.namespace, b.namespace))
	})
}

// covering returns the watch that sees objects of a namespace, if there is one.
func (s *set) covering(resource schema.GroupVersionResource, namespace string) *watch {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for of, w := range s.running {
		if of.resource == resource && w.covers(namespace) {
			return w
		}
	}
	return nil
}

// runs reports whether a watch is still one of the set.
func (s *set) runs(w *watch) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.running[w.scope] == w
}

// ready returns nil when every watch has offered its first list or was refused, and otherwise what is missing.
func (s *set) ready() error {
	const named = 5 // in the message
	var missing []string
	all := s.all()
	for _, w := range all {
		if err := w.missing(); err != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", w.name, err))
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

// kinds says how far the set is with each kind, in the order of their names. One that is watched in several namespaces is as badly
// off as the worst of them.
func (s *set) kinds() []v1alpha1.ResourceStatus {
	var kinds []v1alpha1.ResourceStatus
	for _, w := range s.all() {
		state, err := w.state()
		one := v1alpha1.ResourceStatus{Resource: w.name, State: state, Objects: int64(w.count())}
		if err != nil {
			one.Message = err.Error()
		}
		if n := len(kinds) - 1; n >= 0 && kinds[n].Resource == one.Resource {
			one.Objects += kinds[n].Objects
			if slices.Index(v1alpha1.ResourceStates, kinds[n].State) >= slices.Index(v1alpha1.ResourceStates, one.State) {
				one.State, one.Message = kinds[n].State, kinds[n].Message
			}
			kinds[n] = one
		} else {
			kinds = append(kinds, one)
		}
	}
	return kinds
}

// lastSync is when a watch has last seen its objects as a whole for the first time; zero for never.
func (s *set) lastSync() time.Time {
	var last time.Time
	for _, w := range s.all() {
		if at := w.listed.Load(); at != nil && at.After(last) {
			last = *at
		}
	}
	return last
}
