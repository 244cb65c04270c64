package watch

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/watchlist"
)

// firstListPatience is how long the first list of one kind may keep others waiting for their turn.
const firstListPatience = 15 * time.Second

// Sink takes what is seen.
type Sink interface {
	// Offer takes a change. It must not wait. The object is shared and must not be changed.
	Offer(resource schema.GroupVersionResource, event wire.Event, obj *unstructured.Unstructured)
	// Withdraw takes that an object is not watched any more, and why. It may well be there. It must not wait.
	Withdraw(resource schema.GroupVersionResource, obj *unstructured.Unstructured, reason wire.Reason)
}

// Object is an object of a watched kind.
type Object struct {
	Resource schema.GroupVersionResource
	*unstructured.Unstructured
}

// shared is what all watches have in common.
type shared struct {
	dynamic   dynamic.Interface
	metadata  metadata.Interface
	sink      Sink
	ignore    func(resource schema.GroupVersionResource, old, obj *unstructured.Unstructured) bool
	forbidden func() // called when the API server does not let a watch list or watch
	metrics   *metrics
	gate      gate
	keep      atomic.Bool // nothing is said of objects that are not watched any more
}

// scope is what one watch covers: a kind, in one namespace or, if that is empty, everywhere.
type scope struct {
	resource  schema.GroupVersionResource
	namespace string
}

// selection is which objects of its scope a watch sees, and how much of each. Another selection takes another watch.
type selection struct {
	labelSelector string
	fieldSelector string
	excluded      string // namespaces, with a comma before and after each
	depth         v1alpha1.Depth
	kind          string // what an object calls itself
}

// sameObjects reports whether another selection is of the same objects, of those that both cover.
func (s selection) sameObjects(other selection) bool {
	return s.labelSelector == other.labelSelector && s.fieldSelector == other.fieldSelector
}

func selectionOf(target watchlist.Target) selection {
	s := selection{labelSelector: target.LabelSelector, fieldSelector: target.FieldSelector, depth: target.Depth, kind: target.Kind}
	if len(target.Excluded) > 0 {
		s.excluded = "," + strings.Join(target.Excluded, ",") + ","
	}
	return s
}

// fields is the field selector that leaves out the excluded namespaces as well.
func (s selection) fields() string {
	var terms []string
	if s.fieldSelector != "" {
		terms = append(terms, s.fieldSelector)
	}
	for namespace := range strings.FieldsFuncSeq(s.excluded, func(c rune) bool { return c == ',' }) {
		terms = append(terms, fields.OneTermNotEqualSelector("metadata.namespace", namespace).String())
	}
	return strings.Join(terms, ",")
}

// watch follows one scope, with a shared informer factory of its own so that it can be stopped alone.
type watch struct {
	*shared
	scope
	selection
	tier   int
	logger klog.Logger

	factory  dynamicinformer.DynamicSharedInformerFactory
	informer cache.TypedSharedIndexInformer[*unstructured.Unstructured]
	synced   cache.DoneChecker // every object of the first list was offered

	events   atomic.Value              // of type watchlist.Events: those to offer
	syncedAt atomic.Pointer[time.Time] // nil for not yet
	denial   atomic.Pointer[error]     // why it was refused; nil if it was not
	failure  atomic.Pointer[failure]   // the last one
	asked    atomic.Pointer[time.Time] // when the API server was asked to list or watch; nil when it has answered
	listing  atomic.Pointer[time.Time] // when it was asked for all that is there; nil when it has sent that
	failed   chan struct{}             // closed at the first failure
	fail     func()                    // closes failed, once
	// watched, and ended with the reason for it, are the informer's goroutine's, and its stream's while that hands it an event.
	watched bool
	ended   string

	// mu makes offering an object and remembering it one step, so that what is held is always what was offered last.
	mu   sync.Mutex
	held map[cache.ObjectName]held

	cancel context.CancelFunc
	done   chan struct{}
}

// held is an object that was offered, and not as deleted.
type held struct {
	object *unstructured.Unstructured
	// from is not nil when an earlier watch has offered the object, and the first list has not told yet whether it is there.
	from *origin
}

// origin is what there is to know of an earlier watch of the same kind.
type origin struct {
	depth  v1alpha1.Depth
	reason wire.Reason // to withdraw for what is not found; empty if it must have been deleted then
}

