package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
)

// pageSize is how many objects an API server is asked for at a time.
const pageSize = 500

// journal is what has happened since it was opened.
type journal struct {
	changed  map[string][]*raw.Object // the last state of each object that was offered, by its key
	relisted bool                     // all that is there was seen
}

func (j *journal) note(object *raw.Object) {
	others := slices.DeleteFunc(slices.Clone(j.changed[object.Key]), func(other *raw.Object) bool { return other.UID == object.UID })
	j.changed[object.Key] = append(others, object)
}

// open begins a journal. Close it.
func (w *watch) open() *journal {
	w.mu.Lock()
	defer w.mu.Unlock()
	j := &journal{changed: map[string][]*raw.Object{}}
	w.journals[j] = struct{}{}
	return j
}

func (w *watch) close(j *journal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.journals, j)
}

// list asks the API server for everything that is there now, page by page, apart from the informer. The bytes of an object are only
// there during the call. After an error, visit may have been called for some objects, or for some twice.
func (w *watch) list(ctx context.Context, visit func(object []byte) error) error {
	w.shared.metrics.requests.WithLabelValues(w.name, "list").Inc()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	_, err := w.requests(visitor(func(object []byte) {
		if ctx.Err() != nil {
			return
		}
		if err := visit(object); err != nil {
			cancel(err)
		}
	})).list(ctx, metav1.ListOptions{Limit: pageSize})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", w.name, err)
	}
	return nil
}

// visitor is called for every object of a list.
type visitor func(object []byte)

func (visitor) Begin() {}

func (v visitor) Take(_ apiwatch.EventType, object []byte) *raw.Object {
	v(object)
	return nil
}

func (visitor) End(string) error { return nil }

// again is how an object is offered once more.
type again struct {
	event    wire.Event
	gone     []*raw.Object // what else had its name: that is said to be gone first
	coreOnly bool
	owed     bool // it was offered before without its message, as an event that is wanted
}

// everything offers every object as ADDED.
func everything(string) (again, bool) { return again{event: wire.Added}, true }

// theseOf offers the objects with these keys.
func theseOf(keys map[string]again) func(key string) (again, bool) {
	return func(key string) (again, bool) {
		how, ok := keys[key]
		return how, ok
	}
}

// relist offers once more what is there of the objects that are wanted.
func (w *watch) relist(ctx context.Context, wanted func(key string) (again, bool)) error {
	meanwhile := w.open()
	defer w.close(meanwhile)
	return w.list(ctx, func(data []byte) error { return w.takeAgain(data, wanted, meanwhile) })
}

// errStopped is returned for a watch that has ended. Another may go on with what it has begun.
var errStopped = errors.New("it is not watched any more, or by another watch")

// takeAgain offers an object of a list that is not the informer's.
func (w *watch) takeAgain(data []byte, wanted func(key string) (again, bool), meanwhile *journal) error {
	at := time.Now()
	room := w.sink.MakeWay()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return errStopped
	}
	now, err := w.encoder.identify(data)
	if err != nil {
		w.unreadable("", err)
		return nil
	}
	how, ok := wanted(now.Key)
	if !ok || slices.Contains(w.ours, now.Key) || w.knowsBetter(now, meanwhile) {
		return nil
	}
	message, content, err := w.encode(data, room)
	if err != nil {
		w.unreadable(now.Key, err)
		return nil
	}
	if before := w.index.known[now.Key]; before != nil && before.UID != now.UID {
		how.gone = append(slices.Clone(how.gone), before)
	}
	for _, other := range how.gone {
		if other.UID != now.UID {
			w.offerEarlier(other, at)
		}
	}
	now.Content = content
	w.index.note(now)
	w.note(how.event, now)
	if how.owed || w.wants(how.event) {
		w.send(wire.Change{Event: how.event, Message: w.encoder.keep(message), Seen: at, Bulk: true, CoreOnly: how.coreOnly}, now)
	}
	return nil
}

// knowsBetter reports whether what a list says is old: what was offered since is newer, or will be offered. What is not known although
// all that is there was seen since came and went in between, or comes.
func (w *watch) knowsBetter(now *raw.Object, since *journal) bool {
	before := w.index.known[now.Key]
	if before == nil && since.relisted || before != nil && older(now.ResourceVersion, before.ResourceVersion) {
		return true
	}
	_, changed := since.changed[now.Key]
	return changed
}

// catchUp offers once more what was offered while somebody was sent the objects by another way than through the sink, and so perhaps
// after their newer state.
func (w *watch) catchUp(ctx context.Context, meanwhile *journal) error {
	w.mu.Lock()
	taken := w.takenBack(meanwhile)
	w.mu.Unlock()
	if len(taken) == 0 {
		return nil
	}
	return w.relist(ctx, theseOf(taken))
}

// takenBack says of what a journal holds that it is gone, if it is, and returns all that it holds. The lock is held.
func (w *watch) takenBack(meanwhile *journal) map[string]again {
	taken := make(map[string]again, len(meanwhile.changed))
	for key, objects := range meanwhile.changed {
		taken[key] = again{event: wire.Added, gone: objects}
		if w.index.known[key] != nil || w.stopped {
			continue
		}
		for _, object := range objects {
			w.offerGone(object, "", time.Now())
		}
	}
	return taken
}

// confirm says that an object is gone if it is not known.
func (w *watch) confirm(object *raw.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.index.known[object.Key] == nil && !w.stopped {
		w.offerGone(object, "", time.Now())
	}
}
