package watch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/watchlist"
)

const (
	// settle lets changes that come together be handled together.
	settle = 250 * time.Millisecond
	// discoverInterval is the least between two questions what the API server serves, however fast definitions come and go.
	discoverInterval = time.Second
	// rediscoverInterval is how often it is asked when nothing points to a change. After a change it is asked again in growing steps
	// up to this: a kind is served, and may be read, some time after its definition or its rule was written.
	rediscoverInterval = 2 * time.Minute
	// retryInterval is the most between two questions while there is no answer.
	retryInterval = 10 * time.Second
)

// Options of a Watcher.
type Options struct {
	Client    *raw.Client
	Dynamic   dynamic.Interface // for reviews of what is permitted
	Discovery Discovery
	List      Source
	Sink      Sink
	Encoding  Encoding
	// Ours are the keys, namespace/name, of objects that the agent writes itself. Nothing is said of them, to nobody.
	Ours    map[schema.GroupResource][]string
	Metrics prometheus.Registerer
}

// Watcher keeps the watches running that the watch-list wants.
type Watcher struct {
	options Options
	metrics *metrics
	set     *set
	access  access
	changed chan struct{} // holds one element when it is time to look again

	mu            sync.Mutex
	list          *watchlist.List      // the last that could be read
	given         Given                // the last at all
	inForce       *watchlist.List      // the last that the watches were started for
	resolution    watchlist.Resolution // of it
	generation    int64                // of the MeshSync that it is from
	servedChanged bool                 // a definition has, since it was asked what is served
	looked        bool                 // the watches were started at least once
	lookErr       error                // why they could not be, or not the last time
	errSince      time.Time            // when that began
	absence       absence              // of kinds that were served
	held          Holding              // by the broker, of kinds of which it is not known yet whether they are watched

	// The rest is the loop's.
	served      watchlist.Served
	discovered  time.Time       // when it was asked
	discoverErr error           // why there was no answer
	owed        bool            // a definition has changed since there was one
	step        time.Duration   // until the next look
	said        map[string]bool // what the log says of the list
}

// New makes a watcher. Nothing is watched before Run.
func New(o Options) *Watcher {
	w := &Watcher{
		options: o,
		metrics: newMetrics(o.Metrics),
		access:  access{client: o.Dynamic},
		changed: make(chan struct{}, 1),
		lookErr: errors.New("the API server has not been asked yet"),
		absence: absence{deleted: map[schema.GroupResource]bool{}},
	}
	w.set = &set{running: map[scope]*watch{}, shared: shared{
		client: o.Client, sink: o.Sink, encoding: o.Encoding, ours: o.Ours, forbidden: w.signal, metrics: w.metrics,
	}}
	o.Metrics.MustRegister(gauges{w.set})
	return w
}

// Run watches until ctx ends. Nothing is offered after it has returned.
func (w *Watcher) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer w.set.stop()
	wg.Go(func() { w.options.List(ctx, func(given Given) { w.setList(ctx, given) }) })
	wg.Go(func() { watchCRDs(ctx, w.options.Client, w.definitionChanged) })

	w.step = settle
	next := time.Now().Add(settle)
	timer := time.NewTimer(settle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
			if soon := w.soon(); soon.Before(next) { // else it must not be put off
				next = soon
			}
		case <-timer.C:
			next = time.Now().Add(w.look(ctx))
		}
		timer.Reset(time.Until(next))
	}
}

func (w *Watcher) signal() {
	select {
	case w.changed <- struct{}{}:
	default: // there is one already
	}
}

func (w *Watcher) definitionChanged(kind schema.GroupResource, deleted bool) {
	w.mu.Lock()
	w.servedChanged = true
	if deleted {
		w.absence.deleted[kind] = true
	} else {
		delete(w.absence.deleted, kind)
	}
	w.mu.Unlock()
	w.signal()
}

func (w *Watcher) setList(ctx context.Context, given Given) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := given.Err; err != nil && (w.given.Err == nil || w.given.Err.Error() != err.Error()) {
		klog.FromContext(ctx).Error(err, "Watch-list cannot be read, the one before stays in force", "thereIsOne", w.list != nil || given.List != nil)
	}
	if given.Generation == 0 {
		given.Generation = w.given.Generation // an error of the reader's, not of what is written
	}
	w.given = given
	if given.List != nil && (w.list == nil || !w.list.Equal(*given.List)) {
		w.list = given.List
		w.signal()
	}
}

// soon is when to look after a change: when others may have come with it, and not more often than the API server should be asked. The
// first list waits for no other.
func (w *Watcher) soon() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inForce == nil {
		return time.Now()
	}
	soon := time.Now().Add(settle)
	if earliest := w.discovered.Add(discoverInterval); w.servedChanged && earliest.After(soon) {
		return earliest
	}
	return soon
}

