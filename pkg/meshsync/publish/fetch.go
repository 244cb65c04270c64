package publish

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
)

// A kind whose list fails waits 1 s, 2 s, 4 s, … 1 min.
const (
	fetchRetryFirst = time.Second
	fetchRetryLast  = time.Minute
)

// fetchAll fetches messages that there was no room for, one kind at a time, until ctx ends: while they can be sent, and not before half of
// the room is free, for a list costs the API server much more than it brings then.
func (q *Queue) fetchAll(ctx context.Context) {
	for {
		resource, quit := q.kinds.Get()
		if quit || !q.window.awaitOpen(ctx) {
			return
		}
		select {
		case <-q.pending.half():
			q.fetch(ctx, resource)
		case <-ctx.Done():
			return
		}
		q.kinds.Done(resource)
	}
}

func (q *Queue) fetch(ctx context.Context, resource schema.GroupVersionResource) {
	if !q.pending.startFetch(resource) {
		q.kinds.Forget(resource)
		return
	}
	q.metrics.fetches.Inc()
	err := q.options.Fetch(ctx, resource, func(namespace, name string) bool {
		return q.pending.wants(Key{Resource: resource, Namespace: namespace, Name: name})
	})
	if err != nil {
		klog.FromContext(ctx).Info("Objects that there was no room for cannot be read, will try again", "resource", resource.GroupResource(), "reason", err.Error())
		q.kinds.AddRateLimited(resource)
		return
	}
	q.kinds.Forget(resource)
	if q.pending.endFetch(resource) {
		q.kinds.Add(resource)
	}
}
