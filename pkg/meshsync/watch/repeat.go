package watch

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
)

// Told is what was said of objects of a kind.
type Told struct {
	There map[string]bool // keys of those that were there
	Gone  []wire.Change   // DELETED of those that were not
}

// Repeat says once more to those who listen what has become of objects, as it is now, and tries until it has or ctx ends.
func (w *Watcher) Repeat(ctx context.Context, told map[schema.GroupVersionResource]Told) error {
	for resource, about := range told {
		for _, change := range about.Gone {
			change.CoreOnly, change.Earlier = true, true
			if one := w.set.covering(resource, change.Namespace); one != nil {
				one.repeatGone(change)
			} else {
				w.options.Sink.Offer(resource, change)
			}
		}
	}
	return w.each(ctx, func(one *watch) error {
		about := told[one.resource]
		if len(about.There) == 0 {
			return nil
		}
		return one.relist(ctx, func(key string) (again, bool) {
			return again{event: wire.Added, coreOnly: true}, about.There[key]
		})
	})
}

// repeatGone says once more that an object is gone, unless it is back.
func (w *watch) repeatGone(change wire.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := w.index.known[raw.Key(change.Namespace, change.Name)]; known == nil || known.UID != change.UID {
		w.sink.Offer(w.resource, change)
	}
}
