package operator

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/brokerurl"
)

// target is the broker that an agent publishes to, and what the agent needs to get in.
type target struct {
	// url is what the agent connects to. A native broker's holds $(BROKER_TOKEN), which Kubernetes replaces when the container
	// starts, so that no pod spec holds the token.
	url string
	// address is host:port, without credentials.
	address string
	// login are the credentials, and authoritySecret is the Secret that has the authority of the broker's certificate; empty for
	// a public one. All live in the MeshSync's namespace.
	login           []secretValue
	authoritySecret string
	// loginHash changes with the credentials, which the agent reads only when it starts. It reads the authority at every
	// connection.
	loginHash string
}

// secretValue is an environment variable that has its value from a Secret.
type secretValue struct{ env, secret, key string }

// nativeBroker is the Broker that a MeshSync names, or false when it names a custom URL.
func nativeBroker(meshSync *v1alpha1.MeshSync) (cache.ObjectName, bool) {
	if meshSync.Spec.Broker.Custom.URL != "" {
		return cache.ObjectName{}, false
	}
	name := cache.ObjectName{Namespace: meshSync.Namespace, Name: meshery.BrokerName}
	native := meshSync.Spec.Broker.Native
	name.Name = cmp.Or(native.Name, name.Name)
	name.Namespace = cmp.Or(native.Namespace, name.Namespace)
	return name, true
}

// needsCopy reports whether a MeshSync's Broker lives in another namespace, where a pod cannot refer to its Secrets.
func needsCopy(meshSync *v1alpha1.MeshSync) bool {
	name, native := nativeBroker(meshSync)
	return native && name.Namespace != meshSync.Namespace
}

// nativeTarget is a Broker. tls is what its spec.tls names, or nil.
func nativeTarget(broker *v1alpha1.Broker, token, tls *corev1.Secret) (target, error) {
	endpoint, scheme := broker.Status.Endpoint.Internal, "nats"
	if tls != nil {
		scheme = "tls"
	}
	t := target{
		url:       scheme + "://$(" + meshery.EnvBrokerToken + ")@" + endpoint,
		address:   endpoint,
		login:     []secretValue{{meshery.EnvBrokerToken, token.Name, meshery.BrokerTokenKey}},
		loginHash: secretHash(only(token, meshery.BrokerTokenKey)),
	}
	if tls == nil {
		return t, nil
	}
	return t.trusting(tls)
}

// customTarget is a broker that no Broker describes.
func customTarget(text string) (target, error) {
	parsed, err := brokerurl.Parse(text)
	if err != nil {
		return target{}, &unavailable{v1alpha1.ReasonBrokerURLInvalid, "spec.broker.custom.url: " + err.Error()}
	}
	// Kubernetes would expand $(NAME) in the value of an environment variable.
	return target{url: strings.ReplaceAll(text, "$", "$$"), address: parsed.Endpoint}, nil
}

// loggingInWith is the broker with what a user's Secret holds.
func (t target) loggingInWith(secret *corev1.Secret) (target, error) {
	token, user, password := len(secret.Data[meshery.BrokerTokenKey]) > 0, len(secret.Data[meshery.BrokerUserKey]) > 0, len(secret.Data[meshery.BrokerPasswordKey]) > 0
	invalid := func(what string) (target, error) {
		return target{}, &unavailable{v1alpha1.ReasonSecretInvalid, "Secret " + secret.Name + " " + what}
	}
	switch {
	case secret.Type == corev1.SecretTypeServiceAccountToken:
		// Whoever may write a MeshSync, but not read Secrets, could have it sent to a server of his own.
		return invalid("is a ServiceAccount's token, which opens the cluster and no broker: name another")
	case secret.Labels[meshery.LabelManagedBy] == meshery.OperatorName: // the same goes for a Broker's token
		return invalid("was made by the operator: name its Broker in spec.broker.native, or a Secret of your own here")
	case token && (user || password):
		return invalid("has both token and username or password: keep what the broker asks for")
	case token:
		t.login = []secretValue{{meshery.EnvBrokerToken, secret.Name, meshery.BrokerTokenKey}}
	case user && password:
		t.login = []secretValue{
			{meshery.EnvBrokerUser, secret.Name, meshery.BrokerUserKey},
			{meshery.EnvBrokerPassword, secret.Name, meshery.BrokerPasswordKey},
		}
	case user:
		return invalid("has username but no password: add it")
	case password:
		return invalid("has password but no username: add it")
	case len(secret.Data[meshery.BrokerCAKey]) > 0:
		return t.trusting(secret) // the login is in the URL, or the server asks for none
	default:
		return invalid("has neither token nor username and password, nor ca.crt: add what the broker asks for")
	}
	t.loginHash = secretHash(only(secret, meshery.BrokerTokenKey, meshery.BrokerUserKey, meshery.BrokerPasswordKey))
	return t.trusting(secret)
}

// trusting is the broker with the authority that a Secret may hold.
func (t target) trusting(secret *corev1.Secret) (target, error) {
	authority := secret.Data[meshery.BrokerCAKey]
	if len(authority) == 0 {
		return t, nil
	}
	if !x509.NewCertPool().AppendCertsFromPEM(authority) {
		return target{}, &unavailable{v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
			"Secret %s: %s holds no certificate: want PEM text that begins with -----BEGIN CERTIFICATE-----", secret.Name, meshery.BrokerCAKey)}
	}
	t.authoritySecret = secret.Name
	return t, nil
}

// through is the broker with everything read from one Secret, a copy.
func (t target) through(secret string) target {
	t.login = slices.Clone(t.login)
	for i := range t.login {
		t.login[i].secret = secret
	}
	if t.authoritySecret != "" {
		t.authoritySecret = secret
	}
	return t
}

// brokerCopy carries the token of a Broker in another namespace, and the authority of its certificate, to the agent.
func brokerCopy(meshSync *v1alpha1.MeshSync, token, tls *corev1.Secret) *coreac.SecretApplyConfiguration {
	data := map[string][]byte{meshery.BrokerTokenKey: token.Data[meshery.BrokerTokenKey]}
	if tls != nil && len(tls.Data[meshery.BrokerCAKey]) > 0 {
		data[meshery.BrokerCAKey] = tls.Data[meshery.BrokerCAKey]
	}
	return coreac.Secret(meshery.BrokerCopySecret(meshSync.Name), meshSync.Namespace).
		WithLabels(meshSyncLabels(meshSync)).
		WithOwnerReferences(ownerReference(meshSync, meshSyncKind)).
		WithData(data)
}

// only is a Secret with some of its keys.
func only(secret *corev1.Secret, keys ...string) *corev1.Secret {
	part := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret.Name, UID: secret.UID}, Data: map[string][]byte{}}
	for _, key := range keys {
		if value, ok := secret.Data[key]; ok {
			part.Data[key] = value
		}
	}
	return part
}
