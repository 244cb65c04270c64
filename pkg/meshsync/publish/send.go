package publish

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

// sendAll sends what is owed until ctx ends.
func (q *Queue) sendAll(ctx context.Context) {
	for {
		key, quit := q.keys.Get()
		if quit || q.pace.wait(ctx) != nil {
			return
		}
		// While nothing may be sent the changes stay where they can still be merged.
		b := q.window.enter(ctx)
		if b == nil {
			return
		}
		q.pack(ctx, b, key)
		q.send(ctx, b)
	}
}

// pack fills a batch with a change under the key, and under what other keys are ready. There is one caller, so no other can take what Len
// has counted.
func (q *Queue) pack(ctx context.Context, b *batch, key Key) {
	messages, bytes := q.pace.most(b.mostMessages, b.mostBytes)
	records := b.outlet.KeepsRecords()
	b.sent = time.Now()
	for {
		q.add(ctx, b, key, records)
		if len(b.messages) >= messages || b.bytes >= bytes || q.keys.Len() == 0 {
			return
		}
		var quit bool
		if key, quit = q.keys.Get(); quit {
			return
		}
	}
}

// add adds what is to be sent next under a key, if there is anything and a way to send it.
func (q *Queue) add(ctx context.Context, b *batch, key Key, records bool) {
	change, later, ok := q.pending.take(key, b.sent, records)
	if !ok {
		if later > 0 {
			q.keys.AddAfter(key, later)
		}
		q.keys.Done(key)
		return
	}
	body, fits := q.fit(ctx, key, wire.AppendEnd(change.Message, change.Event), b.outlet.MaxPayload())
	if !fits {
		q.settle(key, confirmed)
		return
	}
	message := bus.Message{Subject: wire.SubjectCore, Body: body, Told: change.told}
	if records && !change.CoreOnly {
		message.Record = q.record(key, &change)
	}
	b.messages = append(b.messages, message)
	b.about = append(b.about, about{key, change})
	b.bytes += len(body)
}

// record makes what a state stream keeps. Of an object that is gone that is little.
func (q *Queue) record(key Key, change *owed) *bus.Record {
	record := q.options.Record(key, change.Change)
	if record != nil && change.Gone != nil {
		record.Body = wire.AppendEnd(change.Gone, change.Event)
	}
	return record
}

// fit makes a message small enough for the broker.
func (q *Queue) fit(ctx context.Context, key Key, body []byte, limit int) (fitting []byte, ok bool) {
	if len(body) <= limit {
		return body, true
	}
	logger := klog.LoggerWithValues(klog.FromContext(ctx), "resource", key.Resource.GroupResource(),
		"object", klog.KRef(key.Namespace, key.Name), "bytes", len(body), "maxPayload", limit)
	if q.options.Trim != nil {
		if trimmed, without, ok := q.options.Trim(body, limit); ok {
			q.metrics.trimmed.Inc()
			logger.V(2).Info("Object is larger than the broker's max_payload and is published without a part", "without", without)
			if q.options.OnTrimmed != nil {
				q.options.OnTrimmed(key, without)
			}
			return trimmed, true
		}
	}
	q.metrics.dropped.WithLabelValues(tooLarge).Inc()
	logger.Error(nil, "Object is larger than the broker's max_payload and is not published")
	return nil, false
}

// send sends a batch, and leaves it to confirmAll.
func (q *Queue) send(ctx context.Context, b *batch) {
	q.window.depart(b)
	if len(b.messages) == 0 {
		q.window.land(b)
		return
	}
	q.pace.spend(len(b.messages), b.bytes)
	b.receipt, b.err = b.outlet.Send(ctx, b.messages...)
	q.sent <- b
}
