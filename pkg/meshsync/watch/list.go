package watch

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/watchlist"
)

// Source delivers the watch-list until ctx ends: once soon, and whenever it has changed. An error says why it cannot be read at
// the moment; the list delivered before stays in force then.
type Source func(ctx context.Context, deliver func(watchlist.List, error))

// Fixed is a list that never changes.
func Fixed(list watchlist.List) Source {
	return func(_ context.Context, deliver func(watchlist.List, error)) { deliver(list, nil) }
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// FromConfigMap follows the list in a ConfigMap. Where there is none, the default list is in force.
func FromConfigMap(client dynamic.Interface, namespace, name string) Source {
	return func(ctx context.Context, deliver func(watchlist.List, error)) {
		logger := klog.LoggerWithValues(klog.FromContext(ctx), "configMap", klog.KRef(namespace, name))
		follow(klog.NewContext(ctx, logger), client, namespace, name, deliver)
	}
}

func follow(ctx context.Context, client dynamic.Interface, namespace, name string, deliver func(watchlist.List, error)) {
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	})
	informer := factory.ForResource(configMaps).Informer()

	// Every trigger reads the store anew, one at a time: what is delivered last is what is there.
	var one sync.Mutex
	evaluate := func() {
		one.Lock()
		defer one.Unlock()
		if !informer.HasSynced() {
			return // not there yet is not the same as not there
		}
		obj, exists, _ := informer.GetStore().GetByKey(namespace + "/" + name)
		if !exists {
			klog.FromContext(ctx).Info("No watch-list given, using the default one")
			deliver(watchlist.Default(), nil)
			return
		}
		deliver(readConfigMap(ctx, obj.(*unstructured.Unstructured)))
	}
	_ = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		klog.FromContext(ctx).V(2).Info("Watch-list cannot be followed, will retry", "reason", err.Error())
		if !informer.HasSynced() {
			deliver(watchlist.List{}, fmt.Errorf("read watch-list from ConfigMap %s/%s: %w", namespace, name, err))
		}
	})
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { evaluate() },
		UpdateFunc: func(any, any) { evaluate() },
		DeleteFunc: func(any) { evaluate() },
	})
	factory.Start(ctx.Done())
	if cache.WaitFor(ctx, "", informer.HasSyncedChecker()) {
		evaluate()
	}
	<-ctx.Done()
	factory.Shutdown()
}

func readConfigMap(ctx context.Context, configMap *unstructured.Unstructured) (watchlist.List, error) {
	data, _, err := unstructured.NestedStringMap(configMap.Object, "data")
	if err != nil {
		return watchlist.List{}, err // cannot be: the API server checks it
	}
	list, problems, err := watchlist.Parse(data)
	for _, problem := range problems {
		klog.FromContext(ctx).Info("Part of the watch-list is left out", "problem", problem.String())
	}
	if err != nil {
		return list, fmt.Errorf("read watch-list from ConfigMap %s/%s: %w", configMap.GetNamespace(), configMap.GetName(), err)
	}
	return list, nil
}
