package operator

import (
	"context"
	"errors"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	mesheryac "meshery.io/operator/pkg/generated/applyconfiguration/meshery/v1alpha1"
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
		return 0, c.revokeElsewhere(ctx, key)
	}
	meshSync, err := caches.meshSyncs.MeshSyncs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return 0, c.revoke(ctx, key) // all else goes by its owner reference
	}
	if err != nil {
		return 0, err
	}
	err = removeFinalizer(ctx, &c.applier, "MeshSync", meshSync, earlierMeshSyncFinalizer, c.clients.meshery.MesheryV1alpha1().MeshSyncs(key.Namespace))
	if err != nil {
		return 0, err
	}
	if meshSync.DeletionTimestamp != nil { // a finalizer of somebody's may keep it for long
		return 0, c.revoke(ctx, key)
	}

	broker, brokerErr := c.target(ctx, meshSync)
	view, applyErr := c.write(ctx, meshSync, broker)
	if apierrors.IsConflict(applyErr) {
		return 0, applyErr // the cache is behind: nothing to tell
	}
	err = errors.Join(brokerErr, checkWatchList(meshSync), applyErr)
	if err := c.writeStatus(ctx, meshSync, meshSyncStatus(meshSync, broker, view, err, c.options)); err != nil {
		return 0, err
	}
	recheck, err := retry(err)
	return soonest(recheck, view.recheck), err
}

// write brings the MeshSync's objects into the wanted state and returns what there is of them. Without an account that is known to
// be ours nothing else is written: an agent would run under it, and have its rights.
func (c *meshSyncController) write(ctx context.Context, meshSync *v1alpha1.MeshSync, broker target) (*meshSyncView, error) {
	caches := c.caches.in(meshSync.Namespace)
	view := &meshSyncView{pods: caches.podsOf(meshSync.Namespace, meshSyncSelector(meshSync))}
	defer func() { // one that was not touched goes on as it is
		present, err := caches.deployments.Deployments(meshSync.Namespace).Get(meshSync.Name)
		if view.deployment == nil && err == nil && controlledBy(meshSync)(present) {
			view.deployment = present
		}
	}()
	err := c.applyInTurn(ctx, meshSync.Namespace, controlledBy(meshSync), meshSyncAccount(meshSync))
	if err != nil {
		if isForeign(err) {
			err = errors.Join(err, c.revoke(ctx, cache.MetaObjectToName(meshSync)))
		}
		return view, err
	}
	if view.watchList, err = c.dataInForce(ctx, meshSync, broker); err != nil {
		return view, err
	}
	grantErr := c.grant(ctx, meshSync, view) // before the agent hears of a new list: what it names it may then read
	var replaceErr, copyErr error
	if broker.url != "" {
		replaceErr = c.removeOtherDeployment(ctx, meshSync)
	}
	live, err := c.apply(ctx, meshSync.Namespace, controlledBy(meshSync), meshSyncObjects(meshSync, broker, view.watchList, c.options))
	if broker.url != "" && err == nil {
		copyErr = c.removeCopy(ctx, meshSync)
	}
	view.deployment = find[*appsv1.Deployment](live, meshSync.Name)
	return view, errors.Join(grantErr, replaceErr, err, copyErr)
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
