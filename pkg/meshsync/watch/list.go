package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/watchlist"
)

// Given is a watch-list as somebody gave it.
type Given struct {
	List       *watchlist.List   // nil: it cannot be read, and the one before stays in force
	Generation int64             // of the MeshSync; 0 without one
	Delivery   *meshery.Delivery // what stands beside it of how to publish; nil: it cannot be read, and what was said before holds
	Err        error             // why what was asked for last cannot be read. There may be an older List all the same
}

// Source delivers the watch-list until ctx ends: once soon, and whenever it has changed.
type Source func(ctx context.Context, deliver func(Given))

// Fixed is a list that never changes.
func Fixed(list watchlist.List) Source {
	return func(_ context.Context, deliver func(Given)) { deliver(Given{List: &list}) }
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// FromConfigMap follows the list in a ConfigMap. Where there has been none yet, the default list is in force.
func FromConfigMap(client *raw.Client, namespace, name string) Source {
	return func(ctx context.Context, deliver func(Given)) {
		f := &followed{name: klog.KRef(namespace, name), logger: klog.LoggerWithValues(klog.FromContext(ctx), "configMap", klog.KRef(namespace, name)), deliver: deliver}
		factory, informer := newInformer(newPatient(direct{
			client:  client,
			scope:   raw.Scope{Resource: configMaps, Namespace: namespace},
			fields:  fields.OneTermEqualSelector("metadata.name", name).String(),
			handler: f,
		}))
		_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { f.failed(err) })
		factory.StartWithContext(ctx)
		<-ctx.Done()
		factory.Shutdown()
	}
}

// followed is the ConfigMap that the list is in.
type followed struct {
	name    klog.ObjectRef
	logger  klog.Logger
	deliver func(Given)

	mu     sync.Mutex
	there  bool // as far as is known
	given  bool // it has been there
	listed bool // it is known whether it is there
}

// Begin is called before it is taken, if it is there.
func (f *followed) Begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.there = false
}

// Take reads it.
func (f *followed) Take(kind apiwatch.EventType, data []byte) *raw.Object {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.there = kind != apiwatch.Deleted // also if it cannot be read
	var configMap corev1.ConfigMap
	if err := json.Unmarshal(data, &configMap); err != nil {
		f.deliver(Given{Err: fmt.Errorf("read watch-list from ConfigMap %s: %w", f.name, err)})
		return nil
	}
	if f.there {
		f.given = true
		f.deliver(readConfigMap(&configMap))
	} else {
		f.gone()
	}
	return raw.NewObject([]byte(configMap.Namespace), []byte(configMap.Name), []byte(configMap.UID), []byte(configMap.ResourceVersion))
}

// End is called when it must have been taken.
func (f *followed) End(string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listed = true
	if !f.there {
		f.gone()
	}
	return nil
}

// gone does not change the list once there was one: somebody may put it back, and with its MeshSync it goes before the agent does.
func (f *followed) gone() {
	if f.given {
		f.deliver(Given{Err: fmt.Errorf("ConfigMap %s with the watch-list was deleted", f.name)})
		return
	}
	f.logger.Info("No watch-list given, using the default one")
	f.deliver(Given{List: new(watchlist.Default())})
}

func (f *followed) failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logger.V(2).Info("Watch-list cannot be followed, will retry", "reason", err.Error())
	if !f.listed {
		f.deliver(Given{Err: fmt.Errorf("read watch-list from ConfigMap %s: %w", f.name, err)})
	}
}

func readConfigMap(configMap *corev1.ConfigMap) Given {
	var given Given
	given.Generation, _ = strconv.ParseInt(configMap.Annotations[meshery.AnnotationGeneration], 10, 64)
	if text := configMap.Annotations[meshery.AnnotationWatchListError]; text != "" {
		given.Err = errors.New(text)
	}
	if delivery, err := meshery.ParseDelivery(configMap.Data[meshery.DeliveryKey]); err != nil {
		given.Err = err
	} else {
		given.Delivery = &delivery
	}
	list, err := watchlist.Parse(configMap.Data)
	if err != nil {
		given.Err = fmt.Errorf("read watch-list from ConfigMap %s: %w", klog.KObj(configMap), err)
		return given
	}
	given.List = &list
	return given
}
