package watch

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/watchlist"
)

// Held is what the broker holds of an object: what it was told last, unless that was that the object is gone.
type Held struct {
	*raw.Object
	Kind string
	Form string // of its message
}

// Holding is what the broker holds, by resource.
type Holding map[schema.GroupVersionResource][]Held

// Len is the number of objects.
func (h Holding) Len() int {
	n := 0
	for _, held := range h {
		n += len(held)
	}
	return n
}

// Inherit takes over what the broker holds. Call it before Run: then only what differs is offered, and what is not there any more is
// offered as DELETED.
func (w *Watcher) Inherit(holding Holding) { w.hold(holding) }

// Difference is what is not with the broker as it was offered.
type Difference struct {
	Missing, Changed int // objects that the broker does not hold, or not as they are; Repair offers them
	Gone             int // objects that the broker holds and that are not there; they were offered as DELETED
	repairs          map[*watch]map[string]again
}

// None reports whether there is none.
func (d *Difference) None() bool { return d.Missing+d.Changed+d.Gone == 0 }

// Compare compares what the broker holds with what was offered, but for what it is still owed: nothing must be on its way to it
// meanwhile. What the broker holds of kinds that have not been seen as a whole yet is taken over as by Inherit.
func (w *Watcher) Compare(holding Holding, owed func(resource schema.GroupVersionResource, namespace, name string) bool) *Difference {
	d := &Difference{repairs: map[*watch]map[string]again{}}
	left := Holding{}
	watches := map[schema.GroupVersionResource][]*watch{}
	for _, one := range w.set.all() {
		watches[one.resource] = append(watches[one.resource], one)
	}
	for resource, held := range holding {
		if watches[resource] == nil {
			left[resource] = held
		}
	}
	for resource, ones := range watches {
		isOwed := func(object *raw.Object) bool { return owed(resource, object.Namespace(), object.Name()) }
		for _, one := range ones {
			one.compare(d, holding[resource], isOwed)
		}
		for _, held := range holding[resource] {
			if !slices.ContainsFunc(ones, func(one *watch) bool { return one.covers(held.Namespace()) }) && !isOwed(held.Object) {
				ones[0].withdraw(held.Object, wire.WatchListChanged)
			}
		}
	}
	if !w.set.keep.Load() {
		w.hold(left)
	}
	return d
}

// compare adds the differences of one watch. What it does not cover is another's.
func (w *watch) compare(d *Difference, held []Held, owed func(object *raw.Object) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	repairs, now := map[string]again{}, time.Now()
	unheld := make(map[string]bool, len(w.index.known))
	for key := range w.index.known {
		unheld[key] = true
	}
	for _, one := range held {
		known := w.index.known[one.Key]
		delete(unheld, one.Key)
		switch {
		case !w.covers(one.Namespace()) || w.isInherited(one.Key): // its list will tell
		case known == nil && w.listed.Load() == nil:
			w.index.inherit(one.Object, origin{form: one.Form})
		case known == nil && (older(w.index.newest, one.ResourceVersion) || w.mayBeKept()):
		case known == nil || known.UID != one.UID:
			if w.wants(wire.Deleted) {
				if !owed(one.Object) {
					d.Gone++
				}
				w.offerEarlier(one.Object, now)
			}
			if known != nil {
				unheld[one.Key] = true
			}
		case owed(one.Object):
		case one.Form != w.index.form && w.wants(wire.Added):
			d.Changed++
			repairs[one.Key] = again{event: wire.Added}
		case !same(known, one.Object) && w.wants(wire.Modified):
			d.Changed++
			repairs[one.Key] = again{event: wire.Modified}
		}
	}
	for key := range unheld {
		known := w.index.known[key]
		if w.isInherited(key) || owed(known) || !w.wants(wire.Added) || !wire.Recordable(w.resource, known.Namespace(), known.Name()) {
			continue
		}
		d.Missing++
		repairs[key] = again{event: wire.Added}
	}
	if len(repairs) > 0 {
		d.repairs[w] = repairs
	}
}

// isInherited reports whether it is still to be seen whether an object that an earlier watch has offered is there.
func (w *watch) isInherited(key string) bool {
	_, inherited := w.index.inherited[key]
	return inherited
}

// mayBeKept reports whether an object that is not selected any more would stay with the broker.
func (w *watch) mayBeKept() bool {
	return w.keep.Load() && (w.labelSelector != "" || w.fieldSelector != "")
}

// offerEarlier says that an object is gone, whatever has its name now.
func (w *watch) offerEarlier(gone *raw.Object, at time.Time) {
	w.note(wire.Deleted, gone)
	if w.wants(wire.Deleted) {
		w.send(wire.Change{Event: wire.Deleted, Seen: at, Bulk: true, Earlier: true}, gone)
	}
}

// same reports whether there is nothing to tell who knows one state of an object about the other.
func same(a, b *raw.Object) bool {
	return a.ResourceVersion == b.ResourceVersion || a.Content != 0 && a.Content == b.Content
}

// Repair offers the objects that are missing or not as they are, and tries until it has or ctx ends. What it has not is found again.
func (w *Watcher) Repair(ctx context.Context, d *Difference) error {
	return w.each(ctx, func(one *watch) error {
		if repairs := d.repairs[one]; repairs != nil {
			return one.relist(ctx, theseOf(repairs))
		}
		return nil
	})
}

// Fetch offers the objects of a kind that are wanted once more, as MODIFIED, if they are there and the kind is watched. Without an error it
// has offered all of them.
func (w *Watcher) Fetch(ctx context.Context, resource schema.GroupVersionResource, wanted func(namespace, name string) bool) error {
	for _, one := range w.set.all() {
		if one.resource != resource {
			continue
		}
		if denial := one.denial.Load(); denial != nil {
			return *denial
		}
		err := one.relist(ctx, func(key string) (again, bool) {
			object := raw.Object{Key: key}
			return again{event: wire.Modified, owed: true}, wanted(object.Namespace(), object.Name())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hold keeps what the broker holds until it is known whether its kinds are watched.
func (w *Watcher) hold(holding Holding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = holding
	if len(holding) > 0 {
		w.signal()
	}
}

// placeHeld makes a watch that has ended of what the broker holds of each kind that is not watched: the one that follows it inherits it, and
// without one it is withdrawn. Of a group that does not answer it is not known whether it is wanted.
func (w *Watcher) placeHeld(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for resource, held := range w.held {
		if _, silent := w.served.Silent[resource.GroupVersion()]; !silent {
			w.set.hold(klog.FromContext(ctx), resource, held)
			delete(w.held, resource)
		}
	}
}

func (s *set) hold(logger klog.Logger, resource schema.GroupVersionResource, held []Held) {
	for _, one := range s.all() {
		if one.resource == resource {
			return // the next comparison will tell
		}
	}
	of := scope{resource: resource}
	holder := newWatch(logger, &s.shared, of, watchlist.Target{Resource: resource, Kind: held[0].Kind, Events: watchlist.AllEvents})
	close(holder.done)
	for _, one := range held {
		holder.inherit(one.Object, origin{form: one.Form})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[of] = holder
}
