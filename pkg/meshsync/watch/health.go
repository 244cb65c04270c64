package watch

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync/watch/raw"
)

const (
	// probation is how long a watch must have lasted before the failures before it are over. A server that cannot read its objects
	// accepts a watch all the same, and breaks it off a moment later.
	probation = 5 * time.Second
	// outagePatience is how long the API server may be away before what was seen of it counts as old. A watch that ends in the ordinary
	// way is there again in less.
	outagePatience = 30 * time.Second
)

// health is how the requests of one watch went, and so how far it is and why it is no further.
type health struct {
	logger    klog.Logger
	name      string // of the resource
	metrics   *metrics
	forbidden func() // called when the API server does not let the watch list or watch

	listed  atomic.Pointer[time.Time] // when all that is there was seen for the first time; nil for not yet
	denial  atomic.Pointer[error]     // why it was refused before it was tried; nil if it was not
	failure atomic.Pointer[failure]   // the last one
	asked   atomic.Pointer[time.Time] // when the API server was asked to list or watch; nil when it has answered
	listing atomic.Pointer[time.Time] // when it was asked for all that is there; nil when it has sent that
	failed  chan struct{}             // closed at the first failure
	fail    func()                    // closes failed, once

	// watched, and ended with the reason for it, are the informer's goroutine's, and its stream's while that hands it an event.
	watched bool
	ended   string
}

// failure says that a kind cannot be watched. It is not changed once it is stored.
type failure struct {
	err      error
	since    time.Time // of the first of a row
	answered time.Time // when a watch was accepted after it; zero for not yet
}

func newHealth(logger klog.Logger, name string, metrics *metrics, forbidden func()) *health {
	h := &health{logger: logger, name: name, metrics: metrics, forbidden: forbidden, failed: make(chan struct{})}
	h.fail = sync.OnceFunc(func() { close(h.failed) })
	return h
}

// over is also true of no failure at all.
func (f *failure) over(now time.Time) bool {
	return f == nil || !f.answered.IsZero() && now.Sub(f.answered) >= probation
}

// observed tells a watch's health how its requests went. That is the one place to learn it from: the informer reports neither that a
// watch is accepted again, nor that connections are refused, which it retries for as long as that lasts; and where packets vanish, one
// request is retried for minutes. (The resource version that the informer has reached does not move while nothing changes;
// bookmarks come a minute late.)
type observed struct {
	requests
	health *health
}

func (o observed) list(ctx context.Context, options metav1.ListOptions) (*raw.List, error) {
	if ctx.Err() != nil { // an informer that ends while it is watching tries this once more
		return nil, ctx.Err()
	}
	o.health.metrics.requests.WithLabelValues(o.health.name, "list").Inc()
	o.health.lists()
	o.health.asked.Store(new(time.Now()))
	defer o.health.asked.Store(nil)
	found, err := o.requests.list(ctx, options)
	if err == nil {
		o.health.listing.Store(nil)
	}
	return found, err
}

func (o observed) watch(ctx context.Context, options metav1.ListOptions, see func(apiwatch.Event) apiwatch.Event) (apiwatch.Interface, error) {
	o.health.begins()
	if raw.StreamsList(options) {
		o.health.lists()
	}
	o.health.asked.Store(new(time.Now()))
	defer o.health.asked.Store(nil)
	accepted := make(chan struct{})
	events, err := o.requests.watch(ctx, options, func(event apiwatch.Event) apiwatch.Event {
		<-accepted // first things first
		return see(o.health.heard(event))
	})
	switch {
	case err == nil:
		o.health.accepted()
		close(accepted)
	case apierrors.IsInvalid(err): // an old server, which cannot stream a list: it is asked for a plain one next
		o.health.watched = false
	case ctx.Err() == nil:
		o.health.watchFailed(err)
	}
	return events, err
}

// heard learns from an event what the informer keeps to itself: that all that is there has been sent, and why a stream ends. The
// informer gets the event, and goes on, after that.
func (h *health) heard(event apiwatch.Event) apiwatch.Event {
	switch event.Type {
	case apiwatch.Error:
		h.watchFailed(apierrors.FromObject(event.Object))
	case apiwatch.Bookmark:
		if endsList(event) {
			h.listing.Store(nil)
		}
	}
	return event
}

