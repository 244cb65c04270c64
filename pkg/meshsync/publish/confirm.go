package publish

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
)

// confirmAll waits for the answers to what was sent, in order, until nothing is sent any more.
func (q *Queue) confirmAll(ctx context.Context) {
	for b := range q.sent {
		var errs []error
		if b.err == nil {
			errs = b.receipt.Wait(ctx)
		}
		q.answered(ctx, b, errs)
		q.window.land(b)
	}
}

// answered settles every message of a batch on its own: what is refused holds up nothing else.
func (q *Queue) answered(ctx context.Context, b *batch, errs []error) {
	logger, now := klog.FromContext(ctx), time.Now()
	var t tally
	for i := range b.about {
		about := &b.about[i]
		answer := t.count(b, errs, i)
		q.note(about, answer, b.sent, now)
		q.settle(about.key, answer)
		if trace := logger.V(5); answer == confirmed && trace.Enabled() {
			trace.Info("Published object", "event", about.change.Event, "resource", about.key.Resource.GroupResource(),
				"object", klog.KRef(about.key.Namespace, about.key.Name), "bytes", len(b.messages[i].Body))
		}
	}
	if debug := logger.V(4); debug.Enabled() {
		debug.Info("Published", "messages", t.answers[confirmed], "bytes", b.bytes)
	}
	q.conclude(logger, t, now)
}

// tally counts the answers to a batch, and keeps the last error of each kind.
type tally struct {
	answers          [unknown + 1]int
	failure, refusal error
}

func (t *tally) count(b *batch, errs []error, i int) answer {
	err := b.err
	if errs != nil {
		err = errs[i]
	}
	a := confirmed
	switch {
	case err == nil:
	case b.err == nil && errors.Is(err, bus.ErrRefused):
		a, t.refusal = refused, err
	default:
		a, t.failure = unknown, err
	}
	t.answers[a]++
	return a
}

// note counts an answer, and passes on what the core subject has had.
func (q *Queue) note(about *about, a answer, sent, now time.Time) {
	change := &about.change
	switch {
	case a == refused:
		q.metrics.refused.Inc()
	case a == unknown:
		q.metrics.retried.WithLabelValues(classOf(change).String()).Inc()
		return
	case change.repeat.IsZero():
		q.metrics.published.WithLabelValues(string(change.Event)).Inc()
		q.metrics.toSent.Observe(sent.Sub(change.Seen).Seconds())
		q.metrics.toAcknowledged.Observe(now.Sub(change.Seen).Seconds())
	}
	if q.options.OnConfirmed != nil && !change.told {
		q.options.OnConfirmed(about.key, change.Change, now)
	}
}

// settle puts a key back if more is owed under it.
func (q *Queue) settle(key Key, a answer) {
	turn := q.pending.settle(key, a, time.Now())
	if a == confirmed {
		q.keys.Forget(key)
	}
	switch turn {
	case atOnce:
		q.keys.Add(key)
	case backedOff:
		q.keys.AddRateLimited(key)
	}
	q.keys.Done(key)
}

// conclude says what becomes of a batch.
func (q *Queue) conclude(logger klog.Logger, t tally, now time.Time) {
	if t.answers[confirmed]+t.answers[refused] > 0 {
		q.metrics.lastAnswer.Set(float64(now.UnixMilli()) / 1000)
	}
	if t.failure == nil {
		q.failure.Store(nil)
	} else {
		once(logger, &q.failure, t.failure).Info("Not confirmed by the broker, will send again",
			"messages", t.answers[unknown], "reason", t.failure.Error())
	}
	if t.refusal != nil {
		once(logger, &q.refusal, t.refusal).Info("Published, but refused by the state stream, will try again",
			"messages", t.answers[refused], "reason", t.refusal.Error())
	}
}

// once keeps why something fails. What fails for the same reason again and again is said once in plain view.
func once(logger klog.Logger, last *atomic.Pointer[error], reason error) klog.Logger {
	if before := last.Swap(&reason); before != nil && (*before).Error() == reason.Error() {
		return logger.V(4)
	}
	return logger
}
