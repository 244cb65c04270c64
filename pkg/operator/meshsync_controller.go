package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	mesheryac "meshery.io/operator/pkg/generated/applyconfiguration/meshery/v1alpha1"
)

const meshSyncManager = "meshery-operator-meshsync"

// meshSyncController keeps the objects of every MeshSync as its spec says.
type meshSyncController struct {
	applier
	options *Options
	now     func() metav1.Time
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
	if err != nil || meshSync.DeletionTimestamp != nil {
		return 0, err
	}

	broker, brokerErr := c.target(ctx, meshSync)
	listErr := checkWatchList(meshSync)
	live, applyErr := c.applyNamespaced(ctx, meshSync, broker, listErr == nil)
	applyErr = errors.Join(brokerErr, listErr, applyErr, c.applyClusterScoped(ctx, meshSync))
	if err := c.writeStatus(ctx, meshSync, meshSyncStatus(meshSync, broker, live, caches.podsOf(key.Namespace, meshSyncSelector(meshSync)), applyErr, c.options)); err != nil {
		return 0, err
	}
	return retry(applyErr)
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
	return c.remove(ctx, "Deployment", live, deployments.Delete)
}

func (c *meshSyncController) applyClusterScoped(ctx context.Context, meshSync *v1alpha1.MeshSync) error {
	crd, ok := c.caches.meshSyncCRD()
	if !ok {
		return errors.New("the CRD of MeshSync is gone")
	}
	_, err := c.applyOne(ctx, meshSync.Namespace, madeFor(meshSync), meshSyncClusterRoleBinding(meshSync, crd, c.options))
	return err
}

func (c *meshSyncController) deleteClusterScoped(ctx context.Context, key cache.ObjectName) error {
	name := meshSyncClusterRoleBindingName(key)
	live, err := c.caches.clusterRoleBindings.Get(name)
	if err != nil {
		return ignoreNotFound(err)
	}
	err = c.clients.kube.RbacV1().ClusterRoleBindings().Delete(ctx, name,
		metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(live.UID))})
	if ignoreNotFound(err) != nil {
		return fmt.Errorf("delete ClusterRoleBinding %s: %w", name, err)
	}
	klog.FromContext(ctx).V(2).Info("Deleted object", "kind", "ClusterRoleBinding", "name", name)
	return nil
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
