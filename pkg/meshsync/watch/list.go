package watch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/watchlist"
)

// Given is a watch-list as somebody gave it.
type Given struct {
	List       *watchlist.List // nil: it cannot be read, and the one before stays in force
	Generation int64           // of the MeshSync; 0 without one
	Err        error           // why what was asked for last cannot be read. There may be an older List all the same
}

// Source delivers the watch-list until ctx ends: once soon, and whenever it has changed.
type Source func(ctx context.Context, deliver func(Given))

// Fixed is a list that never changes.
func Fixed(list watchlist.List) Source {
	return func(_ context.Context, deliver func(Given)) { deliver(Given{List: &list}) }
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// FromConfigMap follows the list in a ConfigMap. Where there has been none yet, the default list is in force.
func FromConfigMap(client dynamic.Interface, namespace, name string) Source {
	return func(ctx context.Context, deliver func(Given)) {
		logger := klog.LoggerWithValues(klog.FromContext(ctx), "configMap", klog.KRef(namespace, name))
		follow(klog.NewContext(ctx, logger), client, namespace, name, deliver)
	}
}

func follow(ctx context.Context, client dynamic.Interface, namespace, name string, deliver func(Given)) {
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(patientClient(client), 0, namespace, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	})
	informer := factory.ForResource(configMaps).Informer()

	// Every trigger reads the store anew, one at a time: what is delivered last is what is there.
	var one sync.Mutex
	given := false
	evaluate := func() {
		one.Lock()
		defer one.Unlock()
		if !informer.HasSynced() {
			return // not there yet is not the same as not there
		}
		obj, exists, _ := informer.GetStore().GetByKey(namespace + "/" + name)
		if !exists && given {
			// Somebody may put it back. And with its MeshSync it goes before the agent does.
			deliver(Given{Err: fmt.Errorf("ConfigMap %s/%s with the watch-list was deleted", namespace, name)})
			return
		}
		if !exists {
			klog.FromContext(ctx).Info("No watch-list given, using the default one")
			deliver(Given{List: new(watchlist.Default())})
			return
		}
		given = true
		deliver(readConfigMap(obj.(*unstructured.Unstructured)))
	}
	_ = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		klog.FromContext(ctx).V(2).Info("Watch-list cannot be followed, will retry", "reason", err.Error())
		if !informer.HasSynced() {
			deliver(Given{Err: fmt.Errorf("read watch-list from ConfigMap %s/%s: %w", namespace, name, err)})
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

func readConfigMap(configMap *unstructured.Unstructured) Given {
	var given Given
	data, _, err := unstructured.NestedStringMap(configMap.Object, "data")
	if err != nil {
		return Given{Err: err} // cannot be: the API server checks it
	}
	annotations := configMap.GetAnnotations()
	given.Generation, _ = strconv.ParseInt(annotations[meshery.AnnotationGeneration], 10, 64)
	if text := annotations[meshery.AnnotationWatchListError]; text != "" {
		given.Err = errors.New(text)
	}
	list, err := watchlist.Parse(data)
	if err != nil {
		given.Err = fmt.Errorf("read watch-list from ConfigMap %s/%s: %w", configMap.GetNamespace(), configMap.GetName(), err)
		return given
	}
	given.List = &list
	return given
}
