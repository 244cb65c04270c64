package operator

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

func TestSecretsThatServersCannotUse(t *testing.T) {
	for _, test := range []struct {
		check       func([]byte) string
		value, says string // none: usable
	}{
		{tokenFault, newToken(), ""},
		{tokenFault, "12345", ""},
		{tokenFault, "a b#c:d@e/f?%zz$(X)", ""},
		{tokenFault, "héllo", ""},
		{tokenFault, "$FOO", ""},
		{tokenFault, "$2", ""},
		{tokenFault, "$2a$11$PWIFAL8RsWyGI3jVZtO9Nu8.6jOxzxfZo7c/W0eLk017hjgUKWrhy", "bcrypt"},
		{tokenFault, "$2b$x", "bcrypt"},
		{tokenFault, "$2y$", "bcrypt"},
		{tokenFault, "$2x$10$", "bcrypt"},
		{tokenFault, "caf\xe9", "UTF-8"},
		{tokenFault, `a"b`, "quote"},
		{tokenFault, `a\b`, "backslash"},
		{tokenFault, "a\n", "line break"},
		{routesPasswordFault, newToken(), ""},
		{routesPasswordFault, "x9", ""},
		{routesPasswordFault, "12345", "letters and digits"},
		{routesPasswordFault, "5k", "letters and digits"},
		{routesPasswordFault, "a b", "letters and digits"},
		{routesPasswordFault, "a#b", "letters and digits"},
		{routesPasswordFault, "%zz", "letters and digits"},
		{routesPasswordFault, "p@ss/w:rd", "letters and digits"},
		{routesPasswordFault, "a\n", "letters and digits"},
		{routesPasswordFault, "é", "letters and digits"},
		{routesPasswordFault, "true", "yes or no"},
		{routesPasswordFault, "Off", "yes or no"},
	} {
		err := checkBrokerSecret(secretSpec{"x", "k", test.check}, []byte(test.value))
		if (err == nil) != (test.says == "") || err != nil && (!strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), test.value)) {
			t.Errorf("%q: got %v, want %q", test.value, err, test.says)
		}
	}
	if err := checkBrokerSecret(secretSpec{"x", "k", tokenFault}, nil); err == nil || !strings.Contains(err.Error(), `Secret x has no key "k"`) {
		t.Errorf("got %v", err)
	}
}

// What tokenFault lets pass opens a server.
func TestOddTokensOpenTheServer(t *testing.T) {
	t.Parallel()
	p := newNATSPods(t, 1)
	for _, token := range []string{"12345", "true", "a b#c:d@e/f?%zz", "$(POD_NAME)", "héllo {}[],", "$FOO", "$$", "$2", "$2$x"} {
		if fault := tokenFault([]byte(token)); fault != "" {
			continue
		}
		p.token = token
		p.start(t, newBroker(), 0)
		p.eventuallyWell(t, 0, "/healthz")
		conn, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", p.pods[0].client), nats.Token(token))
		if err != nil {
			t.Errorf("%q: %v", token, err)
		} else {
			conn.Close()
		}
		p.kill(0)
	}
}

func TestServersFollowOnlyWhatTheyRead(t *testing.T) {
	secret := func(name string, data map[string]string) *corev1.Secret {
		made := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{}}
		for key, value := range data {
			made.Data[key] = []byte(value)
		}
		return made
	}
	token := map[string]string{"token": "t"}
	for name, test := range map[string]struct {
		broker *v1alpha1.Broker
		secret *corev1.Secret
		want   []string
	}{
		"a token":    {newBroker(), secret("meshery-nats-auth", map[string]string{"token": "t", "password": "p", "note": "n"}), []string{"token"}},
		"a password": {newBroker(withSize(2)), secret("meshery-broker-routes", map[string]string{"token": "t", "password": "p"}), []string{"password"}},
		"a certificate": {
			newBroker(func(b *v1alpha1.Broker) { b.Spec.TLS = &v1alpha1.BrokerTLS{SecretName: "tls"} }),
			secret("tls", map[string]string{"ca.crt": "a", "tls.crt": "c", "tls.key": "k"}), []string{"tls.crt", "tls.key"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for key := range readByServers(test.broker, []*corev1.Secret{test.secret})[0].Data {
				got = append(got, key)
			}
			slices.Sort(got)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	options := DefaultOptions()
	hash := func(data map[string]string) string {
		made := brokerStatefulSet(newBroker(), []*corev1.Secret{secret("meshery-nats-auth", data)}, &options)
		return made.Spec.Template.Annotations[annotationSecretHash]
	}
	if hash(token) != hash(map[string]string{"token": "t", "note": "n"}) {
		t.Error("a note beside the token rolls the servers")
	}
	if hash(token) == hash(map[string]string{"token": "u"}) {
		t.Error("another token does not roll the servers")
	}
}

// A single server shows nobody a password.
func TestASingleServerNeedsNoRoutes(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	secrets := server.admin.kube.CoreV1().Secrets(namespace)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "meshery-broker-routes"}, StringData: map[string]string{"password": "p@ss/w:rd"}}
	if _, err := secrets.Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	createBroker(t, namespace)
	startOperator(t, namespace)
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)

	patchBroker(t, namespace, `{"size":3}`)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid, "Secret meshery-broker-routes", "delete the Secret")
	wantBrokerCondition(t, namespace, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid, "meshery-broker-routes")
	if err := secrets.Delete(t.Context(), theirs.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantBrokerCondition(t, namespace, v1alpha1.ConditionProgressing, metav1.ConditionTrue, v1alpha1.ReasonResizing)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
}
