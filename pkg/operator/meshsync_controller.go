package operator

import (
	"context"
	"errors"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	mesheryac "meshery.io/operator/pkg/generated/applyconfiguration/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

const meshSyncManager = "meshery-operator-meshsync"

// meshSyncController keeps the objects of every MeshSync as its spec says.
type meshSyncController struct {
	applier
	options *Options
	now     func() metav1.Time
	served  *servedKinds
}

func (c *meshSyncController) sync(ctx context.Context, key cache.ObjectName) (time.Duration, error) {
	caches := c.caches.in(key.Namespace)
	if caches == nil {
		return 0, nil // a cluster-scoped object of a namespace that another operator serves
	}
	meshSync, err := caches.meshSyncs.MeshSyncs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return 0, c.deleteClusterScoped(ctx, key) // all else goes by its owner reference
	}
	if err != nil {
		return 0, err
	}
	err = removeFinalizer(ctx, &c.applier, "MeshSync", meshSync, earlierMeshSyncFinalizer, c.clients.meshery.MesheryV1alpha1().MeshSyncs(key.Namespace))
	if err != nil || meshSync.DeletionTimestamp != nil {
		return 0, err
	}

	broker, brokerErr := c.target(ctx, meshSync)
	listErr := checkWatchList(meshSync)
	live, applyErr := c.applyNamespaced(ctx, meshSync, broker, listErr == nil)
	granted, accessRecheck, accessErr := c.grant(ctx, meshSync, listErr == nil, !isForeign(applyErr))
	applyErr = errors.Join(brokerErr, listErr, applyErr, accessErr)
	status := meshSyncStatus(meshSync, broker, live, caches.podsOf(key.Namespace, meshSyncSelector(meshSync)), applyErr, c.options)
	status.Conditions = append(status.Conditions, forbidden(meshSync, granted, c.options.MeshSyncClusterRole))
	if err := c.writeStatus(ctx, meshSync, status); err != nil {
		return 0, err
	}
	recheck, err := retry(applyErr)
	return soonest(recheck, accessRecheck), err
}

// applyNamespaced brings the objects of the MeshSync's namespace into the wanted state, and returns what there is of them.
func (c *meshSyncController) applyNamespaced(ctx context.Context, meshSync *v1alpha1.MeshSync, broker target, watchListOK bool) ([]metav1.Object, error) {
	var replaceErr, copyErr error
	if broker.url != "" {
		replaceErr = c.removeOtherDeployment(ctx, meshSync)
	}
	live, err := c.apply(ctx, meshSync.Namespace, controlledBy(meshSync), meshSyncObjects(meshSync, broker, watchListOK, c.options))
	if broker.url != "" && err == nil {
		copyErr = c.removeCopy(ctx, meshSync)
	}
	if find[*appsv1.Deployment](live, meshSync.Name) == nil { // it was not touched: the agent goes on as it is
		present, err := c.caches.in(meshSync.Namespace).deployments.Deployments(meshSync.Namespace).Get(meshSync.Name)
		if err == nil && controlledBy(meshSync)(present) {
			live = append(live, present)
		}
	}
	return live, errors.Join(replaceErr, err, copyErr)
}

// removeOtherDeployment deletes the agent's Deployment where its selector is another than ours, such as an earlier operator's: a
// selector cannot be changed.
func (c *meshSyncController) removeOtherDeployment(ctx context.Context, meshSync *v1alpha1.MeshSync) error {
	deployments := c.clients.kube.AppsV1().Deployments(meshSync.Namespace)
	live, err := c.caches.in(meshSync.Namespace).deployments.Deployments(meshSync.Namespace).Get(meshSync.Name)
	if apierrors.IsNotFound(err) { // an earlier operator's has no label of ours
		live, err = deployments.Get(ctx, meshSync.Name, metav1.GetOptions{})
	}
	if err != nil {
		return ignoreNotFound(err)
	}
	if !controlledBy(meshSync)(live) || equality.Semantic.DeepEqual(live.Spec.Selector, &metav1.LabelSelector{MatchLabels: meshSyncSelector(meshSync)}) {
		return nil
	}
	return c.remove(ctx, "Deployment", live, deployments)
}

// access says what the agent may read. A list without a whitelist is everything that the API server serves now, so it is looked at
// again.
func (c *meshSyncController) access(ctx context.Context, meshSync *v1alpha1.MeshSync) (granted access, recheck time.Duration, err error) {
	_, data := watchListOf(meshSync)
	list, _, err := watchlist.Parse(data)
	if err != nil {
		return access{}, 0, err
	}
	var served []schema.GroupVersionResource
	if list.Everything() {
		recheck = servedKindsAge
		if served, err = c.served.get(ctx); err != nil {
			return access{}, recheck, err
		}
	}
	return meshSyncAccess(list, meshSync.Spec.Sessions, served, c.caches.ceiling()), recheck, nil
}

func (c *meshSyncController) writeStatus(ctx context.Context, meshSync *v1alpha1.MeshSync, want v1alpha1.MeshSyncStatus) error {
	present := meshSync.Status
	keepTransitionTimes(want.Conditions, present.Conditions, c.now())
	if want.PublishingTo == present.PublishingTo && sameConditions(want.Conditions, present.Conditions) {
		return nil
	}
	status := mesheryac.MeshSyncStatus().WithPublishingTo(want.PublishingTo).WithConditions(applyConditions(want.Conditions)...)
	_, err := c.clients.meshery.MesheryV1alpha1().MeshSyncs(meshSync.Namespace).ApplyStatus(ctx,
		mesheryac.MeshSync(meshSync.Name, meshSync.Namespace).WithStatus(status),
		metav1.ApplyOptions{FieldManager: c.manager, Force: true})
	return c.wroteStatus(ctx, "MeshSync", meshSync, present.Conditions, want.Conditions, err)
}
