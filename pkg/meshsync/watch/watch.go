package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/watchlist"
)

const (
	// firstListPatience is how long the first list of one kind may keep others waiting for their turn.
	firstListPatience = 15 * time.Second
	// outagePatience is how long the API server may be away before what was seen of it counts as old. A watch that ends in the
	// ordinary way is there again in less.
	outagePatience = 30 * time.Second
)

// Sink takes what is seen.
type Sink interface {
	// Offer takes a change. It must not wait. The object is shared and must not be changed.
	Offer(resource schema.GroupVersionResource, event wire.Event, obj *unstructured.Unstructured)
	// Forget drops what was offered of a kind and is not on its way yet.
	Forget(resource schema.GroupVersionResource)
}

// Object is an object of a watched kind.
type Object struct {
	Resource schema.GroupVersionResource
	*unstructured.Unstructured
}

// watch follows one kind, with a shared informer factory of its own so that it can be stopped alone.
type watch struct {
	resource   schema.GroupVersionResource
	namespaces map[string]bool // of the objects to offer; nil is all
	sink       Sink
	metrics    *metrics

	factory  dynamicinformer.DynamicSharedInformerFactory
	informer cache.TypedSharedIndexInformer[*unstructured.Unstructured]
	synced   cache.DoneChecker // every object of the first list was offered

	events  atomic.Value              // of type watchlist.Events: those to offer
	failure atomic.Pointer[failure]   // the last one
	asked   atomic.Pointer[time.Time] // when the API server was asked to watch; nil when it has answered
	failed  chan struct{}             // closed at the first failure
	fail    func()                    // closes failed, once

	// offering makes looking into the store and offering what is found one step for resync and catchUp. Without it an object could
	// be deleted and its DELETED offered in between, and come back as a ghost.
	offering sync.Mutex

	cancel context.CancelFunc
	done   chan struct{}
}

func newWatch(client dynamic.Interface, target Target, namespaces map[string]bool, sink Sink, metrics *metrics) *watch {
	w := &watch{
		resource:   target.Resource,
		namespaces: namespaces,
		sink:       sink,
		metrics:    metrics,
		failed:     make(chan struct{}),
		done:       make(chan struct{}),
	}
	w.factory = dynamicinformer.NewDynamicSharedInformerFactory(observedClient{client, w}, 0)
	w.informer = cache.NewTypedSharedIndexInformer[*unstructured.Unstructured](w.factory.ForResource(target.Resource).Informer())
	w.fail = sync.OnceFunc(func() { close(w.failed) })
	w.setEvents(target.Events)
	return w
}

// start runs the watch until stop or until ctx ends. Its first list waits for its turn in the gate.
func (w *watch) start(ctx context.Context, gate chan struct{}) {
	logger := klog.LoggerWithValues(klog.FromContext(ctx), "resource", watchlist.Format(w.resource))
	ctx, w.cancel = context.WithCancel(klog.NewContext(ctx, logger))
	w.configure(logger)
	go func() {
		defer close(w.done)
		w.run(ctx, gate)
	}()
}

// stop returns when nothing is offered any more.
func (w *watch) stop() {
	w.cancel()
	<-w.done
}

func (w *watch) run(ctx context.Context, gate chan struct{}) {
	select {
	case gate <- struct{}{}:
	case <-ctx.Done():
		return
	}
	w.factory.Start(ctx.Done())
	w.awaitFirstList(ctx)
	<-gate
	<-ctx.Done()
	w.factory.Shutdown()
}

// configure prepares the informer. It refuses only once it was started.
func (w *watch) configure(logger klog.Logger) {
	_ = w.informer.SetTransform(dropManagedFields)
	_ = w.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if known := w.failure.Load(); known == nil || !errors.Is(err, known.err) {
			w.watchFailed(ctx, err)
		}
	})
	registration, _ := w.informer.AddTypedEventHandler(cache.TypedResourceEventHandlerFuncs[*unstructured.Unstructured]{
		AddFunc:    w.added,
		UpdateFunc: w.updated,
		DeleteFunc: w.deleted,
	}, cache.HandlerOptions{Logger: &logger})
	w.synced = registration.HasSyncedChecker()
}

// awaitFirstList returns when the first list is there, has failed, or has taken its time.
func (w *watch) awaitFirstList(ctx context.Context) {
	patience := time.NewTimer(firstListPatience)
	defer patience.Stop()
	select {
	case <-w.synced.Done():
		klog.FromContext(ctx).V(2).Info("Watching", "objects", len(w.informer.GetStore().ListKeys()))
	case <-w.failed:
	case <-patience.C:
	case <-ctx.Done():
	}
}

// dropManagedFields frees a third of an object that nobody reads, before it is stored.
func dropManagedFields(obj any) (any, error) {
	if object, ok := obj.(*unstructured.Unstructured); ok {
		unstructured.RemoveNestedField(object.Object, "metadata", "managedFields")
	}
	return obj, nil
}

func (w *watch) setEvents(events watchlist.Events) { w.events.Store(events) }

// added, updated and deleted are the informer's handlers. They only say what happened.

func (w *watch) added(obj *unstructured.Unstructured) {
	w.offering.Lock()
	defer w.offering.Unlock()
	w.offer(wire.Added, obj)
}

