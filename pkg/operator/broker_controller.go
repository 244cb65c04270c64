package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	mesheryac "meshery.io/operator/pkg/generated/applyconfiguration/meshery/v1alpha1"
)

const brokerManager = "meshery-operator-broker"

// brokerController keeps the objects of every Broker as its spec says.
type brokerController struct {
	applier
	options *Options
	now     func() metav1.Time
}

func (c *brokerController) sync(ctx context.Context, key cache.ObjectName) (time.Duration, error) {
	caches := c.caches.in(key.Namespace)
	broker, err := caches.brokers.Brokers(key.Namespace).Get(key.Name)
	if err != nil {
		return 0, ignoreNotFound(err) // gone: owner references clean up
	}
	if broker.DeletionTimestamp != nil {
		return 0, nil
	}
	applyErr := errors.Join(
		c.createSecrets(ctx, broker),
		c.apply(ctx, broker.Namespace, controlledBy(broker), brokerObjects(broker, c.options)),
	)
	observed, err := c.observe(broker)
	if err != nil {
		return 0, err
	}
	if err := c.writeStatus(ctx, broker, brokerStatus(broker, observed, applyErr, c.options)); err != nil {
		return 0, err
	}
	return retry(applyErr)
}

// createSecrets makes the Broker's Secrets where there are none. One that is there keeps its value, whoever made it: clients
// know it.
func (c *brokerController) createSecrets(ctx context.Context, broker *v1alpha1.Broker) error {
	var errs []error
	for _, secret := range brokerSecrets(broker) {
		if err := c.createSecret(ctx, broker, secret); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *brokerController) createSecret(ctx context.Context, broker *v1alpha1.Broker, want secretSpec) error {
	secrets := c.clients.kube.CoreV1().Secrets(broker.Namespace)
	live, err := c.caches.in(broker.Namespace).secrets.Secrets(broker.Namespace).Get(want.name)
	if apierrors.IsNotFound(err) {
		live, err = secrets.Get(ctx, want.name, metav1.GetOptions{})
	}
	switch {
	case err == nil && len(live.Data[want.key]) == 0:
		return fmt.Errorf("secret %s has no key %q: add it, or delete the Secret to have one generated", want.name, want.key)
	case err == nil:
		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("read Secret %s: %w", want.name, err)
	}
	_, err = secrets.Create(ctx, newBrokerSecret(broker, want), metav1.CreateOptions{FieldManager: c.manager})
	c.metrics.wrote("Secret", err)
	if err != nil {
		return fmt.Errorf("create Secret %s: %w", want.name, err)
	}
	klog.FromContext(ctx).V(2).Info("Created Secret", "name", want.name)
	return nil
}

func (c *brokerController) observe(broker *v1alpha1.Broker) (observedBroker, error) {
	caches := c.caches.in(broker.Namespace)
	statefulSet, err := caches.statefulSets.StatefulSets(broker.Namespace).Get(broker.Name)
	if ignoreNotFound(err) != nil {
		return observedBroker{}, err
	}
	service, err := caches.services.Services(broker.Namespace).Get(broker.Name)
	if ignoreNotFound(err) != nil {
		return observedBroker{}, err
	}
	return observedBroker{statefulSet: statefulSet, service: service}, nil
}

func (c *brokerController) writeStatus(ctx context.Context, broker *v1alpha1.Broker, want v1alpha1.BrokerStatus) error {
	keepTransitionTimes(want.Conditions, broker.Status.Conditions, c.now())
	if equality.Semantic.DeepEqual(want.Endpoint, broker.Status.Endpoint) && sameConditions(want.Conditions, broker.Status.Conditions) {
		return nil
	}
	endpoint := mesheryac.BrokerEndpoint().WithInternal(want.Endpoint.Internal)
	if want.Endpoint.External != "" {
		endpoint.WithExternal(want.Endpoint.External)
	}
	status := mesheryac.Broker(broker.Name, broker.Namespace).WithStatus(mesheryac.BrokerStatus().
		WithEndpoint(endpoint).
		WithConditions(applyConditions(want.Conditions)...))
	_, err := c.clients.meshery.MesheryV1alpha1().Brokers(broker.Namespace).
		ApplyStatus(ctx, status, metav1.ApplyOptions{FieldManager: c.manager, Force: true})
	return c.wroteStatus(ctx, "Broker", want.Conditions[0], err)
}
