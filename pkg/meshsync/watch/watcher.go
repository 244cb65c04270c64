package watch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/watchlist"
)

const (
	// settle lets changes that come together be handled together.
	settle = 250 * time.Millisecond
	// rediscoverInterval is how often the API server is asked what it serves when nothing points to a change. After a change it is
	// asked again in growing steps from settle up to this: a kind is served some time after its definition was written.
	rediscoverInterval = 2 * time.Minute
	// retryInterval is the most between two questions while there is no answer.
	retryInterval = 10 * time.Second
)

// Options of a Watcher.
type Options struct {
	Dynamic   dynamic.Interface
	Metadata  metadata.Interface
	Discovery Discovery
	List      Source
	Sink      Sink
	Metrics   prometheus.Registerer

	Namespaces []string // of the objects to offer; empty is all. Objects without a namespace are always offered
	Resources  []string // plural or singular names; empty is all on the list
}

// Watcher keeps the watches running that the watch-list wants.
type Watcher struct {
	options Options
	metrics *metrics
	set     *set
	changed chan struct{} // holds one element when it is time to look again

	mu        sync.Mutex
	list      *watchlist.List // the last that could be read
	listErr   error           // why there is no newer one
	looked    bool            // the watches were started at least once
	lookErr   error           // why they could not be, or not the last time
	errSince  time.Time       // when that began
	wasMissed map[schema.GroupVersionResource]string
}

// New makes a watcher. Nothing is watched before Run.
func New(o Options) *Watcher {
	metrics := newMetrics(o.Metrics)
	w := &Watcher{
		options: o,
		metrics: metrics,
		set:     newSet(o.Dynamic, o.Namespaces, o.Sink, metrics),
		changed: make(chan struct{}, 1),
		lookErr: errors.New("the API server has not been asked yet"),
	}
	showStates(o.Metrics, w.set)
	return w
}

// Run watches until ctx ends. Nothing is offered after it has returned.
func (w *Watcher) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer w.set.stop()
	wg.Go(func() { w.options.List(ctx, func(list watchlist.List, err error) { w.setList(ctx, list, err) }) })
	wg.Go(func() { watchCRDs(ctx, w.options.Metadata, w.signal) })

	delay := settle
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
			if delay > settle { // else it is due at once, and must not be put off for ever
				delay = settle
				timer.Reset(delay)
			}
		case <-timer.C:
			longest := rediscoverInterval
			if !w.look(ctx) {
				longest = retryInterval
			}
			delay = min(2*delay, longest)
			timer.Reset(delay)
		}
	}
}

func (w *Watcher) signal() {
	select {
	case w.changed <- struct{}{}:
	default: // there is one already
	}
}

func (w *Watcher) setList(ctx context.Context, list watchlist.List, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if w.listErr == nil || w.listErr.Error() != err.Error() {
			klog.FromContext(ctx).Error(err, "Watch-list cannot be read, the one before stays in force", "thereIsOne", w.list != nil)
		}
		w.listErr = err
		return
	}
	w.listErr = nil
	if w.list == nil || !w.list.Equal(list) {
		w.list = &list
		w.signal()
	}
}

// look compares what is wanted with what is served and runs the watches for it. It returns false when the API server has not said
// what it serves.
func (w *Watcher) look(ctx context.Context) bool {
	w.mu.Lock()
	list := w.list
	w.mu.Unlock()
	if list == nil {
		return true
	}
	served, unknown, err := discover(ctx, w.options.Discovery)
	if err != nil {
		w.setLooked(ctx, err)
		return false
	}
	for gv, err := range unknown {
		klog.FromContext(ctx).V(2).Info("Group is not answered for at the moment", "groupVersion", gv, "reason", err.Error())
	}
	want, missing := targets(*list, served, w.options.Resources)
	w.set.apply(ctx, want, unknown)
	w.reportMissing(ctx, missing)
	w.setLooked(ctx, nil)
	return true
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

// reportMissing logs a kind that cannot be watched, once until it can or until the reason is another.
func (w *Watcher) reportMissing(ctx context.Context, missing []Missing) {
	reasons := map[schema.GroupVersionResource]string{}
	for _, kind := range missing {
		reasons[kind.Resource] = kind.Reason
		if w.wasMissed[kind.Resource] != kind.Reason {
			klog.FromContext(ctx).Info("Kind on the watch-list cannot be watched", "resource", watchlist.Format(kind.Resource), "reason", kind.Reason)
		}
	}
	w.wasMissed = reasons
	w.metrics.missing.Set(float64(len(missing)))
}

// Ready returns nil while all that can be watched has been seen, and otherwise why not.
func (w *Watcher) Ready() error {
	w.mu.Lock()
	list, listErr, looked, lookErr, errSince := w.list, w.listErr, w.looked, w.lookErr, w.errSince
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

// Objects returns every watched object as it is now.
func (w *Watcher) Objects() []Object {
	var objects []Object
	for _, running := range w.set.all() {
		objects = append(objects, running.objects()...)
	}
	return objects
}

// CatchUp offers what has happened to these objects since Objects returned them. It is for a consumer that was sent them by another
// way than through the sink, and so perhaps after their newer state.
func (w *Watcher) CatchUp(objects []Object) {
	for _, known := range objects {
		if running := w.set.get(known.Resource); running != nil {
			running.catchUp(known.Unstructured)
		}
	}
}

// Resync offers every object as ADDED.
func (w *Watcher) Resync() {
	for _, running := range w.set.all() {
		running.resync()
	}
}
