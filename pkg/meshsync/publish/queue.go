package publish

import (
	"context"
	"fmt"
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
	// A batch costs one round trip to the broker. Larger ones gain nothing and hold more memory.
	maxBatch      = 256
	maxBatchBytes = 4 << 20

	// Who reads faster than the broker takes waits while more than maxAhead is owed, so that memory does not depend on how much there is
	// to read. A watch may be held up for a moment, but not for long: an API server ends it then. So a broker that confirms nothing for
	// aheadPatience holds up nobody.
	maxAhead      = 8 << 20
	aheadPatience = time.Second

	// An object whose message was not confirmed waits 100 ms, 200 ms, 400 ms, … 30 s. Never the default limiter: its bucket is
	// shared by all keys, and 10,000 of them would take a quarter of an hour.
	retryFirst = 100 * time.Millisecond
	retryLast  = 30 * time.Second
)

// Bus is what the queue needs of the connection to the broker.
type Bus interface {
	Ready() error
	WaitConnected(ctx context.Context) error
	MaxPayload() int
	Send(ctx context.Context, messages ...bus.Message) error
}

// Options of a Queue.
type Options struct {
	Bus              Bus
	Metrics          prometheus.Registerer
	WorkqueueMetrics workqueue.MetricsProvider // may be nil

	// MessagesPerSecond is the most to publish. 0 is no limit.
	MessagesPerSecond float64
}

// Queue publishes changes. Keys wait in a workqueue, which hands them out fairly and never twice at a time; what is to be sent
// under a key is looked up when its turn comes.
type Queue struct {
	bus     Bus
	metrics *metrics
	pace    pace
	keys    workqueue.TypedRateLimitingInterface[Key]
	pending *pending
	failure atomic.Pointer[error] // why the last batch was not confirmed; nil if it was
}

// NewQueue makes a queue. Nothing is sent before Run.
func NewQueue(o Options) *Queue {
	pending := newPending()
	return &Queue{
		bus:     o.Bus,
		metrics: newMetrics(o.Metrics, pending),
		pace:    newPace(o.MessagesPerSecond),
		pending: pending,
		keys: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[Key](retryFirst, retryLast),
			workqueue.TypedRateLimitingQueueConfig[Key]{Name: "publish", MetricsProvider: o.WorkqueueMetrics},
		),
	}
}

// Offer takes a change that was seen, and its message for good. It does not wait and does not keep more than the newest state of an
// object. One that has a reason goes out with it in a header.
func (q *Queue) Offer(resource schema.GroupVersionResource, change wire.Change) {
	key := Key{Resource: resource, Namespace: change.Namespace, Name: change.Name}
	q.pending.add(key, change)
	q.keys.Add(key)
}

// MakeWay waits while the broker takes what was offered more slowly than it comes; never while it takes nothing.
func (q *Queue) MakeWay() { q.pending.makeWay(maxAhead, aheadPatience) }

// Ready returns why the broker did not confirm what was sent last, as long as that is owed.
func (q *Queue) Ready() error {
	if failure := q.failure.Load(); failure != nil && q.pending.len() > 0 {
		return fmt.Errorf("publishing is held up: %w", *failure)
	}
	return nil
}

