package operator

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"regexp"
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
	// address is host:port, or several, without credentials.
	address string
	// login are credentials that the agent reads when it starts, and loginHash changes with them.
	login     []secretValue
	loginHash string
	// files are what it reads at every connection: the authority of the broker's certificate, if that is no public one, and
	// credentials that are files by nature. All are of one Secret, and that and those of login live in the MeshSync's namespace.
	files []secretValue
	// delivery is what the agent has to know of the broker itself.
	delivery meshery.Delivery
}

// secretValue is a key of a Secret, and the environment variable that has its value or, of a file, the file's name.
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

// customTarget is a broker that no Broker describes, of one server or several.
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
	login, files, fault := loginOf(secret)
	if fault != "" {
		return target{}, &unavailable{v1alpha1.ReasonSecretInvalid, "Secret " + secret.Name + " " + fault}
	}
	t.login, t.files = login, files
	if len(login) > 0 {
		t.loginHash = secretHash(only(secret, meshery.BrokerTokenKey, meshery.BrokerUserKey, meshery.BrokerPasswordKey))
	}
	return t.trusting(secret)
}

// loginOf is what a user's Secret holds to log in with: values that the agent reads when it starts, or files. Or it says what is wrong
// with the Secret.
func loginOf(secret *corev1.Secret) (login, files []secretValue, fault string) {
	value := func(env, key string) secretValue { return secretValue{env, secret.Name, key} }
	has := func(key string) bool { return len(secret.Data[key]) > 0 }
	userAndPassword := []string{meshery.BrokerUserKey, meshery.BrokerPasswordKey}
	keys := []string{meshery.BrokerTokenKey, meshery.BrokerUserKey, meshery.BrokerPasswordKey, meshery.BrokerCredsKey, meshery.BrokerNKeyKey}
	keys = slices.DeleteFunc(keys, func(key string) bool { return !has(key) })
	switch {
	case secret.Type == corev1.SecretTypeServiceAccountToken:
		// Whoever may write a MeshSync, but not read Secrets, could have it sent to a server of his own.
		fault = "is a ServiceAccount's token, which opens the cluster and no broker: name another"
	case secret.Labels[meshery.LabelManagedBy] == meshery.OperatorName: // the same goes for a Broker's token
		fault = "was made by the operator: name its Broker in spec.broker.native, or a Secret of your own here"
	case len(keys) > 1 && !slices.Equal(keys, userAndPassword):
		fault = "has more than one way to log in (" + strings.Join(keys, ", ") + "): keep the one that the broker asks for"
	case has(meshery.BrokerTokenKey):
		login = []secretValue{value(meshery.EnvBrokerToken, meshery.BrokerTokenKey)}
	case slices.Equal(keys, userAndPassword):
		login = []secretValue{value(meshery.EnvBrokerUser, meshery.BrokerUserKey), value(meshery.EnvBrokerPassword, meshery.BrokerPasswordKey)}
	case has(meshery.BrokerUserKey):
		fault = "has username but no password: add it"
	case has(meshery.BrokerPasswordKey):
		fault = "has password but no username: add it"
	case has(meshery.BrokerCredsKey):
		files, fault = []secretValue{value(meshery.EnvBrokerCredsFile, meshery.BrokerCredsKey)}, credsFault(secret.Data[meshery.BrokerCredsKey])
	case has(meshery.BrokerNKeyKey):
		files, fault = []secretValue{value(meshery.EnvBrokerNKeyFile, meshery.BrokerNKeyKey)}, nkeyFault(secret.Data[meshery.BrokerNKeyKey])
	case has(meshery.BrokerCAKey): // the login is in the URL, or the server asks for none
	default:
		fault = "has neither token nor username and password, nor creds, nkey or ca.crt: add what the broker asks for"
	}
	return login, files, fault
}

var (
	userJWT  = regexp.MustCompile(`-----BEGIN NATS USER JWT-----\s+\S`)
	userSeed = regexp.MustCompile(`(?m)^\s*SU[A-Z2-7]{56}\s*$`)
)

func credsFault(text []byte) string {
	if !userJWT.Match(text) || !userSeed.Match(text) {
		return "has creds that are no credentials file of a NATS user: want one with -----BEGIN NATS USER JWT----- and -----BEGIN USER NKEY SEED-----"
	}
	return ""
}

func nkeyFault(text []byte) string {
	if !userSeed.Match(text) {
		return "has an nkey that is not the seed of a user: want 58 letters and digits that begin with SU"
	}
	return ""
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
	t.files = append(t.files, secretValue{meshery.EnvBrokerCAFile, secret.Name, meshery.BrokerCAKey})
	return t, nil
}

// through is the broker with everything read from one Secret, a copy.
func (t target) through(secret string) target {
	t.login, t.files = slices.Clone(t.login), slices.Clone(t.files)
	for _, values := range [][]secretValue{t.login, t.files} {
		for i := range values {
			values[i].secret = secret
		}
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
