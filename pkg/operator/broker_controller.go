package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	secrets, secretErr := c.createSecrets(ctx, broker)
	live, applyErr := c.apply(ctx, broker.Namespace, controlledBy(broker), brokerObjects(broker, secrets, c.options))
	applyErr = errors.Join(secretErr, applyErr)
	if err := c.writeStatus(ctx, broker, brokerStatus(broker, live, caches.podsOf(key.Namespace, brokerSelector(broker)), applyErr, c.options)); err != nil {
		return 0, err
	}
	return retry(applyErr)
}

// createSecrets makes the Broker's Secrets where there are none, and returns them all. One that is there keeps its value,
// whether the operator made it or a user did: clients know it.
func (c *brokerController) createSecrets(ctx context.Context, broker *v1alpha1.Broker) ([]*corev1.Secret, error) {
	var (
		secrets []*corev1.Secret
		errs    []error
	)
	for _, want := range brokerSecrets(broker) {
		secret, err := c.createSecret(ctx, broker, want)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		secrets = append(secrets, secret)
	}
	return secrets, errors.Join(errs...)
}

func (c *brokerController) createSecret(ctx context.Context, broker *v1alpha1.Broker, want secretSpec) (*corev1.Secret, error) {
	live, err := c.secret(ctx, cache.NewObjectName(broker.Namespace, want.name))
	switch {
	case err == nil && metav1.GetControllerOfNoCopy(live) != nil && !metav1.IsControlledBy(live, broker):
		// Also one of an earlier Broker of this name: it is about to go.
		return nil, &foreignError{kind: "Secret", name: want.name, owner: ownerOf(live)}
	case err == nil && len(live.Data[want.key]) == 0:
		return nil, &unavailable{v1alpha1.ReasonSecretInvalid,
			fmt.Sprintf("Secret %s has no key %q: add it, or delete the Secret to have one generated", want.name, want.key)}
	case err == nil:
		return live, nil
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("read Secret %s: %w", want.name, err)
	}
	created, err := c.clients.kube.CoreV1().Secrets(broker.Namespace).
		Create(ctx, newBrokerSecret(broker, want), metav1.CreateOptions{FieldManager: c.manager})
	c.metrics.wrote("Secret", err)
	if err != nil {
		return nil, fmt.Errorf("create Secret %s: %w", want.name, err)
	}
	klog.FromContext(ctx).V(2).Info("Created Secret", "name", want.name)
	return created, nil
}

func (c *brokerController) writeStatus(ctx context.Context, broker *v1alpha1.Broker, want v1alpha1.BrokerStatus) error {
	keepTransitionTimes(want.Conditions, broker.Status.Conditions, c.now())
	if equality.Semantic.DeepEqual(want.Endpoint, broker.Status.Endpoint) && sameConditions(want.Conditions, broker.Status.Conditions) {
		return nil
	}
	status := mesheryac.Broker(broker.Name, broker.Namespace).WithStatus(mesheryac.BrokerStatus().
		// External also when it is empty: the existing operator, or somebody, may have left one there.
		WithEndpoint(mesheryac.BrokerEndpoint().WithInternal(want.Endpoint.Internal).WithExternal(want.Endpoint.External)).
		WithConditions(applyConditions(want.Conditions)...))
	_, err := c.clients.meshery.MesheryV1alpha1().Brokers(broker.Namespace).
		ApplyStatus(ctx, status, metav1.ApplyOptions{FieldManager: c.manager, Force: true})
	return c.wroteStatus(ctx, "Broker", broker, broker.Status.Conditions, want.Conditions, err)
}
