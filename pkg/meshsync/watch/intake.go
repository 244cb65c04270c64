package watch

import (
	"errors"
	"fmt"
	"slices"
	"time"

	apiwatch "k8s.io/apimachinery/pkg/watch"

	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
)

// A watch takes what its requests bring while the bytes are there, before the informer hears of it: this is the one place that every
// event passes, in order, also what comes and goes within one list.

// Begin is called before all that is there is taken.
func (w *watch) Begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index.begin()
	w.listing = true
}

var errUnknownEvent = errors.New("it is not known what happened to it")

// Take takes an object.
func (w *watch) Take(kind apiwatch.EventType, data []byte) (taken *raw.Object) {
	at := time.Now()
	room := w.sink.MakeWay()
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() {
		if reason := recover(); reason != nil { // what is wrong with one object is not to end everything
			w.index.incomplete = true
			w.unreadable("", fmt.Errorf("taking it panics: %v", reason))
		}
	}()
	if w.stopped {
		return nil
	}
	now, err := w.encoder.identify(data)
	switch {
	case err != nil:
	case slices.Contains(w.ours, now.Key):
		return now
	case kind == apiwatch.Added, kind == apiwatch.Modified:
		return w.takeState(now, data, room, at)
	case kind == apiwatch.Deleted:
		w.takeDeleted(now, data, room, at)
		return now
	default:
		err = errUnknownEvent
	}
	w.index.incomplete = true
	w.unreadable("", err)
	return nil
}

// takeState returns what the informer is to keep.
func (w *watch) takeState(now *raw.Object, data []byte, room bool, at time.Time) *raw.Object {
	before := w.index.known[now.Key]
	meaning := w.index.meaningOf(before, now)
	switch meaning {
	case nothing:
		w.index.mark(now.Key)
		return before
	case outdated:
		w.index.mark(now.Key)
		return now // as old as it is: where the informer is in the stream must not run ahead
	}
	message, content, err := w.encode(data, room)
	if err != nil { // it is there, but nobody can be told what it is like
		w.unreadable(now.Key, err)
		switch {
		case meaning == replaced:
			w.offerGone(w.index.drop(before), "", at)
		case before != nil:
			w.index.mark(now.Key)
		}
		return now
	}
	now.Content = content
	w.index.put(now)
	switch {
	case meaning == added:
		w.offer(wire.Added, now, message, at)
	case meaning == replaced:
		w.offerGone(before, "", at)
		w.offer(wire.Added, now, message, at)
	case content == 0 || content != before.Content:
		w.offer(wire.Modified, now, message, at)
	}
	return now
}

// encode writes no message while there is no room for it.
func (w *watch) encode(data []byte, room bool) (message []byte, content uint64, err error) {
	if !room {
		return nil, 0, nil
	}
	return w.encoder.encode(data, false)
}

func (w *watch) takeDeleted(gone *raw.Object, data []byte, room bool, at time.Time) {
	switch before := w.index.drop(gone); {
	case before == nil:
		return // nobody has heard of it
	case before.UID != gone.UID: // nor of this one; but what it replaced is gone, too
		w.offerGone(before, "", at)
		return
	}
	if !room {
		w.offerGone(gone, "", at)
		return
	}
	message, _, err := w.encoder.encode(data, true)
	if err != nil {
		w.offerGone(gone, "", at)
		return
	}
	w.offer(wire.Deleted, gone, message, at)
}

// End is called when all that is there was taken.
func (w *watch) End(resourceVersion string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return nil
	}
	gone, err := w.index.end(resourceVersion)
	if err != nil {
		w.logger.Info("List is not believed, asking for the newest state", "reason", err.Error())
		return err
	}
	w.listing = false
	for journal := range w.journals {
		journal.relisted = true
	}
	now := time.Now()
	for _, one := range gone {
		w.offerGone(one.Object, one.reason, now)
	}
	if w.listed.Load() == nil {
		w.firstListSeen()
	}
	return nil
}

// offer passes a change on if the watch-list wants it. The message is only there until the next one is encoded. The lock is held.
func (w *watch) offer(event wire.Event, object *raw.Object, message []byte, at time.Time) {
	w.note(event, object)
	if w.wants(event) {
		w.send(wire.Change{Event: event, Message: w.encoder.keep(message), Seen: at, Bulk: w.listing}, object)
	}
}

// offerGone says that an object is not there any more or, with a reason, not watched: to those who hear of deletes at all.
func (w *watch) offerGone(object *raw.Object, reason wire.Reason, at time.Time) {
	if reason == "" {
		w.note(wire.Deleted, object)
	}
	if w.wants(wire.Deleted) && (reason == "" || !w.keep.Load()) {
		w.send(wire.Change{Event: wire.Deleted, Reason: reason, Seen: at}, object)
	}
}

// withdraw says that an object is not watched any more.
func (w *watch) withdraw(object *raw.Object, reason wire.Reason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offerGone(object, reason, time.Now())
}

// send completes a change, and passes it on. A DELETED needs no message.
func (w *watch) send(change wire.Change, object *raw.Object) {
	if change.Event == wire.Deleted {
		change.Gone = w.encoder.gone(object)
		if change.Message == nil {
			change.Message = change.Gone
		}
	}
	change.Namespace, change.Name = object.Namespace(), object.Name()
	change.UID, change.ResourceVersion, change.Content = object.UID, object.ResourceVersion, object.Content
	change.Kind, change.Form = w.kind, w.index.form
	w.sink.Offer(w.resource, change)
}

// note counts a change, and writes it into the open journals.
func (w *watch) note(event wire.Event, object *raw.Object) {
	w.shared.metrics.seen.WithLabelValues(w.name, string(event)).Inc()
	for journal := range w.journals {
		journal.note(object)
	}
}

// unreadable counts an object that cannot be read. It may come with every list: once a minute it is said in plain view.
func (w *watch) unreadable(key string, err error) {
	w.shared.metrics.unreadable.WithLabelValues(w.name).Inc()
	now := time.Now().UnixNano()
	if said := w.saidUnreadable.Load(); now-said < int64(time.Minute) || !w.saidUnreadable.CompareAndSwap(said, now) {
		w.logger.V(4).Info("Object cannot be read and is left out", "object", key, "reason", err.Error())
		return
	}
	w.logger.Error(err, "Object cannot be read and is left out", "object", key)
}

var _ raw.Handler = &watch{}
