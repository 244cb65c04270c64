package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
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
	err = removeFinalizer(ctx, &c.applier, "Broker", broker, earlierBrokerFinalizer, c.clients.meshery.MesheryV1alpha1().Brokers(key.Namespace))
	if err != nil || broker.DeletionTimestamp != nil {
		return 0, err
	}

	secrets, secretErr := c.gatherSecrets(ctx, broker)
	statefulSet := c.caches.servers(broker)
	possible, kept := keepStorage(broker, statefulSet)
	live, applyErr := c.write(ctx, possible, secrets, statefulSet)
	if apierrors.IsConflict(applyErr) {
		return 0, applyErr // the cache is behind: nothing to tell
	}
	node, recheckNode, nodeErr := c.findNode(ctx, broker)
	warnings, recheckTLS := c.warnings(broker, secrets)
	view := &brokerView{
		service:     cmp.Or(find[*corev1.Service](live, broker.Name), c.liveService(broker)),
		statefulSet: cmp.Or(find[*appsv1.StatefulSet](live, broker.Name), statefulSet),
		pods:        caches.podsOf(key.Namespace, brokerSelector(broker)),
		node:        node,
		kept:        kept,
		warnings:    warnings,
		err:         errors.Join(secretErr, applyErr),
	}
	if err := c.writeStatus(ctx, broker, brokerStatus(broker, view, c.options)); err != nil {
		return 0, err
	}
	recheck, err := retry(errors.Join(view.err, nodeErr))
	return soonest(recheck, recheckNode, recheckTLS), err
}

// liveService is the client Service that there is, or nil.
func (c *brokerController) liveService(broker *v1alpha1.Broker) *corev1.Service {
	live, err := c.caches.in(broker.Namespace).services.Services(broker.Namespace).Get(broker.Name)
	if err != nil || !metav1.IsControlledBy(live, broker) {
		return nil
	}
	return live
}

// write brings the Broker's objects into the wanted state and returns them.
func (c *brokerController) write(ctx context.Context, broker *v1alpha1.Broker, secrets []*corev1.Secret, servers *appsv1.StatefulSet) ([]metav1.Object, error) {
	clearErr := c.clearService(ctx, broker)
	objects := brokerObjects(broker, secrets, c.options)
	for _, object := range objects {
		if want, ok := object.(*appsac.StatefulSetApplyConfiguration); ok && servers != nil {
			want.WithUID(servers.UID) // its volumes may be what is wanted: not of others that take its place
		}
	}
	live, applyErr := c.apply(ctx, broker.Namespace, controlledBy(broker), objects)
	return live, errors.Join(clearErr, applyErr, c.tidy(ctx, broker, find[*appsv1.StatefulSet](live, broker.Name)))
}

// tidy deletes what only more servers need. The password of the routes goes when the last server that read it is gone.
func (c *brokerController) tidy(ctx context.Context, broker *v1alpha1.Broker, servers *appsv1.StatefulSet) error {
	caches, kube, namespace := c.caches.in(broker.Namespace), c.clients.kube, broker.Namespace
	var budgetErr, routesErr error
	if broker.Spec.Size < disruptionSize {
		budgetErr = discard(ctx, &c.applier, controlledBy(broker), "PodDisruptionBudget", broker.Name,
			caches.disruptions.PodDisruptionBudgets(namespace), kube.PolicyV1().PodDisruptionBudgets(namespace))
	}
	if broker.Spec.Size == 1 && rolloutTo(1, servers).done() {
		routesErr = discard(ctx, &c.applier, controlledBy(broker), "Secret", routesSecret(broker.Name),
			caches.secrets.Secrets(namespace), kube.CoreV1().Secrets(namespace))
	}
	return errors.Join(budgetErr, routesErr)
}

// warnings says what works but should be changed, and when to look again.
func (c *brokerController) warnings(broker *v1alpha1.Broker, secrets []*corev1.Secret) ([]finding, time.Duration) {
	findings := c.caches.earlierServers(broker)
	for _, secret := range secrets {
		if broker.Spec.TLS != nil && secret.Name == broker.Spec.TLS.SecretName {
			certificate, recheck := tlsWarnings(secret, internalEndpoint(broker, c.options), c.now().Time)
			return append(certificate, findings...), recheck
		}
	}
	return findings, 0
}

// gatherSecrets returns all Secrets that the servers read, or nil and what is wrong with one of them. It makes the Broker's own
// where there are none. One that is there keeps its value, whether the operator made it or a user did: clients know it.
func (c *brokerController) gatherSecrets(ctx context.Context, broker *v1alpha1.Broker) ([]*corev1.Secret, error) {
	var (
		secrets []*corev1.Secret
		errs    []error
	)
	for _, want := range brokerSecrets(broker) {
		secret, err := c.createSecret(ctx, broker, want)
		secrets, errs = append(secrets, secret), append(errs, err)
	}
	if broker.Spec.TLS != nil {
		secret, err := c.tlsSecret(ctx, broker)
		secrets, errs = append(secrets, secret), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return secrets, nil
}

func (c *brokerController) tlsSecret(ctx context.Context, broker *v1alpha1.Broker) (*corev1.Secret, error) {
	name := broker.Spec.TLS.SecretName
	secret, err := c.secret(ctx, cache.NewObjectName(broker.Namespace, name))
	switch {
	case apierrors.IsNotFound(err):
		return nil, &unavailable{v1alpha1.ReasonSecretInvalid, fmt.Sprintf("spec.tls.secretName: Secret %s does not exist: "+
			"create it with kubectl create secret tls -n %s %s --cert=FILE --key=FILE; the servers stay as they are until then", name, broker.Namespace, name)}
	case err != nil:
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	return secret, checkTLS(secret)
}

func (c *brokerController) createSecret(ctx context.Context, broker *v1alpha1.Broker, want secretSpec) (*corev1.Secret, error) {
	live, err := c.secret(ctx, cache.NewObjectName(broker.Namespace, want.name))
	switch {
	case err == nil && metav1.GetControllerOfNoCopy(live) != nil && !metav1.IsControlledBy(live, broker):
		// Also one of an earlier Broker of this name: it is about to go.
		return nil, &foreignError{kind: "Secret", name: want.name, owner: ownerOf(live)}
	case err == nil:
		return live, checkBrokerSecret(want, live.Data[want.key])
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("read Secret %s: %w", want.name, err)
	}
	created, err := c.clients.kube.CoreV1().Secrets(broker.Namespace).
		Create(ctx, newBrokerSecret(broker, want), metav1.CreateOptions{FieldManager: c.manager})
	c.metrics.wrote("Secret", err)
	if err != nil {
		return nil, fmt.Errorf("create Secret %s: %w", want.name, err)
	}
	klog.FromContext(ctx).V(2).Info("Created Secret", "object", klog.KObj(created))
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
