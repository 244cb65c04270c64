package operator

import (
	"context"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/generated/clientset/versioned"
	meshinformers "meshery.io/operator/pkg/generated/informers/externalversions"
	meshlisters "meshery.io/operator/pkg/generated/listers/meshery/v1alpha1"
)

// clients are the operator's connections to the API server.
type clients struct {
	kube     kubernetes.Interface
	meshery  versioned.Interface
	metadata metadata.Interface
	// grantor writes agents' ClusterRoles as a ServiceAccount that holds the ceiling: the API server lets nobody grant more than
	// he holds.
	grantor kubernetes.Interface
}

// caches is what the operator watches: in every served namespace the custom resources and the objects made for them, and the
// few cluster-scoped objects.
type caches struct {
	// namespaces holds one entry per served namespace, or a single one under metav1.NamespaceAll.
	namespaces          map[string]*namespaceCache
	clusterRoles        rbaclisters.ClusterRoleLister
	clusterRoleBindings rbaclisters.ClusterRoleBindingLister
	ceilings            rbaclisters.ClusterRoleLister // the one ceiling ClusterRole only
	crds                cache.Indexer                 // metadata of the MeshSync CRD only

	informers []cache.SharedIndexInformer
	factories []informerFactory
	handlers  []cache.ResourceEventHandlerRegistration
	running   sync.WaitGroup // of informers
	watched   []watched      // every informer of the above
}

// watched is an informer and what it watches, for metrics.
type watched struct {
	kind     string
	informer cache.SharedIndexInformer
}

// namespaceCache is what the operator watches in one served namespace. All but the custom resources are only those that carry the
// operator's label. Of Secrets that do not, only names and versions are watched, to notice that one changed that a custom
// resource names.
type namespaceCache struct {
	brokers         meshlisters.BrokerLister
	meshSyncs       meshlisters.MeshSyncLister
	configMaps      corelisters.ConfigMapLister
	secrets         corelisters.SecretLister
	services        corelisters.ServiceLister
	serviceAccounts corelisters.ServiceAccountLister
	roles           rbaclisters.RoleLister
	roleBindings    rbaclisters.RoleBindingLister
	statefulSets    appslisters.StatefulSetLister
	deployments     appslisters.DeploymentLister
	disruptions     policylisters.PodDisruptionBudgetLister
	pods            corelisters.PodLister
	earlierBrokers  cache.Indexer // metadata of the Kubebuilder operator's StatefulSet only
}

// podsOf are the pods with the labels of a workload's selector, in one namespace.
func (c *namespaceCache) podsOf(namespace string, selector map[string]string) []*corev1.Pod {
	pods, _ := c.pods.Pods(namespace).List(labels.SelectorFromSet(selector)) // a cache's List cannot fail
	return pods
}

type informerFactory interface {
	StartWithContext(ctx context.Context)
	WaitForCacheSyncWithContext(ctx context.Context) cache.SyncResult
	Shutdown()
}

// in returns the cache that covers a namespace, or nil when the operator does not serve it.
func (c *caches) in(namespace string) *namespaceCache {
	if all, ok := c.namespaces[metav1.NamespaceAll]; ok {
		return all
	}
	return c.namespaces[namespace]
}

// servers are a Broker's, as they are, or nil.
func (c *caches) servers(broker *v1alpha1.Broker) *appsv1.StatefulSet {
	live, err := c.in(broker.Namespace).statefulSets.StatefulSets(broker.Namespace).Get(broker.Name)
	if err != nil || !metav1.IsControlledBy(live, broker) {
		return nil
	}
	return live
}

// publishersTo are the MeshSyncs that name a Broker.
func (c *caches) publishersTo(broker cache.ObjectName) []*v1alpha1.MeshSync {
	var publishers []*v1alpha1.MeshSync
	for _, namespace := range c.namespaces {
		all, _ := namespace.meshSyncs.List(labels.Everything()) // a cache's List of everything cannot fail
		for _, meshSync := range all {
			if name, native := nativeBroker(meshSync); native && name == broker {
				publishers = append(publishers, meshSync)
			}
		}
	}
	return publishers
}

