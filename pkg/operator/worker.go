package operator

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// Back-off of one resource whose sync fails: 0.2 s, 0.4 s, 0.8 s … 1 min.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = time.Minute
)

type queue = workqueue.TypedRateLimitingInterface[cache.ObjectName]

// syncFunc brings one resource into the wanted state. It is level-triggered: it may run at any time, any number of times, and says
// when it wants to look again although nothing happened (0: never).
type syncFunc func(context.Context, cache.ObjectName) (recheck time.Duration, err error)

// newQueue makes a queue of resource names. Its limiter is per name only: a shared bucket would let one failing resource
// slow down the others.
func newQueue(name string, metrics workqueue.MetricsProvider) queue {
	return workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](firstRetry, lastRetry),
		workqueue.TypedRateLimitingQueueConfig[cache.ObjectName]{Name: name, MetricsProvider: metrics},
	)
}

// worker drains one queue.
type worker struct {
	kind    string
	queue   queue
	sync    syncFunc
	metrics *metrics
}

// run works until ctx ends, with as many resources at a time as workers says, and returns when the last sync has.
func (w *worker) run(ctx context.Context, workers int) {
	defer klog.FromContext(ctx).V(2).Info("Stopped controller", "controller", w.kind)
	klog.FromContext(ctx).V(2).Info("Started controller", "controller", w.kind, "workers", workers)

	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for w.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	w.queue.ShutDown()
	running.Wait()
}

func (w *worker) next(ctx context.Context) bool {
	key, quit := w.queue.Get()
	if quit {
		return false
	}
	defer w.queue.Done(key)
	if ctx.Err() != nil { // a queue that is shut down still hands out what it holds
		return true
	}
	logger := klog.LoggerWithValues(klog.FromContext(ctx), w.kind, klog.KRef(key.Namespace, key.Name))
	ctx = klog.NewContext(ctx, logger)

	start := time.Now()
	recheck, err := w.sync(ctx, key)
	took := time.Since(start)
	switch {
	case err == nil:
		w.queue.Forget(key)
		if recheck > 0 {
			w.queue.AddAfter(key, recheck)
		}
		logger.V(4).Info("Synced", "took", took)
	case ctx.Err() != nil: // shutting down
	case apierrors.IsConflict(err): // our cache is behind
		logger.V(4).Info("Sync met a conflict, will retry", "err", err)
		w.queue.AddRateLimited(key)
	default:
		utilruntime.HandleErrorWithContext(ctx, err, "Sync failed, will retry", "failures", w.queue.NumRequeues(key)+1)
		w.queue.AddRateLimited(key)
	}
	w.metrics.synced(w.kind, err, took)
	return true
}
