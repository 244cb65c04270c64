package operator

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

func TestWhatServersOfABrokerCannotUse(t *testing.T) {
	pair, other := newCertificate(t, time.Now().AddDate(1, 0, 0), "a"), newCertificate(t, time.Now().AddDate(1, 0, 0), "a")
	broker := &v1alpha1.Broker{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "n", UID: "now"}}
	controlled := func(uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: "Broker", Name: "b", UID: uid, Controller: new(true)}}
	}
	for name, test := range map[string]struct {
		token  string
		owners []metav1.OwnerReference
		tls    map[string][]byte
		want   string // none: usable
	}{
		"a user's token":           {token: "s3cret"},
		"a generated token":        {token: "s3cret", owners: controlled("now")},
		"no token":                 {want: "Broker n/b has no token yet"},
		"a line break":             {token: "s3cret\n", want: "Broker n/b cannot use the token of Secret b-nats-auth"},
		"an earlier Broker's":      {token: "s3cret", owners: controlled("before"), want: "belongs to Broker b"},
		"a certificate":            {token: "s3cret", tls: pair},
		"a certificate and no key": {token: "s3cret", tls: with(pair, "tls.key", nil), want: "Broker n/b: spec.tls.secretName: Secret tls has no key \"tls.key\""},
		"the key of another":       {token: "s3cret", tls: with(pair, "tls.key", other["tls.key"]), want: "do not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "b-nats-auth", OwnerReferences: test.owners}, Data: map[string][]byte{"token": []byte(test.token)}}
			err := checkToken(broker, token)
			if err == nil && test.tls != nil {
				err = checkCertificate(broker, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "tls"}, Data: test.tls})
			}
			if test.want == "" && err == nil {
				return
			}
			waiting, ok := errors.AsType[*unavailable](err)
			if !ok || test.want == "" || waiting.reason != v1alpha1.ReasonBrokerNotReady || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// The servers stay as they are while they cannot use what is new; so does the agent.
func TestTheAgentStaysWhileItsBrokerIsNotRight(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	before := wantAgent(t, namespace, meshery.MeshSyncName, "the agent is there", anyAgent)
	wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
	stays := func(what string) {
		t.Helper()
		wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonBrokerNotReady)
		if after := wantAgent(t, namespace, meshery.MeshSyncName, "the agent is there", anyAgent); after.Generation != before.Generation {
			t.Errorf("%s: the agent was changed: %s", what, describeAgent(after))
		}
	}
	writeSecret(t, namespace, "meshery-nats-auth", map[string]string{"token": "from a file\n"})
	stays("a token with a line break")
	writeSecret(t, namespace, "meshery-nats-auth", map[string]string{"token": "another"})
	before = wantAgent(t, namespace, meshery.MeshSyncName, "a token without one rolls the agent", func(d *appsv1.Deployment) bool { return loginHash(d) != loginHash(before) })

	writeSecret(t, namespace, "certificate", map[string]string{"tls.crt": "c", "tls.key": "k"})
	tls := []byte(`{"spec":{"tls":{"secretName":"certificate"}}}`)
	if _, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Patch(t.Context(), meshery.BrokerName, types.MergePatchType, tls, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	stays("a certificate that is none")
	pair := newCertificate(t, time.Now().AddDate(1, 0, 0), "b")
	writeSecret(t, namespace, "certificate", map[string]string{"tls.crt": string(pair["tls.crt"]), "tls.key": string(pair["tls.key"])})
	wantAgent(t, namespace, meshery.MeshSyncName, "the agent uses TLS", func(d *appsv1.Deployment) bool { return strings.HasPrefix(agentEnv(d, "BROKER_URL"), "tls://") })
}