// meshSyncCRD is the CRD that owns cluster-scoped objects of ours, or false while there is none.
func (c *caches) meshSyncCRD() (metav1.Object, bool) {
	for _, object := range c.crds.List() {
		if crd, ok := object.(metav1.Object); ok {
			return crd, true
		}
	}
	return nil, false
}

// ceiling is what the ceiling ClusterRole lets agents have, or false while there is none.
func (c *caches) ceiling() ([]rbacv1.PolicyRule, bool) {
	roles, _ := c.ceilings.List(labels.Everything()) // a cache's List cannot fail
	if len(roles) == 0 {
		return nil, false
	}
	return roles[0].Rules, true
}

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

const meshSyncCRDName = "meshsyncs." + meshery.GroupName

// newCaches sets up all watches and has every event enqueue the custom resource that it is about. Nothing runs until start.
func newCaches(clients clients, namespaces []string, ceiling string, brokers, meshSyncs queue) (*caches, error) {
	c := &caches{namespaces: map[string]*namespaceCache{}}
	e := &enqueuer{caches: c, brokers: brokers, meshSyncs: meshSyncs}
	for _, namespace := range namespaces {
		c.watchNamespace(clients, namespace, e)
	}
	c.watchCluster(clients, ceiling, e)
	return c, e.err
}

func ownedOnly(options *metav1.ListOptions) {
	options.LabelSelector = labels.SelectorFromSet(labels.Set{meshery.LabelManagedBy: meshery.OperatorName}).String()
}

func onlyNamed(name string) func(*metav1.ListOptions) {
	return func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	}
}

func notOwned(options *metav1.ListOptions) {
	options.LabelSelector = meshery.LabelManagedBy + "!=" + meshery.OperatorName
}

func (c *caches) watchNamespace(clients clients, namespace string, e *enqueuer) {
	custom := meshinformers.NewSharedInformerFactoryWithOptions(clients.meshery, 0, meshinformers.WithNamespace(namespace))
	owned := informers.NewSharedInformerFactoryWithOptions(clients.kube, 0,
		informers.WithNamespace(namespace), informers.WithTweakListOptions(ownedOnly))
	c.factories = append(c.factories, custom, owned)
	secrets := metadatainformer.NewFilteredMetadataInformer(clients.metadata, corev1.SchemeGroupVersion.WithResource("secrets"), namespace, 0,
		cache.Indexers{}, notOwned).Informer()
	c.informers = append(c.informers, secrets)
	onMetadata(e, "SecretMetadata", secrets, e.usersSecret)

	earlierBrokers := metadatainformer.NewFilteredMetadataInformer(clients.metadata, appsv1.SchemeGroupVersion.WithResource("statefulsets"), namespace, 0,
		cache.Indexers{}, onlyNamed(earlierBroker)).Informer()
	c.informers = append(c.informers, earlierBrokers)
	on(e, cache.NewTypedSharedIndexInformer[*metav1.PartialObjectMetadata](earlierBrokers), owner[*metav1.PartialObjectMetadata](e))

	resources := custom.Meshery().V1alpha1()
	core, apps, rbac, policy := owned.Core().V1(), owned.Apps().V1(), owned.Rbac().V1(), owned.Policy().V1()
	c.namespaces[namespace] = &namespaceCache{
		brokers:         resources.Brokers().Lister(),
		meshSyncs:       resources.MeshSyncs().Lister(),
		configMaps:      core.ConfigMaps().Lister(),
		secrets:         core.Secrets().Lister(),
		services:        core.Services().Lister(),
		serviceAccounts: core.ServiceAccounts().Lister(),
		roles:           rbac.Roles().Lister(),
		roleBindings:    rbac.RoleBindings().Lister(),
		statefulSets:    apps.StatefulSets().Lister(),
		deployments:     apps.Deployments().Lister(),
		disruptions:     policy.PodDisruptionBudgets().Lister(),
		pods:            core.Pods().Lister(),
		earlierBrokers:  earlierBrokers.GetIndexer(),
	}

	on(e, resources.Brokers().TypedInformer(), e.broker)
	on(e, resources.MeshSyncs().TypedInformer(), e.meshSync)
	onSpec(e, resources.MeshSyncs().TypedInformer(), e.publishersBeside)
	on(e, core.ConfigMaps().TypedInformer(), owner[*corev1.ConfigMap](e))
	on(e, core.Secrets().TypedInformer(), e.secret)
	on(e, core.Services().TypedInformer(), owner[*corev1.Service](e))
	on(e, core.ServiceAccounts().TypedInformer(), owner[*corev1.ServiceAccount](e))
	on(e, rbac.Roles().TypedInformer(), owner[*rbacv1.Role](e))
	on(e, rbac.RoleBindings().TypedInformer(), owner[*rbacv1.RoleBinding](e))
	on(e, policy.PodDisruptionBudgets().TypedInformer(), owner[*policyv1.PodDisruptionBudget](e))
	on(e, core.Pods().TypedInformer(), e.pod)
	on(e, apps.StatefulSets().TypedInformer(), owner[*appsv1.StatefulSet](e))
	on(e, apps.Deployments().TypedInformer(), owner[*appsv1.Deployment](e))
}