// newWatch makes a watch that can be asked how far it is. It is to be started, or refused.
func newWatch(logger klog.Logger, s *shared, of scope, target watchlist.Target) *watch {
	w := &watch{
		shared:    s,
		scope:     of,
		selection: selectionOf(target),
		tier:      target.Tier,
		logger:    klog.LoggerWithValues(logger, "resource", watchlist.Format(of.resource)),
		failed:    make(chan struct{}),
		held:      map[cache.ObjectName]held{},
		cancel:    func() {},
		done:      make(chan struct{}),
	}
	if of.namespace != "" {
		w.logger = klog.LoggerWithValues(w.logger, "namespace", of.namespace)
	}
	w.fail = sync.OnceFunc(func() { close(w.failed) })
	w.setEvents(target.Events)
	w.factory = dynamicinformer.NewFilteredDynamicSharedInformerFactory(w.client(), 0, of.namespace, func(options *metav1.ListOptions) {
		options.LabelSelector, options.FieldSelector = w.labelSelector, w.fields()
	})
	w.informer = cache.NewTypedSharedIndexInformer[*unstructured.Unstructured](w.factory.ForResource(of.resource).Informer())
	w.configure()
	return w
}

// client lists and watches as deep as the watch is to see, and tells the watch how that went.
func (w *watch) client() dynamic.Interface {
	return newClient(w.dynamic, func(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
		objects := w.dynamic.Resource(resource).Namespace(namespace)
		if w.depth == v1alpha1.DepthInventory {
			objects = inventory{objects, w.metadata.Resource(resource).Namespace(namespace), resource.GroupVersion().WithKind(w.kind)}
		}
		return observed{objects, w}
	})
}

// start runs the watch until stop or until ctx ends. Its first list waits for its turn.
func (w *watch) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(ctx)
	turn := w.gate.draw(w.tier)
	go func() {
		defer close(w.done)
		w.run(ctx, turn)
	}()
}

// refuse takes the place of start for a watch that is not permitted. It only holds what it inherits.
func (w *watch) refuse(err error) {
	w.denial.Store(&err)
	close(w.done)
}

// stop returns when nothing is offered any more.
func (w *watch) stop() {
	w.cancel()
	<-w.done
}

func (w *watch) run(ctx context.Context, turn *ticket) {
	if !turn.enter(ctx) {
		return
	}
	began := time.Now()
	w.factory.Start(ctx.Done())
	w.awaitFirstList(ctx)
	turn.leave()
	select {
	case <-w.synced.Done():
		w.firstListSeen(began)
	case <-ctx.Done():
	}
	<-ctx.Done()
	w.factory.Shutdown()
}

// configure prepares the informer. That refuses only once it was started.
func (w *watch) configure() {
	_ = w.informer.SetTransform(dropManagedFields)
	_ = w.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		if known := w.failure.Load(); known == nil || !errors.Is(err, known.err) {
			w.watchFailed(err)
		}
	})
	registration, _ := w.informer.AddTypedEventHandler(cache.TypedResourceEventHandlerFuncs[*unstructured.Unstructured]{
		AddFunc:    w.seen,
		UpdateFunc: func(_, obj *unstructured.Unstructured) { w.seen(obj) },
		DeleteFunc: w.deleted,
	}, cache.HandlerOptions{Logger: &w.logger})
	w.synced = registration.HasSyncedChecker()
}

// awaitFirstList returns when the first list is there, has failed, or has taken its time.
func (w *watch) awaitFirstList(ctx context.Context) {
	patience := time.NewTimer(firstListPatience)
	defer patience.Stop()
	select {
	case <-w.synced.Done():
	case <-w.failed:
	case <-patience.C:
	case <-ctx.Done():
	}
}

// firstListSeen withdraws what an earlier watch has offered and is not there.
func (w *watch) firstListSeen(began time.Time) {
	w.syncedAt.Store(new(time.Now()))
	w.metrics.firstList.WithLabelValues(strconv.Itoa(w.tier)).Observe(time.Since(began).Seconds())
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, known := range w.held {
		if known.from == nil {
			continue
		}
		delete(w.held, name)
		if known.from.reason == "" {
			w.offer(wire.Deleted, known.object)
		} else {
			w.withdraw(known.object, known.from.reason)
		}
	}
	w.logger.V(2).Info("Watching", "objects", len(w.held))
}

// dropManagedFields frees a third of an object that nobody reads, before it is stored.
func dropManagedFields(obj any) (any, error) {
	if object, ok := obj.(*unstructured.Unstructured); ok {
		unstructured.RemoveNestedField(object.Object, "metadata", "managedFields")
	}
	return obj, nil
}

func (w *watch) setEvents(events watchlist.Events) { w.events.Store(events) }

// seen and deleted are the informer's handlers. They only say what happened.

