package publish

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

const (
	// Who reads faster than the broker takes waits while more than maxAhead is owed, so that memory does not depend on how much there is
	// to read. A watch may be held up for a moment, but not for long: an API server ends it then. So a broker that confirms nothing for
	// aheadPatience holds up nobody.
	maxAhead      = 8 << 20
	aheadPatience = time.Second

	// An object whose message was not confirmed waits 100 ms, 200 ms, 400 ms, … 30 s. Never the default limiter: its bucket is
	// shared by all keys, and 10,000 of them would take a quarter of an hour.
	retryFirst = 100 * time.Millisecond
	retryLast  = 30 * time.Second

	defaultMaxPendingBytes = 64 << 20
)

// Options of a Queue. The functions are called from the queue's own goroutines, and must not wait for it.
type Options struct {
	Metrics          prometheus.Registerer
	WorkqueueMetrics workqueue.MetricsProvider // may be nil

	// MessagesPerSecond and BytesPerSecond are the most to publish. 0 is no limit.
	MessagesPerSecond float64
	BytesPerSecond    int64

	// MaxPendingBytes is how much may be owed before bodies are not kept any more. 0 is 64 MiB.
	MaxPendingBytes int
	// Fetch offers once more, as MODIFIED, the objects of a kind that are wanted, in the state that they are in. It must not offer what is
	// older than what was offered before, and return nil only if it has offered all that is there and wanted. Without it all bodies are kept.
	Fetch func(ctx context.Context, resource schema.GroupVersionResource, wanted func(namespace, name string) bool) error

	// Record makes what a state stream keeps of a change. It may be nil if there is never one.
	Record func(key Key, change wire.Change) *bus.Record

	// Trim makes a message fit into limit bytes, and says what it has left out. It may be nil.
	Trim func(message []byte, limit int) (trimmed []byte, without []string, ok bool)
	// OnTrimmed is called for every message that is published trimmed. It may be nil.
	OnTrimmed func(key Key, without []string)
	// OnConfirmed is called when the core subject has had a change; more than once, if it is sent more than once. It may be nil.
	OnConfirmed func(key Key, change wire.Change, at time.Time)
}

func (o Options) budget() int {
	switch {
	case o.Fetch == nil:
		return 0
	case o.MaxPendingBytes == 0:
		return defaultMaxPendingBytes
	default:
		return o.MaxPendingBytes
	}
}

// Queue publishes changes. Keys wait in a workqueue, which hands them out by urgency and never twice at a time; what is to be sent
// under a key is looked up when its turn comes. A key is handed back when there is an answer.
type Queue struct {
	options Options
	metrics *metrics
	pace    *pace
	window  *window
	pending *pending
	keys    workqueue.TypedRateLimitingInterface[Key]
	kinds   workqueue.TypedRateLimitingInterface[schema.GroupVersionResource] // of which messages have to be fetched
	sent    chan *batch                                                       // that have no answer yet

	failure atomic.Pointer[error] // why something in the last batch was not confirmed; nil if nothing was
	refusal atomic.Pointer[error] // why the state stream did not take a record last
}

// NewQueue makes a queue. Nothing is sent before Open, and without Run.
func NewQueue(o Options) *Queue {
	pending, window := newPending(o.budget()), newWindow()
	return &Queue{
		options: o,
		metrics: newMetrics(o.Metrics, pending, window),
		pace:    newPace(o.MessagesPerSecond, o.BytesPerSecond),
		window:  window,
		pending: pending,
		keys:    newKeys(pending, o.WorkqueueMetrics),
		kinds: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[schema.GroupVersionResource](fetchRetryFirst, fetchRetryLast),
		),
		sent: make(chan *batch, maxInFlight),
	}
}

func newKeys(pending *pending, provider workqueue.MetricsProvider) workqueue.TypedRateLimitingInterface[Key] {
	const name = "publish"
	ordered := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[Key]{Name: name, MetricsProvider: provider, Queue: newLanes(pending.classOf)})
	return workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[Key](retryFirst, retryLast),
		workqueue.TypedRateLimitingQueueConfig[Key]{
			DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[Key]{Name: name, MetricsProvider: provider, Queue: ordered}),
		},
	)
}

// Offer takes a change that was seen, and its message for good. It does not wait and does not keep more than the newest state of an
// object. Without a message, or if there is no room for it, that is fetched later.
func (q *Queue) Offer(resource schema.GroupVersionResource, change wire.Change) {
	key := Key{Resource: resource, Namespace: change.Namespace, Name: change.Name}
	ready, lacking := q.pending.add(key, change)
	if ready {
		q.keys.Add(key)
	}
	if lacking {
		q.kinds.Add(resource)
	}
}

// MakeWay waits while the broker takes what was offered more slowly than it comes; never while it takes nothing. It reports whether there
// is room for messages: without, offer changes without one, and DELETED with a small one.
func (q *Queue) MakeWay() (room bool) {
	q.pending.makeWay(maxAhead, aheadPatience)
	return q.pending.room()
}

// Open lets messages be sent, or be sent by another way from now on.
func (q *Queue) Open(outlet Outlet) { q.window.open(outlet) }

// Pause lets nothing be sent from now on. It returns when nothing is in flight any more: what was is confirmed, or owed again.
func (q *Queue) Pause() { q.window.pause() }

// Clear forgets all that is owed: somebody else will say it. The queue must be paused.
func (q *Queue) Clear() { q.pending.clear() }

// SetRate changes how much to publish at most. 0 is no limit.
func (q *Queue) SetRate(messagesPerSecond float64, bytesPerSecond int64) {
	q.pace.set(messagesPerSecond, bytesPerSecond)
}

// Owes reports whether something of an object is not confirmed yet.
func (q *Queue) Owes(key Key) bool { return q.pending.owes(key) }

// Ready returns why the broker did not confirm what was sent last, as long as that is owed.
func (q *Queue) Ready() error {
	if failure := q.failure.Load(); failure != nil && q.pending.len() > 0 {
		return fmt.Errorf("publishing is held up: %w", *failure)
	}
	return nil
}

// Refused returns why the state stream does not take a record, as long as it is owed.
func (q *Queue) Refused() error {
	if refusal := q.refusal.Load(); refusal != nil && q.pending.weighs().told > 0 {
		return *refusal
	}
	return nil
}

// Drain waits until the broker has confirmed everything, or until ctx ends. While nothing may be sent it does not wait: who stops now
// would hold up others for a broker that is likely to be away for longer. It returns how many objects are still owed.
func (q *Queue) Drain(ctx context.Context) int {
	if !q.window.isOpen() {
		klog.FromContext(ctx).Info("Not waiting for the broker: nothing may be sent")
		return q.pending.len()
	}
	select {
	case <-q.pending.empty():
	case <-ctx.Done():
	}
	return q.pending.len()
}

// Run publishes until ctx ends. Use Drain before, if nothing is to be left behind.
func (q *Queue) Run(ctx context.Context) {
	defer q.shutDown() // which ends the workqueues' own goroutines, too
	stop := context.AfterFunc(ctx, q.shutDown)
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { q.confirmAll(ctx) })
	if q.options.Fetch != nil {
		running.Go(func() { q.fetchAll(ctx) })
	}
	defer close(q.sent)
	q.sendAll(ctx)
}

// shutDown wakes up who waits for something to do.
func (q *Queue) shutDown() {
	q.keys.ShutDown()
	q.kinds.ShutDown()
	q.window.wake()
}
