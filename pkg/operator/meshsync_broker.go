package operator

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// target finds the broker that the agent is to publish to, and brings what the agent needs for it into its namespace. What is
// missing is an unavailable: an event of the MeshSync, of the Broker or of a Secret that they name ends it.
func (c *meshSyncController) target(ctx context.Context, meshSync *v1alpha1.MeshSync) (target, error) {
	if name, native := nativeBroker(meshSync); native {
		return c.nativeTarget(ctx, meshSync, name)
	}
	custom := meshSync.Spec.Broker.Custom
	found, err := customTarget(custom.URL)
	if err != nil || custom.SecretRef == nil {
		return found, err
	}
	secret, err := c.secret(ctx, cache.NewObjectName(meshSync.Namespace, custom.SecretRef.Name))
	if apierrors.IsNotFound(err) {
		return target{}, &unavailable{v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
			"Secret %s, which spec.broker.custom.secretRef names, does not exist: create it with token, with username and password, with creds or with nkey, or with ca.crt alone", custom.SecretRef.Name)}
	}
	if err != nil {
		return target{}, fmt.Errorf("read Secret %s: %w", custom.SecretRef.Name, err)
	}
	return found.loggingInWith(secret)
}

func (c *meshSyncController) nativeTarget(ctx context.Context, meshSync *v1alpha1.MeshSync, name cache.ObjectName) (target, error) {
	caches := c.caches.in(name.Namespace)
	if caches == nil {
		return target{}, &unavailable{v1alpha1.ReasonNamespaceNotServed, fmt.Sprintf(
			"Broker %s lives in a namespace that the operator does not serve: add %s to the operator's --watch-namespaces, or name a Broker in %s",
			name, name.Namespace, meshSync.Namespace)}
	}
	broker, err := caches.brokers.Brokers(name.Namespace).Get(name.Name)
	switch {
	case apierrors.IsNotFound(err):
		return target{}, &unavailable{v1alpha1.ReasonBrokerNotFound, fmt.Sprintf("Broker %s does not exist", name)}
	case err != nil:
		return target{}, err
	case broker.Status.Endpoint.Internal == "":
		return target{}, &unavailable{v1alpha1.ReasonBrokerNotReady, fmt.Sprintf("Broker %s has no endpoint yet", name)}
	}
	token, tls, err := c.secretsOf(ctx, broker)
	if err != nil {
		return target{}, err
	}
	found, err := nativeTarget(broker, token, tls)
	if err != nil {
		return target{}, err
	}
	possible, _ := keepStorage(broker, c.caches.servers(broker))
	found.delivery = deliveryTo(possible, len(c.caches.publishersTo(name)), c.options)
	if !needsCopy(meshSync) {
		return found, nil
	}
	copied := brokerCopy(meshSync, token, tls)
	if _, err := c.applyOne(ctx, meshSync.Namespace, controlledBy(meshSync), copied); err != nil {
		return target{}, err
	}
	return found.through(*copied.Name), nil
}

// secretsOf reads what a client of a Broker needs: its token, and what spec.tls names, or nil.
func (c *meshSyncController) secretsOf(ctx context.Context, broker *v1alpha1.Broker) (token, tls *corev1.Secret, err error) {
	name := cache.MetaObjectToName(broker)
	token, err = c.secret(ctx, cache.NewObjectName(name.Namespace, meshery.BrokerTokenSecret(broker.Name)))
	if apierrors.IsNotFound(err) {
		return nil, nil, &unavailable{v1alpha1.ReasonBrokerNotReady, fmt.Sprintf("Broker %s has no token yet", name)}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the token of Broker %s: %w", name, err)
	}
	if err := checkToken(broker, token); err != nil || broker.Spec.TLS == nil {
		return token, nil, err
	}
	tls, err = c.secret(ctx, cache.NewObjectName(name.Namespace, broker.Spec.TLS.SecretName))
	if apierrors.IsNotFound(err) {
		return nil, nil, &unavailable{v1alpha1.ReasonBrokerNotReady, fmt.Sprintf(
			"Broker %s has no certificate yet: Secret %s, which its spec.tls names, does not exist", name, broker.Spec.TLS.SecretName)}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the certificate of Broker %s: %w", name, err)
	}
	return token, tls, checkCertificate(broker, tls)
}

// checkToken refuses a token that the servers do not take: they stay as they are, and so must the agent.
func checkToken(broker *v1alpha1.Broker, token *corev1.Secret) error {
	name := cache.MetaObjectToName(broker)
	notReady := func(message string) error { return &unavailable{v1alpha1.ReasonBrokerNotReady, message} }
	switch value := token.Data[meshery.BrokerTokenKey]; {
	case metav1.GetControllerOfNoCopy(token) != nil && !metav1.IsControlledBy(token, broker):
		return notReady(fmt.Sprintf("Broker %s has no token: Secret %s belongs to %s", name, token.Name, ownerOf(token)))
	case len(value) == 0:
		return notReady(fmt.Sprintf("Broker %s has no token yet", name))
	case tokenFault(value) != "":
		return notReady(fmt.Sprintf("Broker %s cannot use the token of Secret %s: see its conditions", name, token.Name))
	}
	return nil
}

// checkCertificate does the same for a certificate.
func checkCertificate(broker *v1alpha1.Broker, tls *corev1.Secret) error {
	if err := checkTLS(tls); err != nil {
		return &unavailable{v1alpha1.ReasonBrokerNotReady, fmt.Sprintf("Broker %s: %v", cache.MetaObjectToName(broker), err)}
	}
	return nil
}

// removeCopy deletes the copy of a Broker's token once the agent reads no copy any more.
func (c *meshSyncController) removeCopy(ctx context.Context, meshSync *v1alpha1.MeshSync) error {
	if needsCopy(meshSync) {
		return nil
	}
	return discard(ctx, &c.applier, controlledBy(meshSync), "Secret", meshery.BrokerCopySecret(meshSync.Name),
		c.caches.in(meshSync.Namespace).secrets.Secrets(meshSync.Namespace), c.clients.kube.CoreV1().Secrets(meshSync.Namespace))
}