// look compares what is wanted with what is served and permitted, and runs the watches for it. It returns how long there is to wait
// before it should look again of its own accord.
func (w *Watcher) look(ctx context.Context) time.Duration {
	w.mu.Lock()
	list, isNew := w.list, w.list != w.inForce
	w.mu.Unlock()
	if list == nil {
		return w.wait(rediscoverInterval)
	}
	err := w.discover(ctx, *list, isNew)
	if err != nil && w.served.Kinds == nil {
		w.setLooked(ctx, err)
		return w.wait(retryInterval)
	}
	resolution := list.Resolve(w.served)
	refused := w.access.review(ctx, w.set.doubtful(resolution.Targets))
	w.set.keep.Store(list.OnRemoval() == v1alpha1.OnRemovalKeep)
	w.placeHeld(ctx)
	w.set.apply(ctx, wish{targets: resolution.Targets, refused: refused, served: servedResources(w.served)})
	w.metrics.missing.Set(float64(len(resolution.Missing)))
	if w.report(ctx, resolution, refused) {
		w.step = settle
	}
	w.mu.Lock()
	w.inForce, w.resolution = list, resolution
	w.mu.Unlock()
	w.setLooked(ctx, err)
	if err != nil {
		return w.wait(retryInterval)
	}
	return w.wait(rediscoverInterval)
}

// wait returns steps that grow up to longest.
func (w *Watcher) wait(longest time.Duration) time.Duration {
	w.step = min(2*w.step, longest)
	return w.step
}

// discover brings what is served up to date. It asks only if there is reason to: what a new list names is known as a rule. After an
// error what was known before stays.
func (w *Watcher) discover(ctx context.Context, list watchlist.List, isNew bool) error {
	w.mu.Lock()
	if w.servedChanged {
		w.servedChanged, w.owed, w.step = false, true, settle
	}
	w.mu.Unlock()
	age, known := time.Since(w.discovered), w.served.Kinds != nil
	switch {
	case known && age < discoverInterval,
		known && !w.owed && age < w.step && (!isNew || len(list.Resolve(w.served).Missing) == 0):
		return w.discoverErr
	}
	w.discovered = time.Now()
	w.metrics.discoveries.Inc()
	served, err := discover(ctx, w.options.Discovery)
	w.discoverErr = err
	if err != nil {
		return err
	}
	w.owed = false
	for gv, err := range served.Silent {
		klog.FromContext(ctx).V(2).Info("API group does not answer at the moment", "groupVersion", gv, "reason", err.Error())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	waited := w.absence.pending()
	w.served = w.absence.fill(w.served, served.Remembering(w.served), w.discovered)
	if w.absence.pending() && !waited {
		w.step = settle
	}
	return nil
}

func servedResources(served watchlist.Served) map[schema.GroupVersionResource]bool {
	resources := make(map[schema.GroupVersionResource]bool, len(served.Kinds))
	for _, kind := range served.Kinds {
		resources[kind.Resource] = true
	}
	return resources
}

func (w *Watcher) setLooked(ctx context.Context, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && ctx.Err() == nil && (w.lookErr == nil || w.lookErr.Error() != err.Error()) {
		klog.FromContext(ctx).Error(err, "The API server does not say what it serves, will retry")
	}
	if w.lookErr == nil {
		w.errSince = time.Now()
	}
	w.lookErr = err
	w.looked = w.looked || err == nil
}

// report logs what of the list cannot be used, each thing once until it is over. It returns whether there is something new that may
// soon be over.
func (w *Watcher) report(ctx context.Context, resolution watchlist.Resolution, refused map[scope]error) (hopeful bool) {
	said := map[string]bool{}
	first := func(text string) bool {
		said[text] = true
		return !w.said[text]
	}
	logger := klog.FromContext(ctx)
	for _, problem := range resolution.Problems {
		if first(problem.String()) {
			logger.Info("Entry of the watch-list should be written otherwise", "skipped", problem.Skipped, "problem", problem.String())
		}
	}
	for _, entry := range resolution.Missing {
		if first("missing " + entry.Name + entry.Reason) {
			logger.Info("Kind on the watch-list cannot be watched", "resource", entry.Name, "reason", entry.Reason)
			hopeful = true
		}
	}
	for of := range refused {
		hopeful = first("refused "+of.resource.String()+" "+of.namespace) || hopeful
	}
	w.said = said
	return hopeful
}

// Ready returns nil while all that can be watched has been seen, and otherwise why not.
func (w *Watcher) Ready() error {
	w.mu.Lock()
	list, listErr, looked, lookErr, errSince := w.list, w.given.Err, w.looked, w.lookErr, w.errSince
	w.mu.Unlock()
	switch {
	case list == nil && listErr != nil:
		return listErr
	case list == nil:
		return errors.New("the watch-list has not been read yet")
	case !looked:
		return lookErr
	case lookErr != nil && time.Since(errSince) >= outagePatience:
		return errors.Join(lookErr, w.set.ready())
	default:
		return w.set.ready()
	}
}

// Status is the part of the MeshSync's status that is about what is watched: the numbers, all kinds, and conditions without times.
func (w *Watcher) Status() v1alpha1.MeshSyncStatus {
	w.mu.Lock()
	if w.inForce == w.list && w.given.Err == nil {
		w.generation = w.given.Generation
	}
	known := truth{
		generation: w.generation, newest: w.given.Generation, listErr: w.given.Err,
		targets: w.resolution.Targets, missing: w.resolution.Missing, problems: w.resolution.Problems,
	}
	if w.inForce != nil {
		known.hash = w.inForce.Hash()
	}
	if !w.looked || w.lookErr != nil && time.Since(w.errSince) >= outagePatience {
		known.lookErr = w.lookErr
	}
	w.mu.Unlock()
	known.kinds, known.lastSync = w.set.kinds(), w.set.lastSync()
	return known.status()
}
