package deliver

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/publish"
	"meshery.io/operator/pkg/meshsync/watch"
	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
)

// holding reads what the stream holds.
func holding(ctx context.Context, stream *bus.Stream) (watch.Holding, error) {
	held, unreadable := watch.Holding{}, 0
	err := stream.Records(ctx, func(subject string, header map[string][]string) {
		resource, namespace, name, err := wire.ParseStateSubject(subject)
		if err != nil {
			unreadable++
			return
		}
		record, err := wire.ParseRecord(header)
		switch {
		case err != nil:
			unreadable++
			return
		case record.Event == wire.Deleted:
			return
		}
		object := raw.NewObject([]byte(namespace), []byte(name), []byte(record.UID), []byte(record.ResourceVersion))
		object.Content = record.Content
		held[resource] = append(held[resource], watch.Held{Object: object, Kind: record.Kind, Form: record.Form})
	})
	if unreadable > 0 {
		klog.FromContext(ctx).Info("The state stream has records that are not an agent's", "records", unreadable)
	}
	return held, err
}

// inherit lets the watches begin with what the stream holds.
func (d *Delivery) inherit(ctx context.Context) error {
	held, err := holding(ctx, d.stream)
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("The state stream was read, only what differs will be published", "objects", held.Len())
	d.watcher.Inherit(held)
	return nil
}

// compare finds out what the stream does not hold as it was offered. The queue must be paused.
func (d *Delivery) compare(ctx context.Context) (*watch.Difference, error) {
	held, err := holding(ctx, d.stream)
	if err != nil {
		return nil, err
	}
	found := d.watcher.Compare(held, func(resource schema.GroupVersionResource, namespace, name string) bool {
		return d.queue.Owes(publish.Key{Resource: resource, Namespace: namespace, Name: name})
	})
	d.metrics.compared(found)
	logger := klog.FromContext(ctx)
	if found.None() {
		logger.V(2).Info("The state stream holds what it was sent", "objects", held.Len())
	} else {
		logger.Info("The state stream is repaired", "held", held.Len(), "missing", found.Missing, "changed", found.Changed, "gone", found.Gone)
	}
	return found, nil
}
