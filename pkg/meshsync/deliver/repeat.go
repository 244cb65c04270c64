package deliver

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/watch"
	"meshery.io/operator/pkg/meshsync/watch/raw"
)

// repeatWhenDue says once more what was published around a break of the connection: others that listen may have lost theirs by the same
// event, and come back later than this agent. What was published before the break may have been on its way.
func (d *Delivery) repeatWhenDue(ctx context.Context) {
	if d.broken.IsZero() {
		return
	}
	select {
	case <-time.After(time.Until(d.restored.Add(d.options.RepeatWindow))):
	case <-ctx.Done():
		return
	}
	if d.repeat(ctx, d.broken.Add(-d.options.RepeatWindow)) == nil {
		d.broken = time.Time{}
		d.recent.Keep(time.Time{})
	}
}

// breaks notes that the connection has broken, unless it is still to be said what was published around the break before.
func (d *Delivery) breaks(now time.Time) {
	if d.broken.IsZero() {
		d.broken = now
		d.recent.Keep(now.Add(-d.options.RepeatWindow))
	}
}

// repeat says on the core subject once more what was said there since a time, as it is now.
func (d *Delivery) repeat(ctx context.Context, since time.Time) error {
	there, gone, complete := d.recent.Between(since, time.Now())
	logger := klog.FromContext(ctx)
	if !complete {
		logger.Info("Who listens may have missed more than is remembered: publishing everything again")
		return d.watcher.Resync(ctx)
	}
	told := map[schema.GroupVersionResource]watch.Told{}
	for resource, keys := range there {
		about := watch.Told{There: make(map[string]bool, len(keys))}
		for _, key := range keys {
			about.There[raw.Key(key.Namespace, key.Name)] = true
		}
		told[resource] = about
	}
	for _, one := range gone {
		about := told[one.Key.Resource]
		about.Gone = append(about.Gone, one.Change)
		told[one.Key.Resource] = about
	}
	if len(told) == 0 {
		return nil
	}
	logger.V(2).Info("Saying once more what who listens may have missed", "kinds", len(told), "gone", len(gone))
	patience, cancel := context.WithTimeout(ctx, repairPatience)
	defer cancel()
	return d.watcher.Repeat(patience, told)
}