// Drain waits until the broker has confirmed everything, or until ctx ends. Without a connection it does not wait: who stops now
// would hold up others for a broker that is likely to be away for longer. It returns how many objects are still owed.
func (q *Queue) Drain(ctx context.Context) int {
	if err := q.bus.Ready(); err != nil {
		klog.FromContext(ctx).Info("Not waiting for the broker", "reason", err.Error())
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
	defer q.keys.ShutDown()                         // which ends the workqueue's own goroutine, too
	stop := context.AfterFunc(ctx, q.keys.ShutDown) // wakes up who waits for a key
	defer stop()
	for q.publishNext(ctx) {
	}
}

// publishNext sends one batch. It returns false when ctx has ended.
func (q *Queue) publishNext(ctx context.Context) bool {
	// While there is no broker the changes stay where they can still be merged.
	if err := q.bus.WaitConnected(ctx); err != nil {
		return false
	}
	batch, ok := q.nextBatch(ctx)
	if !ok {
		return false
	}
	err := q.pace.wait(ctx, len(batch.messages))
	sent := time.Now()
	if err == nil && len(batch.messages) > 0 {
		err = q.bus.Send(ctx, batch.messages...)
	}
	if err != nil {
		q.retry(ctx, batch, err)
	} else {
		q.confirm(ctx, batch, sent)
	}
	return ctx.Err() == nil
}

// batch is what goes out with one confirmation.
type batch struct {
	keys     []Key
	messages []bus.Message
	about    []about // the messages
	bytes    int
}

// about says what a message is about.
type about struct {
	key   Key
	event wire.Event
	seen  time.Time
}

// nextBatch waits for a key and takes along what else is ready. There is one caller, so no other can take what Len has counted.
func (q *Queue) nextBatch(ctx context.Context) (*batch, bool) {
	b := &batch{}
	for len(b.keys) == 0 || q.keys.Len() > 0 && len(b.messages) < maxBatch && b.bytes < maxBatchBytes {
		key, quit := q.keys.Get()
		if quit || ctx.Err() != nil {
			return nil, false
		}
		b.keys = append(b.keys, key)
		for _, change := range q.pending.take(key) {
			q.pack(ctx, b, key, change)
		}
	}
	return b, true
}

// pack adds a change to the batch, unless there is no way to publish it.
func (q *Queue) pack(ctx context.Context, b *batch, key Key, change wire.Change) {
	body := wire.AppendEnd(change.Message, change.Event)
	if limit := q.bus.MaxPayload(); len(body) > limit {
		q.metrics.dropped.WithLabelValues(tooLarge).Inc()
		klog.FromContext(ctx).Error(nil, "Object is larger than the broker's max_payload and is not published", "resource", key.Resource.GroupResource(),
			"object", klog.KRef(key.Namespace, key.Name), "event", change.Event, "bytes", len(body), "maxPayload", limit)
		return
	}
	b.messages = append(b.messages, bus.Message{Subject: wire.SubjectCore, Header: header(change), Body: body})
	b.about = append(b.about, about{key, change.Event, change.Seen})
	b.bytes += len(body)
}

// header of a message: none, as a rule.
func header(change wire.Change) map[string]string {
	if change.Reason == "" {
		return nil
	}
	return map[string]string{wire.HeaderReason: string(change.Reason)}
}

func (q *Queue) confirm(ctx context.Context, b *batch, sent time.Time) {
	if len(b.messages) > 0 {
		q.failure.Store(nil)
	}
	for _, key := range b.keys {
		q.pending.confirm(key)
		q.keys.Forget(key)
		q.keys.Done(key)
	}
	logger := klog.FromContext(ctx)
	logger.V(4).Info("Published", "messages", len(b.messages), "bytes", b.bytes)
	trace, acknowledged := logger.V(5), time.Now()
	for i, about := range b.about {
		q.metrics.published.WithLabelValues(string(about.event)).Inc()
		q.metrics.toSent.Observe(sent.Sub(about.seen).Seconds())
		q.metrics.toAcknowledged.Observe(acknowledged.Sub(about.seen).Seconds())
		if trace.Enabled() {
			trace.Info("Published object", "event", about.event, "resource", about.key.Resource.GroupResource(),
				"object", klog.KRef(about.key.Namespace, about.key.Name), "bytes", len(b.messages[i].Body))
		}
	}
}

func (q *Queue) retry(ctx context.Context, b *batch, err error) {
	q.metrics.retried.Inc()
	logger := klog.FromContext(ctx)
	if before := q.failure.Swap(&err); before != nil && (*before).Error() == err.Error() {
		logger = logger.V(4) // said already
	}
	logger.Info("Not confirmed by the broker, will send again", "messages", len(b.messages), "reason", err.Error())
	for _, key := range b.keys {
		q.pending.restore(key)
		q.keys.AddRateLimited(key)
		q.keys.Done(key)
	}
}
