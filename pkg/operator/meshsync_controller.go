package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery"
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
	if err != nil || meshSync.DeletionTimestamp != nil {
		return 0, err
	}

	broker, brokerErr := c.target(ctx, meshSync)
	listErr := checkWatchList(meshSync)
	live, applyErr := c.apply(ctx, key.Namespace, controlledBy(meshSync), meshSyncObjects(meshSync, broker, listErr == nil, c.options))
	granted, accessRecheck, accessErr := c.grant(ctx, meshSync, listErr == nil)
	applyErr = errors.Join(brokerErr, listErr, applyErr, accessErr)
	status := meshSyncStatus(meshSync, broker, live, caches.podsOf(key.Namespace, meshSyncSelector(meshSync)), applyErr)
	status.Conditions = append(status.Conditions, forbidden(meshSync, granted, c.options.MeshSyncClusterRole))
	if err := c.writeStatus(ctx, meshSync, status); err != nil {
		return 0, err
	}
	recheck, err := retry(applyErr)
	return sooner(recheck, accessRecheck), err
}

// target finds the broker that the agent is to publish to. Its error is an unavailable: an event of the Broker or of the
// MeshSync ends it.
func (c *meshSyncController) target(ctx context.Context, meshSync *v1alpha1.MeshSync) (target, error) {
	name, native := nativeBroker(meshSync)
	if !native {
		return customTarget(meshSync.Spec.Broker.Custom.URL)
	}
	if name.Namespace != meshSync.Namespace {
		return target{}, &unavailable{v1alpha1.ReasonNamespaceNotServed, fmt.Sprintf(
			"Broker %s lives in another namespace, where its token cannot be used: name one in %s, or use spec.broker.custom", name, meshSync.Namespace)}
	}
	broker, err := c.caches.in(name.Namespace).brokers.Brokers(name.Namespace).Get(name.Name)
	switch {
	case apierrors.IsNotFound(err):
		return target{}, &unavailable{v1alpha1.ReasonBrokerNotFound, fmt.Sprintf("Broker %s does not exist", name)}
	case err != nil:
		return target{}, err
	case broker.Status.Endpoint.Internal == "":
		return target{}, &unavailable{v1alpha1.ReasonBrokerNotReady, fmt.Sprintf("Broker %s has no endpoint yet", name)}
	}
	token, err := c.secret(ctx, cache.NewObjectName(name.Namespace, meshery.BrokerTokenSecret(broker.Name)))
	if apierrors.IsNotFound(err) {
		return target{}, &unavailable{v1alpha1.ReasonBrokerNotReady, fmt.Sprintf("Broker %s has no token yet", name)}
	}
	if err != nil {
		return target{}, fmt.Errorf("read the token of Broker %s: %w", name, err)
	}
	return nativeTarget(broker, token), nil
}

// access says what the agent may read. Its list is what spec.watch-list says; a list without a whitelist is everything that the
// API server serves now, so it is looked at again.
func (c *meshSyncController) access(ctx context.Context, meshSync *v1alpha1.MeshSync) (granted access, recheck time.Duration, err error) {
	list, _, err := watchlist.Parse(meshSync.Spec.WatchList.Data)
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