func (c *caches) watchCluster(clients clients, ceiling string, e *enqueuer) {
	owned := informers.NewSharedInformerFactoryWithOptions(clients.kube, 0, informers.WithTweakListOptions(ownedOnly))
	c.factories = append(c.factories, owned)
	roles, bindings := owned.Rbac().V1().ClusterRoles(), owned.Rbac().V1().ClusterRoleBindings()
	c.clusterRoles, c.clusterRoleBindings = roles.Lister(), bindings.Lister()
	on(e, roles.TypedInformer(), clusterOwned[*rbacv1.ClusterRole](e))
	on(e, bindings.TypedInformer(), clusterOwned[*rbacv1.ClusterRoleBinding](e))

	named := informers.NewSharedInformerFactoryWithOptions(clients.kube, 0, informers.WithTweakListOptions(onlyNamed(ceiling)))
	c.factories = append(c.factories, named)
	c.ceilings = named.Rbac().V1().ClusterRoles().Lister()
	on(e, named.Rbac().V1().ClusterRoles().TypedInformer(), e.ceiling)

	crds := metadatainformer.NewFilteredMetadataInformer(clients.metadata, crdResource, metav1.NamespaceAll, 0, cache.Indexers{},
		onlyNamed(meshSyncCRDName)).Informer()
	c.crds = crds.GetIndexer()
	c.informers = append(c.informers, crds)
	onMetadata(e, "CustomResourceDefinitionMetadata", crds, e.crd)
}

// start runs all watches and returns when every cache is filled and every handler has seen what was there.
func (c *caches) start(ctx context.Context) error {
	for _, informer := range c.informers {
		c.running.Go(func() { informer.RunWithContext(ctx) })
	}
	for _, factory := range c.factories {
		factory.StartWithContext(ctx)
	}
	for _, factory := range c.factories {
		if err := factory.WaitForCacheSyncWithContext(ctx).AsError(); err != nil {
			return fmt.Errorf("fill caches: %w", err)
		}
	}
	checkers := make([]cache.DoneChecker, 0, len(c.handlers))
	for _, handler := range c.handlers {
		checkers = append(checkers, handler.HasSyncedChecker())
	}
	if !cache.WaitFor(ctx, "", checkers...) {
		return fmt.Errorf("fill caches: %w", context.Cause(ctx))
	}
	return nil
}

// stop returns when no watch is left. ctx of start must have ended.
func (c *caches) stop() {
	for _, factory := range c.factories {
		factory.Shutdown()
	}
	c.running.Wait()
}
