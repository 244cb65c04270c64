package watch

import (
	"cmp"
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"meshery.io/operator/pkg/watchlist"
)

// probation is how long a watch must have lasted before the failures before it are over. A server that cannot read its objects
// accepts a watch all the same, and breaks it off a moment later.
const probation = 5 * time.Second

// failure says that a kind cannot be watched. It is not changed once it is stored.
type failure struct {
	err      error
	since    time.Time // of the first of a row
	answered time.Time // when a watch was accepted after it; zero for not yet
}

// over is also true of no failure at all.
func (f *failure) over(now time.Time) bool {
	return f == nil || !f.answered.IsZero() && now.Sub(f.answered) >= probation
}

// observed tells a watch how its requests went. That is the one place to learn it from: the informer reports neither that a watch is
// accepted again, nor that connections are refused, which it retries for as long as that lasts; and where packets vanish, one
// request is retried for minutes. (The resource version that the informer has reached does not move while nothing changes;
// bookmarks come a minute late.)
type observed struct {
	dynamic.ResourceInterface
	watch *watch
}

func (o observed) List(ctx context.Context, options metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	if ctx.Err() != nil { // an informer that ends while it is watching tries this once more
		return nil, ctx.Err()
	}
	o.watch.metrics.requests.WithLabelValues(watchlist.Format(o.watch.resource), "list").Inc()
	o.watch.lists()
	o.watch.asked.Store(new(time.Now()))
	defer o.watch.asked.Store(nil)
	found, err := o.ResourceInterface.List(ctx, options)
	if err == nil {
		o.watch.listing.Store(nil)
	}
	return found, err
}

func (o observed) Watch(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
	o.watch.begins()
	if streamsList(options) {
		o.watch.lists()
	}
	o.watch.asked.Store(new(time.Now()))
	defer o.watch.asked.Store(nil)
	events, err := o.ResourceInterface.Watch(ctx, options)
	switch {
	case err == nil:
		o.watch.accepted()
		return through(events, func(event apiwatch.Event) apiwatch.Event { return o.watch.heard(event) }), nil
	case apierrors.IsInvalid(err): // an old server, which cannot stream a list: it is asked for a plain one next
		o.watch.watched = false
	case ctx.Err() == nil:
		o.watch.watchFailed(err)
	}
	return nil, err
}

// heard learns from an event what the informer keeps to itself: that all that is there has been sent, and why a stream ends. The
// informer gets the event, and goes on, after that.
func (w *watch) heard(event apiwatch.Event) apiwatch.Event {
	switch event.Type {
	case apiwatch.Error:
		w.watchFailed(apierrors.FromObject(event.Object))
	case apiwatch.Bookmark:
		if endsList(event) {
			w.listing.Store(nil)
		}
	}
	return event
}

// lists notes that the API server was asked for all that is there.
func (w *watch) lists() { w.listing.CompareAndSwap(nil, new(time.Now())) }

// begins counts a request to watch, and why there is another one.
func (w *watch) begins() {
	resource := watchlist.Format(w.resource)
	w.metrics.requests.WithLabelValues(resource, "watch").Inc()
	if w.watched {
		w.metrics.restarts.WithLabelValues(resource, cmp.Or(w.ended, "Closed")).Inc()
	}
	w.watched, w.ended = true, ""
}

// reasonOf is the API server's word for what went wrong, or Connection if it has not said any.
func reasonOf(err error) string { return cmp.Or(string(apierrors.ReasonForError(err)), "Connection") }

// since is how long ago something began that has not ended yet; 0 if it has.
func since(began *time.Time, now time.Time) time.Duration {
	if began == nil {
		return 0
	}
	return now.Sub(*began)
}

// accepted notes that a watch has begun. The same goroutine, the informer's, notes the failures.
func (w *watch) accepted() {
	if before := w.failure.Load(); before != nil && before.answered.IsZero() {
		w.failure.Store(&failure{err: before.err, since: before.since, answered: time.Now()})
	}
}
