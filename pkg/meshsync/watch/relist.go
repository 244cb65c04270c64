package watch

import (
	"context"
	"fmt"
	"maps"
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

// resync offers everything that is there as ADDED or, if only is not nil, those of it; then, what else had their names is said to be gone.
func (w *watch) resync(ctx context.Context, only map[string][]*raw.Object) error {
	meanwhile := w.open()
	defer w.close(meanwhile)
	return w.list(ctx, func(data []byte) error {
		w.takeAgain(data, only, meanwhile)
		return nil
	})
}

// takeAgain offers an object of a list that is not the informer's.
func (w *watch) takeAgain(data []byte, only map[string][]*raw.Object, meanwhile *journal) {
	at := time.Now()
	w.sink.MakeWay()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	now, err := w.encoder.identify(data)
	if err != nil {
		w.unreadable("", err)
		return
	}
	others, wanted := only[now.Key]
	if only != nil && !wanted || w.knowsBetter(now, meanwhile) {
		return
	}
	message, content, err := w.encoder.encode(data, false)
	if err != nil {
		w.unreadable(now.Key, err)
		return
	}
	if before := w.index.known[now.Key]; before != nil && before.UID != now.UID {
		others = append(slices.Clone(others), before)
	}
	for _, other := range others {
		if other.UID != now.UID {
			w.offerGone(other, "", at)
		}
	}
	now.Content = content
	w.index.note(now)
	w.offer(wire.Added, now, message, at)
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
	again := w.takenBack(meanwhile)
	w.mu.Unlock()
	if len(again) == 0 {
		return nil
	}
	return w.resync(ctx, again)
}

// takenBack says of what a journal holds that it is gone, if it is, and returns all that it holds. The lock is held.
func (w *watch) takenBack(meanwhile *journal) map[string][]*raw.Object {
	again := maps.Clone(meanwhile.changed)
	for key, objects := range again {
		if w.index.known[key] != nil || w.stopped {
			continue
		}
		for _, object := range objects {
			w.offerGone(object, "", time.Now())
		}
	}
	return again
}

// confirm says that an object is gone if it is not known.
func (w *watch) confirm(object *raw.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.index.known[object.Key] == nil && !w.stopped {
		w.offerGone(object, "", time.Now())
	}
}
