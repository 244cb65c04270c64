package watch

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/wire"
)

// retryFirst and retryLast are the pauses between attempts to list what could not be listed.
const (
	retryFirst = 500 * time.Millisecond
	retryLast  = 30 * time.Second
)

// Resync offers every object as ADDED, as it is now, and tries until it has or ctx ends.
func (w *Watcher) Resync(ctx context.Context) error {
	return w.each(ctx, func(one *watch) error { return one.relist(ctx, everything) })
}

// Objects calls visit with every object as it is now, in its wire form, and tries until it has, visit fails, or ctx ends: some may come
// twice. It is for somebody who is sent them by another way than through the sink, and so perhaps after their newer state: catchUp
// offers what has changed in the meantime once more. It must be called.
func (w *Watcher) Objects(ctx context.Context, visit func(object []byte) error) (catchUp func(context.Context) error, err error) {
	journals := map[*watch]*journal{}
	for _, one := range w.set.all() {
		journals[one] = one.open()
	}
	catchUp = func(ctx context.Context) error {
		ended := map[schema.GroupVersionResource]bool{}
		for one, journal := range journals {
			one.close(journal)
			if !w.set.runs(one) {
				ended[one.resource] = true
				w.set.takeBack(one, journal)
			}
		}
		return w.each(ctx, func(one *watch) error {
			journal := journals[one]
			switch {
			case journal != nil:
				return one.catchUp(ctx, journal)
			case ended[one.resource]: // it goes on with what another has begun
				return one.relist(ctx, everything)
			}
			return nil
		})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = w.each(ctx, func(one *watch) error {
		return one.list(ctx, func(data []byte) error {
			if one.isOurs(data) {
				return nil
			}
			object, err := one.encoder.object(data)
			if err != nil {
				one.unreadable("", err)
				return nil
			}
			one.shown(data, journals[one])
			if err := visit(object); err != nil {
				cancel(err) // there is no use in trying again
			}
			return nil
		})
	})
	return catchUp, err
}

// isOurs reports whether it is an object of which nothing is said.
func (w *watch) isOurs(data []byte) bool {
	if len(w.ours) == 0 {
		return false
	}
	object, err := w.encoder.identify(data)
	return err == nil && slices.Contains(w.ours, object.Key)
}

// shown notes that somebody is sent an object of which the watch does not know: should it be gone when the watch gets there, nobody else
// would say so.
func (w *watch) shown(data []byte, to *journal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now, err := w.encoder.identify(data); err == nil && w.index.known[now.Key] == nil && to != nil {
		to.note(now)
	}
}

// takeBack says once more what is not there, or not watched, any more of what a watch has offered that has ended since.
func (s *set) takeBack(ended *watch, meanwhile *journal) {
	for _, left := range ended.leaves() {
		if heir := s.covering(ended.resource, left.Namespace()); heir == nil {
			ended.withdraw(left.Object, wire.WatchListChanged)
		} else {
			heir.confirm(left.Object)
		}
	}
	for key, objects := range meanwhile.changed {
		for _, object := range objects {
			if ended.index.known[key] == nil {
				ended.withdraw(object, "")
			}
		}
	}
}

// Object is an object of a watched kind.
type Object struct {
	Resource schema.GroupVersionResource
	*unstructured.Unstructured
}

// Decoded returns every object as it is now, with everything that there is of it, and tries until it has or ctx ends.
func (w *Watcher) Decoded(ctx context.Context) ([]Object, error) {
	var objects []Object
	err := w.each(ctx, func(one *watch) error {
		var found []Object
		err := one.list(ctx, func(data []byte) error {
			object := &unstructured.Unstructured{}
			if err := utiljson.Unmarshal(data, &object.Object); err != nil {
				one.unreadable("", err)
				return nil
			}
			object.SetGroupVersionKind(one.resource.GroupVersion().WithKind(one.kind))
			object.SetManagedFields(nil)
			found = append(found, Object{one.resource, object})
			return nil
		})
		if err == nil {
			objects = append(objects, found...)
		}
		return err
	})
	return objects, err
}

// each calls do for every watch, and again after growing pauses for those where it fails, or for the one that took the place of one. What
// may not be read, and what is not watched any more by then, is left out.
func (w *Watcher) each(ctx context.Context, do func(*watch) error) error {
	pauses := wait.Backoff{Duration: retryFirst, Factor: 2, Jitter: 0.1, Steps: 10, Cap: retryLast}
	done := map[*watch]bool{}
	for {
		var failed int
		var failure error
		for _, one := range w.set.all() {
			if done[one] || !w.set.runs(one) || one.isDenied() {
				continue
			}
			if err := do(one); err == nil || isRefused(err) {
				done[one] = true
			} else {
				failed, failure = failed+1, err
			}
		}
		if failed == 0 {
			return nil
		}
		klog.FromContext(ctx).Info("Kinds cannot be listed, will retry", "kinds", failed, "reason", failure.Error())
		select {
		case <-time.After(pauses.Step()):
		case <-ctx.Done():
			return failure
		}
	}
}
