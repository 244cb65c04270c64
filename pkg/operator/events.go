package operator

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// object is what handlers and owned objects need to know of an API object.
type object interface {
	comparable
	metav1.Object
}

// enqueuer knows which custom resource an event is about. Handlers do nothing but enqueue.
type enqueuer struct {
	caches             *caches
	brokers, meshSyncs queue
	err                error // the first handler that could not be registered
}

// on calls enqueue for every object that appears, changes or goes.
func on[T object](e *enqueuer, informer cache.TypedSharedIndexInformer[T], enqueue func(T)) {
	registration, err := informer.AddTypedEventHandler(cache.TypedResourceEventHandlerFuncs[T]{
		AddFunc: enqueue,
		UpdateFunc: func(old, updated T) {
			if old.GetResourceVersion() != updated.GetResourceVersion() {
				enqueue(updated)
			}
		},
		DeleteFunc: func(deleted cache.DeletedObject[T]) {
			var none T
			if deleted.OptionalObj != none {
				enqueue(deleted.OptionalObj)
			}
		},
	})
	if err != nil && e.err == nil {
		e.err = err
	}
	e.caches.handlers = append(e.caches.handlers, registration)
}

// broker enqueues a Broker and the MeshSyncs that publish to it.
func (e *enqueuer) broker(broker *v1alpha1.Broker) { e.brokerNamed(cache.MetaObjectToName(broker)) }

func (e *enqueuer) brokerNamed(key cache.ObjectName) {
	e.brokers.Add(key)
	for _, namespace := range e.caches.namespaces {
		all, _ := namespace.meshSyncs.List(labels.Everything()) // a cache's List of everything cannot fail
		for _, meshSync := range all {
			if name, native := nativeBroker(meshSync); native && name == key {
				e.meshSync(meshSync)
			}
		}
	}
}

func (e *enqueuer) meshSync(meshSync *v1alpha1.MeshSync) {
	e.meshSyncs.Add(cache.MetaObjectToName(meshSync))
}

// owner enqueues the custom resource that controls an object.
func owner[T object](e *enqueuer) func(T) {
	return func(owned T) {
		controller := metav1.GetControllerOfNoCopy(owned)
		if controller == nil {
			return
		}
		key := cache.ObjectName{Namespace: owned.GetNamespace(), Name: controller.Name}
		switch {
		case isKind(controller, brokerKind):
			e.brokerNamed(key) // its token concerns the agents
		case isKind(controller, meshSyncKind):
			e.meshSyncs.Add(key)
		}
	}
}

// clusterOwned enqueues the MeshSync that a cluster-scoped object was made for, which may be long gone.
func (e *enqueuer) clusterOwned(binding *rbacv1.ClusterRoleBinding) {
	if key, ok := ownerOfClusterScoped(binding); ok {
		e.meshSyncs.Add(key)
	}
}

// crd enqueues every MeshSync: a new CRD object has another UID, which cluster-scoped objects of ours must refer to.
func (e *enqueuer) crd(*metav1.PartialObjectMetadata) {
	for _, namespace := range e.caches.namespaces {
		all, _ := namespace.meshSyncs.List(labels.Everything())
		for _, meshSync := range all {
			e.meshSync(meshSync)
		}
	}
}
