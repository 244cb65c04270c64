package watch

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

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
func watchCRDs(ctx context.Context, client dynamic.Interface, metadata metadata.Interface, changed func(kind schema.GroupResource, deleted bool)) {
	names := newClient(client, func(resource schema.GroupVersionResource, _ string) dynamic.ResourceInterface {
		return inventory{client.Resource(resource), metadata.Resource(resource), resource.GroupVersion().WithKind("CustomResourceDefinition")}
	})
	factory := dynamicinformer.NewDynamicSharedInformerFactory(names, 0)
	informer := factory.ForResource(crds).Informer()
	logger := klog.FromContext(ctx)

	reported := false // only used by the one goroutine of the reflector
	_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		if !reported && isRefused(err) {
			reported = true
			logger.Info("CustomResourceDefinitions cannot be watched; new kinds are found by looking from time to time",
				"interval", rediscoverInterval, "reason", err.Error())
		}
	})
	_ = informer.SetTransform(func(obj any) (any, error) {
		definition, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return obj, nil
		}
		name := &unstructured.Unstructured{}
		name.SetName(definition.GetName())
		name.SetResourceVersion(definition.GetResourceVersion())
		return name, nil
	})
	_, _ = informer.AddEventHandlerWithOptions(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, isInInitialList bool) {
			if !isInInitialList {
				changed(kindOf(obj), false)
			}
		},
		UpdateFunc: func(old, obj any) {
			if versionOf(old) != versionOf(obj) { // else they were only listed again
				changed(kindOf(obj), false)
			}
		},
		DeleteFunc: func(obj any) { changed(kindOf(obj), true) },
	}, cache.HandlerOptions{Logger: &logger})
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
}

// kindOf is the kind that a definition defines: its name says it.
func kindOf(definition any) schema.GroupResource {
	name, _ := cache.DeletionHandlingObjectToName(definition)
	return schema.ParseGroupResource(name.Name)
}

func versionOf(definition any) string {
	object, err := meta.Accessor(definition)
	if err != nil {
		return ""
	}
	return object.GetResourceVersion()
}