func (w *watch) seen(obj *unstructured.Unstructured) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := cache.MetaObjectToName(obj)
	before, known := w.held[name]
	w.held[name] = held{object: obj}
	switch {
	case !known:
		w.offer(wire.Added, obj)
	case before.from != nil && before.from.depth != w.depth && before.object.GetUID() == obj.GetUID():
		w.offer(wire.Added, obj) // nothing may have happened to it, but now there is more of it to tell, or less
	default:
		w.offerDifference(before.object, obj)
	}
}

func (w *watch) deleted(gone cache.DeletedObject[*unstructured.Unstructured]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := gone.GetObjectName()
	obj := gone.OptionalObj // its last state
	if obj == nil {
		obj = w.held[name].object
	}
	delete(w.held, name)
	if obj != nil {
		w.offer(wire.Deleted, obj)
	}
}

// offerDifference offers what happened between two states under one name.
func (w *watch) offerDifference(old, obj *unstructured.Unstructured) {
	switch {
	case old.GetUID() != obj.GetUID():
		w.offer(wire.Deleted, old)
		w.offer(wire.Added, obj)
	case old.GetResourceVersion() != obj.GetResourceVersion() && !w.ignore(w.resource, old, obj):
		w.offer(wire.Modified, obj)
	}
}

// offer passes a change on if the watch-list wants it. The lock is held.
func (w *watch) offer(event wire.Event, obj *unstructured.Unstructured) {
	w.metrics.seen.WithLabelValues(watchlist.Format(w.resource), string(event)).Inc()
	if w.wants(event) {
		w.sink.Offer(w.resource, event, obj)
	}
}

// withdraw says that an object is not watched any more, to those who hear of deletes at all.
func (w *watch) withdraw(obj *unstructured.Unstructured, reason wire.Reason) {
	if w.wants(wire.Deleted) && !w.keep.Load() {
		w.sink.Withdraw(w.resource, obj, reason)
	}
}

func (w *watch) wants(event wire.Event) bool {
	return w.events.Load().(watchlist.Events).Has(maskOf(event))
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
func (w *watch) watchFailed(err error) {
	w.ended = reasonOf(err)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, io.EOF) {
		w.logger.V(4).Info("Watch ended, starting it again", "reason", err.Error())
		return
	}
	w.metrics.errors.WithLabelValues(watchlist.Format(w.resource), reasonOf(err)).Inc()
	// Only what stays the same whether it was asked to list or to watch: the API server's own words, or what is wrong without the URL.
	if said, ok := errors.AsType[*apierrors.StatusError](err); ok {
		err = said
	} else if broken, ok := errors.AsType[*url.Error](err); ok {
		err = broken.Err
	}
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
		w.logger.Info("Kind cannot be watched, will keep trying", "reason", err.Error())
	} else {
		w.logger.V(4).Info("Kind still cannot be watched", "reason", err.Error())
	}
	w.fail()
	if apierrors.IsForbidden(err) {
		w.forbidden()
	}
}

// covers reports whether the watch sees objects of a namespace.
func (w *watch) covers(namespace string) bool {
	return w.namespace == namespace || w.namespace == "" && !strings.Contains(w.excluded, ","+namespace+",")
}

// inherit takes over what an earlier watch has offered. It must come before start.
func (w *watch) inherit(object *unstructured.Unstructured, from origin) {
	w.held[cache.MetaObjectToName(object)] = held{object, &from}
}

// leaves returns what the watch holds, and from where: what it has inherited and never seen was offered by an earlier watch.
func (w *watch) leaves() []held {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := make([]held, 0, len(w.held))
	for _, known := range w.held {
		if known.from == nil {
			known.from = &origin{depth: w.depth}
		}
		left = append(left, known)
	}
	return left
}

// objects returns what was offered last of everything that is there.
func (w *watch) objects() []*unstructured.Unstructured {
	w.mu.Lock()
	defer w.mu.Unlock()
	objects := make([]*unstructured.Unstructured, 0, len(w.held))
	for _, known := range w.held {
		objects = append(objects, known.object)
	}
	return objects
}

func (w *watch) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.held)
}

// resync offers everything as ADDED.
func (w *watch) resync() {
	for _, object := range w.objects() {
		w.mu.Lock()
		if known, ok := w.held[cache.MetaObjectToName(object)]; ok {
			w.offer(wire.Added, known.object)
		}
		w.mu.Unlock()
	}
}

// catchUp offers what has happened to an object since it was among the objects.
func (w *watch) catchUp(known *unstructured.Unstructured) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now, ok := w.held[cache.MetaObjectToName(known)]; ok {
		w.offerDifference(known, now.object)
	} else {
		w.offer(wire.Deleted, known)
	}
}
