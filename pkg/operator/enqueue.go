package operator

import (
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery"
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

// on calls enqueue for every object that appears, changes or goes. One that may have changed hands is enqueued as what it was too.
func on[T object](e *enqueuer, informer cache.TypedSharedIndexInformer[T], enqueue func(T)) {
	onKind(e, reflect.TypeFor[T]().Elem().Name(), informer, enqueue)
}

// onMetadata is on for objects of which only the metadata are watched, which do not say what kind they are.
func onMetadata(e *enqueuer, kind string, informer cache.SharedIndexInformer, enqueue func(*metav1.PartialObjectMetadata)) {
	onKind(e, kind, cache.NewTypedSharedIndexInformer[*metav1.PartialObjectMetadata](informer), enqueue)
}

// onSpec calls enqueue for every object that appears or goes, and for one with another spec, as it was and as it is.
func onSpec[T object](e *enqueuer, informer cache.TypedSharedIndexInformer[T], enqueue func(T)) {
	e.registered(informer.AddTypedEventHandler(cache.TypedResourceEventHandlerFuncs[T]{
		AddFunc: enqueue,
		UpdateFunc: func(old, updated T) {
			if old.GetGeneration() != updated.GetGeneration() {
				enqueue(old)
				enqueue(updated)
			}
		},
		DeleteFunc: ifKnown(enqueue),
	}))
}

// ifKnown is for what was deleted. Its last state may not be known.
func ifKnown[T object](enqueue func(T)) func(cache.DeletedObject[T]) {
	return func(deleted cache.DeletedObject[T]) {
		var none T
		if deleted.OptionalObj != none {
			enqueue(deleted.OptionalObj)
		}
	}
}

func (e *enqueuer) registered(handler cache.ResourceEventHandlerRegistration, err error) {
	if err != nil && e.err == nil {
		e.err = err
	}
	e.caches.handlers = append(e.caches.handlers, handler)
}

func onKind[T object](e *enqueuer, kind string, informer cache.TypedSharedIndexInformer[T], enqueue func(T)) {
	e.registered(informer.AddTypedEventHandler(cache.TypedResourceEventHandlerFuncs[T]{
		AddFunc: enqueue,
		UpdateFunc: func(old, updated T) {
			if old.GetResourceVersion() == updated.GetResourceVersion() {
				return
			}
			if !reflect.DeepEqual(old.GetOwnerReferences(), updated.GetOwnerReferences()) || !maps.Equal(old.GetLabels(), updated.GetLabels()) {
				enqueue(old)
			}
			enqueue(updated)
		},
		DeleteFunc: ifKnown(enqueue),
	}))
	e.caches.watched = append(e.caches.watched, watched{kind, informer})
}

// broker enqueues a Broker and the MeshSyncs that publish to it.
func (e *enqueuer) broker(broker *v1alpha1.Broker) { e.brokerNamed(cache.MetaObjectToName(broker)) }

func (e *enqueuer) brokerNamed(key cache.ObjectName) {
	e.brokers.Add(key)
	e.publishersTo(key)
}

func (e *enqueuer) publishersTo(broker cache.ObjectName) {
	for _, meshSync := range e.caches.publishersTo(broker) {
		e.meshSync(meshSync)
	}
}

// publishersBeside enqueues all that publish to a MeshSync's Broker: they share what it can store.
func (e *enqueuer) publishersBeside(meshSync *v1alpha1.MeshSync) {
	if broker, native := nativeBroker(meshSync); native {
		e.publishersTo(broker)
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

// pod enqueues the custom resource that a pod works for: its labels say which, because its controller is a workload.
func (e *enqueuer) pod(pod *corev1.Pod) {
	key := cache.ObjectName{Namespace: pod.Namespace, Name: pod.Labels[meshery.LabelInstance]}
	switch pod.Labels[meshery.LabelApp] {
	case meshery.AppBroker:
		e.brokers.Add(key)
	case meshery.AppMeshSync:
		e.meshSyncs.Add(key)
	}
}

// secret enqueues what a Secret of the operator's was made for, and what names it: a user may use it elsewhere too.
func (e *enqueuer) secret(secret *corev1.Secret) {
	owner[*corev1.Secret](e)(secret)
	e.namedSecret(secret)
}

// usersSecret enqueues what a Secret that the operator did not make is for.
func (e *enqueuer) usersSecret(secret *metav1.PartialObjectMetadata) { e.namedSecret(secret) }

func (e *enqueuer) namedSecret(object metav1.Object) {
	secret := cache.MetaObjectToName(object)
	cached := e.caches.in(secret.Namespace)
	brokers, _ := cached.brokers.Brokers(secret.Namespace).List(labels.Everything()) // a cache's List of everything cannot fail
	for _, broker := range brokers {
		if slices.Contains(usersSecretsOfBroker(broker), secret.Name) {
			e.broker(broker)
		}
	}
	meshSyncs, _ := cached.meshSyncs.MeshSyncs(secret.Namespace).List(labels.Everything())
	for _, meshSync := range meshSyncs {
		if reference := meshSync.Spec.Broker.Custom.SecretRef; reference != nil && reference.Name == secret.Name {
			e.meshSync(meshSync)
		}
	}
}

// usersSecretsOfBroker are the names under which a user may have made a Secret for a Broker.
func usersSecretsOfBroker(broker *v1alpha1.Broker) []string {
	var names []string
	for _, secret := range brokerSecrets(broker) {
		names = append(names, secret.name)
	}
	if broker.Spec.TLS != nil {
		names = append(names, broker.Spec.TLS.SecretName)
	}
	return names
}

// clusterOwned enqueues the MeshSync that a cluster-scoped object was made for, which may be long gone.
func clusterOwned[T object](e *enqueuer) func(T) {
	return func(owned T) {
		if key, ok := ownerOfClusterScoped(owned); ok {
			e.meshSyncs.Add(key)
		}
	}
}

// ceiling enqueues every MeshSync: what their agents may read depends on it.
func (e *enqueuer) ceiling(*rbacv1.ClusterRole) { e.everyMeshSync() }

// crd enqueues every MeshSync: a new CRD object has another UID, which cluster-scoped objects of ours must refer to.
func (e *enqueuer) crd(*metav1.PartialObjectMetadata) { e.everyMeshSync() }

func (e *enqueuer) everyMeshSync() {
	for _, namespace := range e.caches.namespaces {
		all, _ := namespace.meshSyncs.List(labels.Everything())
		for _, meshSync := range all {
			e.meshSync(meshSync)
		}
	}
}