// lists notes that the API server was asked for all that is there.
func (h *health) lists() { h.listing.CompareAndSwap(nil, new(time.Now())) }

// begins counts a request to watch, and why there is another one.
func (h *health) begins() {
	h.metrics.requests.WithLabelValues(h.name, "watch").Inc()
	if h.watched {
		h.metrics.restarts.WithLabelValues(h.name, cmp.Or(h.ended, "Closed")).Inc()
	}
	h.watched, h.ended = true, ""
}

// accepted notes that a watch has begun. The same goroutine, the informer's, notes the failures.
func (h *health) accepted() {
	if before := h.failure.Load(); before != nil && before.answered.IsZero() {
		h.failure.Store(&failure{err: before.err, since: before.since, answered: time.Now()})
	}
}

// reported is called for the informer, with what it has seen fail itself as well as with what watchFailed knows already. The informer
// then waits longer and longer, up to 30 s, and tries again.
func (h *health) reported(err error) {
	if known := h.failure.Load(); known == nil || !errors.Is(err, known.err) {
		h.watchFailed(err)
	}
}

func (h *health) watchFailed(err error) {
	h.ended = reasonOf(err)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, io.EOF) {
		h.logger.V(4).Info("Watch ended, starting it again", "reason", err.Error())
		return
	}
	h.metrics.errors.WithLabelValues(h.name, reasonOf(err)).Inc()
	// Only what stays the same whether it was asked to list or to watch: the API server's own words, or what is wrong without the URL.
	if said, ok := errors.AsType[*apierrors.StatusError](err); ok {
		err = said
	} else if broken, ok := errors.AsType[*url.Error](err); ok {
		err = broken.Err
	}
	before, now := h.failure.Load(), time.Now()
	next := &failure{err: err, since: now}
	if asked := h.asked.Load(); asked != nil {
		next.since = *asked
	}
	if !before.over(now) {
		next.since = before.since
	}
	h.failure.Store(next)
	if before.over(now) || apierrors.ReasonForError(before.err) != apierrors.ReasonForError(err) {
		h.logger.Info("Kind cannot be watched, will keep trying", "reason", err.Error())
	} else {
		h.logger.V(4).Info("Kind still cannot be watched", "reason", err.Error())
	}
	h.fail()
	if apierrors.IsForbidden(err) {
		h.forbidden()
	}
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

// state says how far the watch is, and why it is no further.
func (h *health) state() (v1alpha1.ResourceState, error) {
	if denial := h.denial.Load(); denial != nil {
		return v1alpha1.ResourceForbidden, *denial
	}
	failure, now, listed := h.failure.Load(), time.Now(), h.listed.Load() != nil
	switch {
	case failure.over(now) && !listed:
		return v1alpha1.ResourceSyncing, errors.New("waiting for its first list")
	case failure.over(now) && since(h.asked.Load(), now) >= outagePatience:
		return v1alpha1.ResourceFailed, errors.New("the API server does not answer")
	case failure.over(now) && since(h.listing.Load(), now) >= outagePatience:
		return v1alpha1.ResourceFailed, errors.New("the API server has not sent all of it again yet")
	case failure.over(now):
		return v1alpha1.ResourceSynced, nil
	case apierrors.IsForbidden(failure.err):
		return v1alpha1.ResourceForbidden, failure.err
	case apierrors.IsNotFound(failure.err), apierrors.IsMethodNotSupported(failure.err):
		return v1alpha1.ResourceNotServed, failure.err
	case listed && now.Sub(failure.since) < outagePatience:
		return v1alpha1.ResourceSynced, nil
	default:
		return v1alpha1.ResourceFailed, failure.err
	}
}

// isRefused tells an API server that does not let us from one that cannot right now. What is refused is reported, and not waited for.
func isRefused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsBadRequest(err)
}

// isDenied reports whether the watch was refused from the start.
func (h *health) isDenied() bool { return h.denial.Load() != nil }

// forbiddenNow reports whether the watch is not permitted, as far as is known.
func (h *health) forbiddenNow() bool {
	state, _ := h.state()
	return state == v1alpha1.ResourceForbidden
}

// missing returns why what the watch covers counts as not seen; nil if it was, or never will be.
func (h *health) missing() error {
	state, err := h.state()
	if state == v1alpha1.ResourceSyncing || state == v1alpha1.ResourceFailed && !isRefused(err) {
		return err
	}
	return nil
}
