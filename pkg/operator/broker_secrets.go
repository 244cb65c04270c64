package operator

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

const routesPasswordKey = "password"

func routesSecret(broker string) string { return broker + "-routes" }

// secretSpec is a Secret with one generated value.
type secretSpec struct {
	name, key string
}

// brokerSecrets are the Secrets that a Broker needs: what clients show, and what the servers of one cluster show each other.
func brokerSecrets(broker *v1alpha1.Broker) []secretSpec {
	return []secretSpec{
		{name: meshery.BrokerTokenSecret(broker.Name), key: meshery.BrokerTokenKey},
		{name: routesSecret(broker.Name), key: routesPasswordKey},
	}
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

// quotable reports whether a value stays as it is between quotes in nats.conf.
func quotable(value []byte) bool {
	return !bytes.ContainsFunc(value, func(r rune) bool { return r == '"' || r == '\\' || unicode.IsControl(r) })
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