func (w *watch) updated(old, obj *unstructured.Unstructured) {
	w.offering.Lock()
	defer w.offering.Unlock()
	w.offerDifference(old, obj)
}

func (w *watch) deleted(gone cache.DeletedObject[*unstructured.Unstructured]) {
	if gone.OptionalObj == nil {
		return // nobody knows what it was
	}
	w.offering.Lock()
	defer w.offering.Unlock()
	w.offer(wire.Deleted, gone.OptionalObj)
}

// offerDifference offers what happened between two states under one name.
func (w *watch) offerDifference(old, obj *unstructured.Unstructured) {
	switch {
	case old.GetUID() != obj.GetUID():
		w.offer(wire.Deleted, old)
		w.offer(wire.Added, obj)
	case old.GetResourceVersion() != obj.GetResourceVersion():
		w.offer(wire.Modified, obj)
	}
}

// offer passes a change on if the watch-list wants it. The lock is held.
func (w *watch) offer(event wire.Event, obj *unstructured.Unstructured) {
	if !w.covers(obj) {
		return
	}
	w.metrics.seen.WithLabelValues(watchlist.Format(w.resource), string(event)).Inc()
	if w.events.Load().(watchlist.Events).Has(maskOf(event)) {
		w.sink.Offer(w.resource, event, obj)
	}
}

// covers tells whether the object lives in a wanted namespace. Objects without one are always wanted.
func (w *watch) covers(obj *unstructured.Unstructured) bool {
	return w.namespaces == nil || obj.GetNamespace() == "" || w.namespaces[obj.GetNamespace()]
}

func maskOf(event wire.Event) watchlist.Events {
	switch event {
	case wire.Added:
		return watchlist.Added
	case wire.Modified:
		return watchlist.Modified
	default:
		return watchlist.Deleted
	}
}

// watchFailed is called for the informer, which then waits longer and longer, up to 30 s, and tries again.
func (w *watch) watchFailed(ctx context.Context, err error) {
	logger := klog.FromContext(ctx)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, io.EOF) {
		logger.V(4).Info("Watch ended, starting it again", "reason", err.Error())
		return
	}
	w.metrics.errors.WithLabelValues(watchlist.Format(w.resource), string(apierrors.ReasonForError(err))).Inc()
	before, now := w.failure.Load(), time.Now()
	next := &failure{err: err, since: now}
	if asked := w.asked.Load(); asked != nil {
		next.since = *asked
	}
	if !before.over(now) {
		next.since = before.since
	}
	w.failure.Store(next)
	if before.over(now) || apierrors.ReasonForError(before.err) != apierrors.ReasonForError(err) {
		logger.Info("Kind cannot be watched, will keep trying", "reason", err.Error())
	} else {
		logger.V(4).Info("Kind still cannot be watched", "reason", err.Error())
	}
	w.fail()
}

// isRefused tells an API server that does not let us from one that cannot right now.
func isRefused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err)
}

// state of a watch.
type state string

const (
	synced  state = "synced"
	pending state = "pending"
	refused state = "refused" // not permitted or not served: reported, and not waited for
)

func (w *watch) state() (state, error) {
	failure, now, listed := w.failure.Load(), time.Now(), cache.IsDone(w.synced)
	switch {
	case failure.over(now) && !listed:
		return pending, errors.New("waiting for its first list")
	case failure.over(now) && w.unanswered(now) >= outagePatience:
		return pending, errors.New("the API server does not answer")
	case failure.over(now):
		return synced, nil
	case isRefused(failure.err):
		return refused, failure.err
	case listed && now.Sub(failure.since) < outagePatience:
		return synced, nil
	default:
		return pending, failure.err
	}
}

// objects returns what there is now.
func (w *watch) objects() []Object {
	var objects []Object
	for _, item := range w.informer.GetStore().List() {
		if obj := item.(*unstructured.Unstructured); w.covers(obj) {
			objects = append(objects, Object{Resource: w.resource, Unstructured: obj})
		}
	}
	return objects
}

// resync offers everything as ADDED.
func (w *watch) resync() {
	for _, key := range w.informer.GetStore().ListKeys() {
		w.withCurrent(key, func(obj *unstructured.Unstructured) {
			if obj != nil {
				w.offer(wire.Added, obj)
			}
		})
	}
}

// catchUp offers what has happened to an object since it was returned by objects.
func (w *watch) catchUp(known *unstructured.Unstructured) {
	w.withCurrent(cache.MetaObjectToName(known).String(), func(obj *unstructured.Unstructured) {
		if obj == nil {
			w.offer(wire.Deleted, known)
		} else {
			w.offerDifference(known, obj)
		}
	})
}

// withCurrent calls use with what the store has under a key now, nil for nothing, and lets no event be offered meanwhile. An event
// that the store has taken in already is then offered later, and so is the last word.
func (w *watch) withCurrent(key string, use func(*unstructured.Unstructured)) {
	w.offering.Lock()
	defer w.offering.Unlock()
	item, exists, err := w.informer.GetStore().GetByKey(key)
	if err != nil || !exists {
		use(nil)
		return
	}
	use(item.(*unstructured.Unstructured))
}

// describe is for the reasons why the agent is not ready.
func (w *watch) describe(err error) string {
	return fmt.Sprintf("%s: %v", watchlist.Format(w.resource), err)
}
