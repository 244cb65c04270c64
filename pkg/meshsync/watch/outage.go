package watch

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	watchlistclient "k8s.io/client-go/util/watchlist"
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

// observedClient tells a watch how its requests to watch went. That is the one place to learn it from: the informer reports neither
// that a watch is accepted again, nor that connections are refused, which it retries for as long as that lasts; and where packets
// vanish, one request is retried for minutes. (The resource version that the informer has reached does not move while nothing
// changes; bookmarks come a minute late.)
type observedClient struct {
	dynamic.Interface
	watch *watch
}

func (c observedClient) Resource(resource schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return observedKind{c.Interface.Resource(resource), c.watch}
}

// IsWatchListSemanticsUnSupported is what client-go asks a client: a fake one cannot stream lists.
func (c observedClient) IsWatchListSemanticsUnSupported() bool {
	return watchlistclient.DoesClientNotSupportWatchListSemantics(c.Interface)
}

type observedKind struct {
	dynamic.NamespaceableResourceInterface
	watch *watch
}

func (k observedKind) Namespace(namespace string) dynamic.ResourceInterface {
	return observedObjects{k.NamespaceableResourceInterface.Namespace(namespace), k.watch}
}

type observedObjects struct {
	dynamic.ResourceInterface
	watch *watch
}

func (o observedObjects) Watch(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
	o.watch.asked.Store(new(time.Now()))
	defer o.watch.asked.Store(nil)
	events, err := o.ResourceInterface.Watch(ctx, options)
	switch {
	case err == nil:
		o.watch.accepted()
	case apierrors.IsInvalid(err): // an old server, which cannot stream a list: it is asked for a plain one next
	case ctx.Err() == nil:
		o.watch.watchFailed(ctx, err)
	}
	return events, err
}

// unanswered is how long ago the API server was asked for a watch that it has not answered for.
func (w *watch) unanswered(now time.Time) time.Duration {
	if asked := w.asked.Load(); asked != nil {
		return now.Sub(*asked)
	}
	return 0
}

// accepted notes that a watch has begun. The same goroutine, the informer's, notes the failures.
func (w *watch) accepted() {
	if before := w.failure.Load(); before != nil && before.answered.IsZero() {
		w.failure.Store(&failure{err: before.err, since: before.since, answered: time.Now()})
	}
}
