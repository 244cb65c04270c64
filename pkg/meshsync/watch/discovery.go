package watch

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/watchlist"
)

// Discovery is the part of the discovery client that is used here.
type Discovery interface {
	ServerGroupsAndResourcesWithContext(ctx context.Context) ([]*metav1.APIGroup, []*metav1.APIResourceList, error)
}

// discover asks the API server what it serves. A group whose server does not answer is no error.
func discover(ctx context.Context, client Discovery) (watchlist.Served, error) {
	groups, lists, err := client.ServerGroupsAndResourcesWithContext(ctx)
	silent, partly := discovery.GroupDiscoveryFailedErrorGroups(err)
	if err != nil && !partly {
		return watchlist.Served{}, fmt.Errorf("discover kinds: %w", err)
	}
	return watchlist.NewServed(groups, lists, silent), nil
}

var crds = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// watchCRDs calls changed whenever a custom resource definition was added, changed or deleted, until ctx ends. Only their names
// are kept. Without permission it keeps trying; changes are then found by looking from time to time.
func watchCRDs(ctx context.Context, client *raw.Client, changed func(kind schema.GroupResource, deleted bool)) {
	factory, informer := newInformer(newPatient(direct{
		client:  client,
		scope:   raw.Scope{Resource: crds, MetadataOnly: true},
		handler: &definitions{index: newIndex(""), changed: changed},
	}))
	logger := klog.FromContext(ctx)
	reported := false // only used by the one goroutine of the reflector
	_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		if !reported && isRefused(err) {
			reported = true
			logger.Info("CustomResourceDefinitions cannot be watched; new kinds are found by looking from time to time",
				"interval", rediscoverInterval, "reason", err.Error())
		}
	})
	factory.StartWithContext(ctx)
	<-ctx.Done()
	factory.Shutdown()
}

// definitions are the custom resource definitions that there are.
type definitions struct {
	index   *index
	listed  bool
	changed func(kind schema.GroupResource, deleted bool)
}

// Begin is called before all that are there are taken.
func (d *definitions) Begin() { d.index.begin() }

// Take takes one.
func (d *definitions) Take(event apiwatch.EventType, data []byte) *raw.Object {
	_, id, err := safely(identify, nil, data, false)
	if err != nil {
		d.index.incomplete = true
		return nil
	}
	now := raw.NewObject(id.Namespace, id.Name, id.UID, id.ResourceVersion)
	if event == apiwatch.Deleted {
		if d.index.drop(now) != nil {
			d.changed(kindOf(now), true)
		}
		return now
	}
	switch d.index.meaningOf(d.index.known[now.Key], now) {
	case nothing, outdated:
		d.index.mark(now.Key)
	default:
		d.index.put(now)
		if d.listed {
			d.changed(kindOf(now), false)
		}
	}
	return now
}

// End is called when all that are there were taken.
func (d *definitions) End(resourceVersion string) error {
	gone, err := d.index.end(resourceVersion)
	if err != nil {
		return err
	}
	d.listed = true
	for _, one := range gone {
		d.changed(kindOf(one.Object), true)
	}
	return nil
}

// kindOf is the kind that a definition defines: its name says it.
func kindOf(definition *raw.Object) schema.GroupResource {
	return schema.ParseGroupResource(definition.Key)
}
