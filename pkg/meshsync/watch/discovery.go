package watch

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Discovery is the part of the discovery client that is used here.
type Discovery interface {
	ServerGroupsAndResourcesWithContext(ctx context.Context) ([]*metav1.APIGroup, []*metav1.APIResourceList, error)
}

// discover asks the API server what it serves. Of the group versions in unknown nothing could be found out at the moment, because
// the server behind them does not answer; that is not an error.
func discover(ctx context.Context, client Discovery) (served []Served, unknown map[schema.GroupVersion]error, err error) {
	groups, lists, err := client.ServerGroupsAndResourcesWithContext(ctx)
	if failed, ok := discovery.GroupDiscoveryFailedErrorGroups(err); ok {
		unknown, err = failed, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("discover kinds: %w", err)
	}
	return servedKinds(groups, lists), unknown, nil
}

// servedKinds flattens what discovery returns. Subresources are left out.
func servedKinds(groups []*metav1.APIGroup, lists []*metav1.APIResourceList) []Served {
	var served []Served
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue // a group version that the API server itself cannot route
		}
		for _, resource := range list.APIResources {
			if strings.Contains(resource.Name, "/") {
				continue
			}
			served = append(served, Served{
				Resource:  gv.WithResource(resource.Name),
				Kind:      resource.Kind,
				Singular:  resource.SingularName,
				Watchable: slices.Contains(resource.Verbs, "list") && slices.Contains(resource.Verbs, "watch"),
			})
		}
	}
	markPreferred(served, groups)
	return served
}

// markPreferred marks one version of each kind: the one that the group prefers, or the most stable one that serves the kind.
func markPreferred(served []Served, groups []*metav1.APIGroup) {
	preferred := map[schema.GroupVersion]bool{}
	for _, group := range groups {
		preferred[schema.GroupVersion{Group: group.Name, Version: group.PreferredVersion.Version}] = true
	}
	better := func(a, b schema.GroupVersionResource) bool {
		if preferred[a.GroupVersion()] != preferred[b.GroupVersion()] {
			return preferred[a.GroupVersion()]
		}
		return version.CompareKubeAwareVersionStrings(a.Version, b.Version) > 0
	}
	best := map[schema.GroupResource]int{}
	for i, kind := range served {
		known, ok := best[kind.Resource.GroupResource()]
		if !ok || better(kind.Resource, served[known].Resource) {
			best[kind.Resource.GroupResource()] = i
		}
	}
	for _, i := range best {
		served[i].Preferred = true
	}
}

var crds = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// watchCRDs calls changed whenever a custom resource definition was added, changed or deleted, until ctx ends. Only their names
// are kept. Without permission it keeps trying; changes are then found by looking from time to time.
func watchCRDs(ctx context.Context, client metadata.Interface, changed func()) {
	factory := metadatainformer.NewSharedInformerFactory(client, 0)
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
		if definition, ok := obj.(*metav1.PartialObjectMetadata); ok {
			return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: definition.Name, ResourceVersion: definition.ResourceVersion}}, nil
		}
		return obj, nil
	})
	_, _ = informer.AddEventHandlerWithOptions(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(_ any, isInInitialList bool) {
			if !isInInitialList {
				changed()
			}
		},
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	}, cache.HandlerOptions{Logger: &logger})
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
}
