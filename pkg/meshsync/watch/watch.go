package watch

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/generated/informers/externalversions"
	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/watchlist"
)

// firstListPatience is how long the first list of one kind may keep others waiting for their turn.
const firstListPatience = 15 * time.Second

// Sink takes what is seen.
type Sink interface {
	// Offer takes a change. It must not wait.
	Offer(resource schema.GroupVersionResource, change wire.Change)
	// MakeWay may wait for a moment, when more was offered than the sink can pass on. It returns false when there is no room for
	// messages: then changes are to be offered without, and will be asked for.
	MakeWay() (room bool)
}

// shared is what all watches have in common.
type shared struct {
	client    *raw.Client
	sink      Sink
	encoding  Encoding
	forbidden func() // called when the API server does not let a watch list or watch
	metrics   *metrics
	gate      gate
	ours      map[schema.GroupResource][]string // keys of objects of which nothing is said
	keep      atomic.Bool                       // nothing is said of objects that are not watched any more
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
	kind          string // what an object is called
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

// watch follows one scope.
type watch struct {
	*shared
	*health
	scope
	selection
	tier int

	factory  externalversions.SharedInformerFactory
	informer cache.SharedIndexInformer

	events atomic.Value  // of type watchlist.Events: those to offer
	began  time.Time     // when its first list was asked for
	synced chan struct{} // closed when that was offered

	saidUnreadable atomic.Int64 // when it was last logged that an object cannot be read, in nanoseconds

	// mu makes offering an object and remembering it one step, so that what is known is always what was offered last.
	mu       sync.Mutex
	index    *index
	journals map[*journal]struct{} // those that are open
	encoder  *encoder
	ours     []string // keys
	listing  bool     // all that is there is being taken
	stopped  bool     // nothing is taken any more

	cancel context.CancelFunc
	done   chan struct{}
}

// newWatch makes a watch that can be asked how far it is. It is to be started, or refused.
func newWatch(logger klog.Logger, s *shared, of scope, target watchlist.Target) *watch {
	name := watchlist.Format(of.resource)
	logger = klog.LoggerWithValues(logger, "resource", name)
	if of.namespace != "" {
		logger = klog.LoggerWithValues(logger, "namespace", of.namespace)
	}
	w := &watch{
		shared:    s,
		health:    newHealth(logger, name, s.metrics, s.forbidden),
		scope:     of,
		selection: selectionOf(target),
		tier:      target.Tier,
		synced:    make(chan struct{}),
		index:     newIndex(s.encoding.form(target.Depth)),
		journals:  map[*journal]struct{}{},
		cancel:    func() {},
		done:      make(chan struct{}),
	}
	w.encoder = s.encoding.of(of.resource, w.selection, s.metrics)
	w.ours = s.ours[of.resource.GroupResource()]
	w.setEvents(target.Events)
	w.factory, w.informer = newInformer(newPatient(observed{fresh{w.requests(w), w.newest}, w.health}))
	_ = w.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { w.reported(err) })
	return w
}

// requests of the watch, to be handed to a handler.
func (w *watch) requests(handler raw.Handler) direct {
	return direct{
		client:  w.client,
		scope:   raw.Scope{Resource: w.resource, Namespace: w.namespace, MetadataOnly: w.depth == v1alpha1.DepthInventory},
		labels:  w.labelSelector,
		fields:  w.fields(),
		handler: handler,
	}
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

// stop returns when nothing is taken any more. An informer does not wait for a list that it has asked for, nor is a resync waited for.
func (w *watch) stop() {
	w.cancel()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
}

func (w *watch) run(ctx context.Context, turn *ticket) {
	if !turn.enter(ctx) {
		return
	}
	w.began = time.Now()
	w.factory.StartWithContext(ctx)
	w.awaitFirstList(ctx)
	turn.leave()
	<-ctx.Done()
	w.factory.Shutdown()
}

// awaitFirstList returns when the first list is there, has failed, or has taken its time.
func (w *watch) awaitFirstList(ctx context.Context) {
	patience := time.NewTimer(firstListPatience)
	defer patience.Stop()
	select {
	case <-w.synced:
	case <-w.failed:
	case <-patience.C:
	case <-ctx.Done():
	}
}

func (w *watch) setEvents(events watchlist.Events) { w.events.Store(events) }

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

// covers reports whether the watch sees objects of a namespace.
func (w *watch) covers(namespace string) bool {
	return w.namespace == namespace || w.namespace == "" && !strings.Contains(w.excluded, ","+namespace+",")
}

// inherit takes over what an earlier watch has offered. It must come before start.
func (w *watch) inherit(object *raw.Object, from origin) { w.index.inherit(object, from) }

// left is an object that a stopped watch has offered, and where it comes from.
type left struct {
	*raw.Object
	from origin
}

// leaves returns what the watch has offered. It must be stopped.
func (w *watch) leaves() []left {
	all := make([]left, 0, len(w.index.known))
	for key, object := range w.index.known {
		all = append(all, left{object, w.index.leaves(key)})
	}
	return all
}

// newest is the newest version that was taken.
func (w *watch) newest() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.index.newest
}

func (w *watch) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.index.known)
}

// firstListSeen is called once.
func (w *watch) firstListSeen() {
	now := time.Now()
	w.listed.Store(&now)
	w.shared.metrics.firstList.WithLabelValues(strconv.Itoa(w.tier)).Observe(now.Sub(w.began).Seconds())
	w.logger.V(2).Info("Watching", "objects", len(w.index.known))
	close(w.synced)
}
