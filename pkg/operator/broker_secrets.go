package operator

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

const routesPasswordKey = "password"

func routesSecret(broker string) string { return broker + "-routes" }

// secretSpec is a Secret with one generated value. fault says what is wrong with one that was not generated, if anything.
type secretSpec struct {
	name, key string
	fault     func(value []byte) string
}

// brokerSecrets are the Secrets that a Broker needs: what clients show, and what the servers of one cluster show each other.
func brokerSecrets(broker *v1alpha1.Broker) []secretSpec {
	secrets := []secretSpec{{meshery.BrokerTokenSecret(broker.Name), meshery.BrokerTokenKey, tokenFault}}
	if broker.Spec.Size > 1 {
		secrets = append(secrets, secretSpec{routesSecret(broker.Name), routesPasswordKey, routesPasswordFault})
	}
	return secrets
}

// readByServers is what the servers read of their Secrets.
func readByServers(broker *v1alpha1.Broker, secrets []*corev1.Secret) []*corev1.Secret {
	keys := map[string][]string{}
	for _, secret := range brokerSecrets(broker) {
		keys[secret.name] = []string{secret.key}
	}
	if tls := broker.Spec.TLS; tls != nil {
		keys[tls.SecretName] = append(keys[tls.SecretName], corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	read := make([]*corev1.Secret, 0, len(secrets))
	for _, secret := range secrets {
		read = append(read, only(secret, keys[secret.Name]...))
	}
	return read
}

// newBrokerSecret fills a Secret with a new random value.
func newBrokerSecret(broker *v1alpha1.Broker, secret secretSpec) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:      secret.name,
			Namespace: broker.Namespace,
			Labels:    ownedLabels(brokerSelector(broker)),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: brokerKind.GroupVersion().String(),
				Kind:       brokerKind.Kind,
				Name:       broker.Name,
				UID:        broker.UID,
				Controller: new(true),
			}},
		},
		Data: map[string][]byte{secret.key: []byte(newToken())},
	}
}

// newToken has 130 random bits or more in letters and digits. It begins with a letter, because nats.conf would read a value that
// begins like a number as one.
func newToken() string { return "t" + rand.Text() }

// checkBrokerSecret refuses a value with which the servers would not start, or would let nobody in.
func checkBrokerSecret(secret secretSpec, value []byte) error {
	invalid := func(format string, args ...any) error {
		return &unavailable{v1alpha1.ReasonSecretInvalid, "Secret " + secret.name + fmt.Sprintf(format, args...)}
	}
	if len(value) == 0 {
		return invalid(" has no key %q: add it, or delete the Secret to have one generated", secret.key)
	}
	if fault := secret.fault(value); fault != "" {
		return invalid(": the value of %q %s, or delete the Secret to have one generated", secret.key, fault)
	}
	return nil
}

var (
	bcryptHash = regexp.MustCompile(`^\$2[a-z]?\$`)
	plainWord  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)
	truthValue = regexp.MustCompile(`^(?i:true|false|yes|no|on|off)$`)
)

// tokenFault: a token stands between quotes in nats.conf.
func tokenFault(token []byte) string {
	switch {
	case !utf8.Valid(token):
		return "is not text in UTF-8, and no container can be given it: use text"
	case bytes.ContainsFunc(token, func(r rune) bool { return r == '"' || r == '\\' || unicode.IsControl(r) }):
		return "has a quote, a backslash or a line break in it (a file ends with one), which NATS would misread: use one without"
	case bcryptHash.Match(token):
		return "looks like a bcrypt hash, which NATS would compare with the hash of what clients show, so that none gets in: use one that does not begin with $2"
	default:
		return ""
	}
}

// routesPasswordFault: the password stands bare in nats.conf, and in URLs there.
func routesPasswordFault(password []byte) string {
	switch {
	case !plainWord.Match(password):
		return "is not a letter followed by letters and digits, and NATS would misread it: use one that is"
	case truthValue.Match(password):
		return "is read as yes or no by NATS: use another"
	default:
		return ""
	}
}

// secretHash changes with the content of Secrets, and tells nothing of it.
func secretHash(secrets ...*corev1.Secret) string {
	var all strings.Builder
	for _, secret := range secrets {
		// The UID makes the hash useless for guessing a short password.
		fmt.Fprintf(&all, "%s %s %q\n", secret.Name, secret.UID, secret.Data)
	}
	return shortHash(all.String())
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
