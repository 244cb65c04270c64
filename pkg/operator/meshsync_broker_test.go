package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/test/natsserver"
)

// What a user logs in with: a seed, and a file as nsc writes it. Of nobody.
const (
	testSeed  = "SUAAVJLAXVNJ3FXQ6PZZ7QL3JYMWUYEEHQNXV7LNMGWMDKTCLVD3RLBXDE"
	testCreds = "-----BEGIN NATS USER JWT-----\neyJ0eXAiOiJKV1QifQ.e30.c2ln\n------END NATS USER JWT------\n\n" +
		"************************* IMPORTANT *************************\n" +
		"-----BEGIN USER NKEY SEED-----\n" + testSeed + "\n------END USER NKEY SEED------\n"
)

func TestLoggingInWithASecret(t *testing.T) {
	authority := string(natsserver.NewAuthority(t).PEM)
	for name, test := range map[string]struct {
		kind    corev1.SecretType
		made    bool // by the operator
		data    map[string]string
		login   string // variables
		files   string
		problem string
	}{
		"a token":                        {data: map[string]string{"token": "t"}, login: "BROKER_TOKEN=token"},
		"user and password":              {data: map[string]string{"username": "u", "password": "p"}, login: "BROKER_USER=username BROKER_PASSWORD=password"},
		"a token and an authority":       {data: map[string]string{"token": "t", "ca.crt": authority}, login: "BROKER_TOKEN=token", files: "BROKER_CA_FILE=ca.crt"},
		"empty values are none":          {data: map[string]string{"token": "", "username": "u", "password": "p", "ca.crt": ""}, login: "BROKER_USER=username BROKER_PASSWORD=password"},
		"nothing":                        {problem: "Secret s has neither token nor username and password"},
		"credentials":                    {data: map[string]string{"creds": testCreds}, files: "BROKER_CREDS_FILE=creds"},
		"credentials and an authority":   {data: map[string]string{"creds": testCreds, "ca.crt": authority}, files: "BROKER_CREDS_FILE=creds BROKER_CA_FILE=ca.crt"},
		"credentials of Windows":         {data: map[string]string{"creds": strings.ReplaceAll(testCreds, "\n", "\r\n")}, files: "BROKER_CREDS_FILE=creds"},
		"a seed":                         {data: map[string]string{"nkey": testSeed}, files: "BROKER_NKEY_FILE=nkey"},
		"a seed and an authority":        {data: map[string]string{"nkey": testSeed + "\n", "ca.crt": authority, "token": ""}, files: "BROKER_NKEY_FILE=nkey BROKER_CA_FILE=ca.crt"},
		"an authority alone":             {data: map[string]string{"ca.crt": authority}, files: "BROKER_CA_FILE=ca.crt"},
		"one made by the operator":       {made: true, data: map[string]string{"token": "t"}, problem: "Secret s was made by the operator"},
		"no password":                    {data: map[string]string{"username": "u"}, problem: "has username but no password"},
		"no user":                        {data: map[string]string{"password": "p"}, problem: "has password but no username"},
		"token and user":                 {data: map[string]string{"token": "t", "username": "u", "password": "p"}, problem: "has more than one way to log in (token, username, password): keep the one"},
		"token and password":             {data: map[string]string{"token": "t", "password": "p"}, problem: "has more than one way to log in (token, password)"},
		"user and credentials":           {data: map[string]string{"username": "u", "password": "p", "creds": testCreds}, problem: "has more than one way to log in (username, password, creds)"},
		"all four":                       {data: map[string]string{"token": "t", "username": "u", "password": "p", "creds": "s3cret", "nkey": "s3cret"}, problem: "(token, username, password, creds, nkey)"},
		"credentials and a seed":         {data: map[string]string{"creds": testCreds, "nkey": testSeed}, problem: "has more than one way to log in (creds, nkey)"},
		"credentials without a seed":     {data: map[string]string{"creds": strings.ReplaceAll(testCreds, testSeed, "s3cret")}, problem: "has creds that are no credentials file of a NATS user"},
		"a seed for credentials":         {data: map[string]string{"creds": testSeed}, problem: "has creds that are no credentials file of a NATS user"},
		"a seed of an account":           {data: map[string]string{"nkey": "SA" + testSeed[2:]}, problem: "has an nkey that is not the seed of a user"},
		"a seed that was cut":            {data: map[string]string{"nkey": testSeed[:57]}, problem: "has an nkey that is not the seed of a user"},
		"an authority that is none":      {data: map[string]string{"token": "t", "ca.crt": "s3cret"}, problem: "Secret s: ca.crt holds no certificate"},
		"the token of a service account": {kind: corev1.SecretTypeServiceAccountToken, data: map[string]string{"token": "t", "ca.crt": authority}, problem: "is a ServiceAccount's token"},
	} {
		t.Run(name, func(t *testing.T) {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", UID: "u"}, Type: test.kind, Data: map[string][]byte{}}
			for key, value := range test.data {
				secret.Data[key] = []byte(value)
			}
			if test.made {
				secret.Labels = map[string]string{meshery.LabelManagedBy: meshery.OperatorName}
			}
			got, err := target{url: "nats://h"}.loggingInWith(secret)
			if test.problem != "" {
				waiting, ok := errors.AsType[*unavailable](err)
				if !ok || waiting.reason != v1alpha1.ReasonSecretInvalid || !strings.Contains(err.Error(), test.problem) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("got %v, want %s", err, test.problem)
				}
				return
			}
			texts := func(values []secretValue) string {
				var all []string
				for _, value := range values {
					if value.secret != "s" {
						t.Errorf("%s comes from %s", value.env, value.secret)
					}
					all = append(all, value.env+"="+value.key)
				}
				return strings.Join(all, " ")
			}
			if err != nil || texts(got.login) != test.login || texts(got.files) != test.files || (got.loginHash != "") != (test.login != "") || got.url != "nats://h" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// The agent reads files again by itself; only what it reads when it starts rolls it.
func TestWhatRollsTheAgent(t *testing.T) {
	hash := func(data map[string]string) string {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", UID: "u"}, Data: map[string][]byte{}}
		for key, value := range data {
			secret.Data[key] = []byte(value)
		}
		got, err := target{}.loggingInWith(secret)
		if err != nil {
			t.Fatal(err)
		}
		return got.loginHash
	}
	before, after := string(natsserver.NewAuthority(t).PEM), string(natsserver.NewAuthority(t).PEM)
	first := hash(map[string]string{"username": "u", "password": "p", "ca.crt": before})
	if hash(map[string]string{"username": "u", "password": "p", "ca.crt": after, "other": "x"}) != first {
		t.Error("another authority rolls the agent")
	}
	for _, data := range []map[string]string{{"username": "u", "password": "q"}, {"username": "v", "password": "p"}, {"token": "p"}} {
		if hash(data) == first {
			t.Errorf("%v rolls nothing", data)
		}
	}
	if hash(map[string]string{"creds": testCreds})+hash(map[string]string{"nkey": testSeed}) != "" {
		t.Error("credentials that are files roll the agent")
	}
}

func TestACustomBrokerAndItsSecret(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	newNamedMeshSync(t, namespace, "m", v1alpha1.MeshSyncSpec{Broker: v1alpha1.MeshSyncBroker{Custom: v1alpha1.CustomBroker{
		URL: "nats://nats.example.com", SecretRef: &v1alpha1.SecretReference{Name: "login"},
	}}})
	stop := startOperator(t, namespace)
	ready := func(reason string) string {
		t.Helper()
		return wantMeshSync(t, namespace, "m", v1alpha1.ConditionReady, metav1.ConditionFalse, reason).Message
	}
	if got := ready(v1alpha1.ReasonSecretInvalid); !strings.Contains(got, "Secret login") || !strings.Contains(got, "does not exist") {
		t.Errorf("message %q", got)
	}
	writeSecret(t, namespace, "login", map[string]string{"user": "me"})
	eventually(t, "the message says what the Secret lacks", func(context.Context) error {
		if got := ready(v1alpha1.ReasonSecretInvalid); !strings.Contains(got, "neither token nor username and password") {
			return errors.New(got)
		}
		return nil
	})

	writeSecret(t, namespace, "login", map[string]string{"username": "me", "password": "s3cret-word"})
	first := wantAgent(t, namespace, "m", "the agent has user and password", func(d *appsv1.Deployment) bool {
		return agentEnv(d, "BROKER_USER") == "login/username" && agentEnv(d, "BROKER_PASSWORD") == "login/password"
	})
	if agentEnv(first, "BROKER_URL") != "nats://nats.example.com" || agentEnv(first, "BROKER_TOKEN") != "" || len(first.Spec.Template.Spec.Volumes) != 0 {
		t.Error(describeAgent(first))
	}
	ready(v1alpha1.ReasonMeshSyncPodsNotReady)

	writeSecret(t, namespace, "login", map[string]string{"username": "me", "password": "s3cret-word-2"})
	rolled := wantAgent(t, namespace, "m", "a new password rolls the agent", func(d *appsv1.Deployment) bool { return loginHash(d) != loginHash(first) })

	writeSecret(t, namespace, "login", map[string]string{"token": "s3cret-word", "ca.crt": string(natsserver.NewAuthority(t).PEM)})
	last := wantAgent(t, namespace, "m", "the agent has the token and trusts the authority", func(d *appsv1.Deployment) bool {
		return agentEnv(d, "BROKER_TOKEN") == "login/token" && agentEnv(d, "BROKER_CA_FILE") == "/etc/meshery/broker/ca.crt" && agentEnv(d, "BROKER_USER") == ""
	})
	volumes, mounts := last.Spec.Template.Spec.Volumes, last.Spec.Template.Spec.Containers[0].VolumeMounts
	if len(volumes) != 1 || volumes[0].Secret.SecretName != "login" || len(volumes[0].Secret.Items) != 1 || volumes[0].Secret.Items[0].Key != "ca.crt" ||
		len(mounts) != 1 || mounts[0].MountPath != "/etc/meshery/broker" || !mounts[0].ReadOnly || mounts[0].SubPath != "" {
		t.Errorf("volumes %+v, mounts %+v; want ca.crt alone, and no subPath, which would never be updated", volumes, mounts)
	}
	for _, deployment := range []*appsv1.Deployment{first, rolled, last} {
		if text, _ := json.Marshal(deployment); strings.Contains(string(text), "s3cret-word") {
			t.Errorf("a Deployment holds the password: %s", text)
		}
	}
	ready(v1alpha1.ReasonMeshSyncPodsNotReady)

	if err := server.admin.kube.CoreV1().Secrets(namespace).Delete(t.Context(), "login", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ready(v1alpha1.ReasonSecretInvalid)
	if after := wantAgent(t, namespace, "m", "the agent is there", anyAgent); after.Generation != last.Generation {
		t.Errorf("without its Secret the agent was changed: %s", describeAgent(after))
	}
	wantNoWrites(t, namespace, stop)
}

// Credentials that are files are mounted, each alone, and another content of theirs changes nothing: the agent reads it by itself.
func TestCredentialsThatAreFiles(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	writeSecret(t, namespace, "login", map[string]string{"creds": testCreds, "nkey": testSeed, "other": "x"})
	newNamedMeshSync(t, namespace, "m", v1alpha1.MeshSyncSpec{Broker: v1alpha1.MeshSyncBroker{Custom: v1alpha1.CustomBroker{
		URL: "tls://a.example.com,tls://b.example.com:4333", SecretRef: &v1alpha1.SecretReference{Name: "login"},
	}}})
	stop := startOperator(t, namespace)
	if got := wantMeshSync(t, namespace, "m", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid).Message; !strings.Contains(got, "(creds, nkey)") {
		t.Errorf("message %q", got)
	}
	files := func(d *appsv1.Deployment) string {
		volumes, mounts := d.Spec.Template.Spec.Volumes, d.Spec.Template.Spec.Containers[0].VolumeMounts
		if len(volumes) != 1 || len(mounts) != 1 || volumes[0].Secret == nil || volumes[0].Secret.SecretName != "login" ||
			mounts[0].Name != volumes[0].Name || mounts[0].MountPath != "/etc/meshery/broker" || !mounts[0].ReadOnly || mounts[0].SubPath != "" {
			return ""
		}
		var paths []string
		for _, item := range volumes[0].Secret.Items {
			paths = append(paths, item.Key+":"+mounts[0].MountPath+"/"+item.Path)
		}
		return strings.Join(paths, " ")
	}
	writeSecret(t, namespace, "login", map[string]string{"nkey": testSeed, "other": "x"})
	wantAgent(t, namespace, "m", "the agent has the seed as a file", func(d *appsv1.Deployment) bool {
		return files(d) == "nkey:/etc/meshery/broker/nkey" && agentEnv(d, "BROKER_NKEY_FILE") == "/etc/meshery/broker/nkey"
	})
	writeSecret(t, namespace, "login", map[string]string{"creds": testCreds, "ca.crt": string(natsserver.NewAuthority(t).PEM)})
	before := wantAgent(t, namespace, "m", "the agent has credentials and authority as files", func(d *appsv1.Deployment) bool {
		return files(d) == "creds:/etc/meshery/broker/creds ca.crt:/etc/meshery/broker/ca.crt" && agentEnv(d, "BROKER_CREDS_FILE") == "/etc/meshery/broker/creds" &&
			agentEnv(d, "BROKER_CA_FILE") == "/etc/meshery/broker/ca.crt" && agentEnv(d, "BROKER_NKEY_FILE") == "" && loginHash(d) == ""
	})
	if text, _ := json.Marshal(before); strings.Contains(string(text), "eyJ0eXAi") || strings.Contains(string(text), testSeed) {
		t.Errorf("the Deployment holds credentials: %s", text)
	}
	live, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(t.Context(), "m", metav1.GetOptions{})
	if err != nil || live.Status.PublishingTo != "a.example.com:4222,b.example.com:4333" {
		t.Errorf("status %+v, %v", live.Status, err)
	}
	// The operator has seen the new content when it has seen what came after it.
	writeSecret(t, namespace, "login", map[string]string{"creds": "# another\n" + testCreds, "ca.crt": string(natsserver.NewAuthority(t).PEM)})
	editMeshSync(t, namespace, "m", `{"publishing":{"messagesPerSecond":7}}`)
	wantDelivery(t, namespace, "m", meshery.Delivery{MessagesPerSecond: 7})
	if after := wantAgent(t, namespace, "m", "the agent is there", anyAgent); after.Generation != before.Generation {
		t.Errorf("other credentials change the Deployment: %s", describeAgent(after))
	}
	wantMeshSync(t, namespace, "m", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
	wantNoWrites(t, namespace, stop)
}

// A Broker's token belongs to the Broker: who may write a MeshSync could otherwise have it sent to a server of his own. Such
// Secrets are watched in another way than users'.
func TestASecretOfTheOperatorsIsRefusedForACustomURL(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	custom := func(secret string) v1alpha1.MeshSyncSpec {
		return v1alpha1.MeshSyncSpec{Broker: v1alpha1.MeshSyncBroker{Custom: v1alpha1.CustomBroker{
			URL: "nats://lb.example.com", SecretRef: &v1alpha1.SecretReference{Name: secret},
		}}}
	}
	newNamedMeshSync(t, namespace, "m", custom("meshery-nats-auth"))
	stop := startOperator(t, namespace)
	eventually(t, "the message says whose the Secret is", func(context.Context) error {
		got := wantMeshSync(t, namespace, "m", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid).Message
		if !strings.Contains(got, "Secret meshery-nats-auth was made by the operator") {
			return errors.New(got)
		}
		return nil
	})
	if _, err := server.admin.kube.AppsV1().Deployments(namespace).Get(t.Context(), "m", metav1.GetOptions{}); err == nil {
		t.Error("an agent runs with the token of a Broker")
	}
	wantNoWrites(t, namespace, stop)
	startOperator(t, namespace)
	_, err := server.admin.kube.CoreV1().Secrets(namespace).Patch(t.Context(), "meshery-nats-auth", types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantAgent(t, namespace, "m", "a Secret that turns into a user's is used", func(d *appsv1.Deployment) bool {
		return agentEnv(d, "BROKER_TOKEN") == "meshery-nats-auth/token"
	})
}

func TestABrokerInAnotherNamespace(t *testing.T) {
	t.Parallel()
	namespace, further := newNamespace(t), newNamespace(t)
	serve(t, further, namespace)
	both := func(o *Options) { o.WatchNamespaces = []string{namespace, further} }
	createBroker(t, further)
	createBroker(t, namespace)
	native := v1alpha1.NativeBroker{Name: meshery.BrokerName, Namespace: further}
	newNamedMeshSync(t, namespace, "m", v1alpha1.MeshSyncSpec{Broker: v1alpha1.MeshSyncBroker{Native: native}})
	stop := startOperator(t, namespace, both)

	copied := func(ctx context.Context) (map[string]string, error) {
		secret, err := server.admin.kube.CoreV1().Secrets(namespace).Get(ctx, "m-broker", metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		data := map[string]string{}
		for key, value := range secret.Data {
			data[key] = string(value)
		}
		return data, nil
	}
	wantCopy := func(what string, want map[string]string) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) error {
			got, err := copied(ctx)
			if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
				err = fmt.Errorf("the copy holds the keys of %v", got)
			}
			return err
		})
	}
	address := meshery.BrokerName + "." + further + ".svc.cluster.local:4222"
	first := wantAgent(t, namespace, "m", "the agent reads the copy", func(d *appsv1.Deployment) bool {
		return agentEnv(d, "BROKER_TOKEN") == "m-broker/token" && agentEnv(d, "BROKER_URL") == "nats://$(BROKER_TOKEN)@"+address
	})
	writeSecret(t, further, "meshery-nats-auth", map[string]string{"token": "t2"})
	wantCopy("the copy follows the token", map[string]string{"token": "t2"})
	rolled := wantAgent(t, namespace, "m", "the agent rolls", func(d *appsv1.Deployment) bool { return loginHash(d) != loginHash(first) })
	writeSecret(t, namespace, "m-broker", map[string]string{"token": "by hand"})
	wantCopy("a change by hand is undone", map[string]string{"token": "t2"})

	tls := []byte(`{"spec":{"tls":{"secretName":"certificate"}}}`)
	if _, err := server.admin.meshery.MesheryV1alpha1().Brokers(further).Patch(t.Context(), meshery.BrokerName, types.MergePatchType, tls, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := wantMeshSync(t, namespace, "m", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonBrokerNotReady).Message; !strings.Contains(got, "Secret certificate") {
		t.Errorf("message %q does not name the Secret", got)
	}
	authority, next := string(natsserver.NewAuthority(t).PEM), string(natsserver.NewAuthority(t).PEM)
	pair := newCertificate(t, time.Now().AddDate(1, 0, 0), "b")
	certificate := func(authority string) map[string]string {
		return map[string]string{"tls.crt": string(pair["tls.crt"]), "tls.key": string(pair["tls.key"]), "ca.crt": authority}
	}
	writeSecret(t, further, "certificate", certificate(authority))
	wantCopy("the copy has the authority, and no key", map[string]string{"token": "t2", "ca.crt": authority})
	trusting := wantAgent(t, namespace, "m", "the agent uses TLS", func(d *appsv1.Deployment) bool {
		volumes := d.Spec.Template.Spec.Volumes
		return agentEnv(d, "BROKER_URL") == "tls://$(BROKER_TOKEN)@"+address && len(volumes) == 1 && volumes[0].Secret.SecretName == "m-broker"
	})
	writeSecret(t, further, "certificate", certificate(next))
	wantCopy("the copy follows the authority", map[string]string{"token": "t2", "ca.crt": next})
	if after := wantAgent(t, namespace, "m", "the agent is there", anyAgent); after.Generation != trusting.Generation || loginHash(after) != loginHash(rolled) {
		t.Error("a new authority rolls the agent, which reads it by itself")
	}
	wantMeshSync(t, namespace, "m", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
	wantNoWrites(t, namespace, stop, both)
	startOperator(t, namespace, both)
	editMeshSync(t, namespace, "m", `{"broker":{"native":{"namespace":null}}}`)
	wantAgent(t, namespace, "m", "the agent reads the Broker's Secret", func(d *appsv1.Deployment) bool {
		return agentEnv(d, "BROKER_TOKEN") == "meshery-nats-auth/token" && len(d.Spec.Template.Spec.Volumes) == 0
	})
	eventually(t, "the copy is gone", func(ctx context.Context) error {
		_, err := copied(ctx)
		if err == nil {
			err = errors.New("it is there")
		}
		return ignoreNotFound(err)
	})
}

func TestABrokerInANamespaceThatIsNotServed(t *testing.T) {
	t.Parallel()
	namespace, further := newNamespace(t), newNamespace(t)
	createBroker(t, further)
	writeSecret(t, further, "meshery-nats-auth", map[string]string{"token": "t"})
	newNamedMeshSync(t, namespace, "m", v1alpha1.MeshSyncSpec{Broker: v1alpha1.MeshSyncBroker{Native: v1alpha1.NativeBroker{Name: meshery.BrokerName, Namespace: further}}})
	startOperator(t, namespace)
	for kind, status := range map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionFalse, v1alpha1.ConditionDegraded: metav1.ConditionTrue} {
		if got := wantMeshSync(t, namespace, "m", kind, status, v1alpha1.ReasonNamespaceNotServed).Message; !strings.Contains(got, "--watch-namespaces") || !strings.Contains(got, further) {
			t.Errorf("message %q does not say what to do", got)
		}
	}
}

// Whoever may write Secrets in the MeshSync's namespace could otherwise have one of them overwritten, or used.
func TestTheCopyOverwritesNobodysSecret(t *testing.T) {
	t.Parallel()
	namespace, further := newNamespace(t), newNamespace(t)
	serve(t, further, namespace)
	createBroker(t, further)
	for name, labels := range map[string]map[string]string{"plain": nil, "labelled": {meshery.LabelManagedBy: meshery.OperatorName}} {
		theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name + "-broker", Labels: labels}, StringData: map[string]string{"token": "theirs"}}
		if _, err := server.admin.kube.CoreV1().Secrets(namespace).Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		newNamedMeshSync(t, namespace, name, v1alpha1.MeshSyncSpec{Broker: v1alpha1.MeshSyncBroker{Native: v1alpha1.NativeBroker{Name: meshery.BrokerName, Namespace: further}}})
	}
	startOperator(t, namespace, func(o *Options) { o.WatchNamespaces = []string{namespace, further} })
	for _, name := range []string{"plain", "labelled"} {
		if got := wantMeshSync(t, namespace, name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConflict).Message; !strings.Contains(got, "Secret "+name+"-broker") {
			t.Errorf("message %q", got)
		}
		secret, err := server.admin.kube.CoreV1().Secrets(namespace).Get(t.Context(), name+"-broker", metav1.GetOptions{})
		if err != nil || string(secret.Data["token"]) != "theirs" || len(secret.OwnerReferences) > 0 {
			t.Errorf("the Secret was touched: %v, %v", secret, err)
		}
		if _, err := server.admin.kube.AppsV1().Deployments(namespace).Get(t.Context(), name, metav1.GetOptions{}); err == nil {
			t.Error("an agent runs with a Secret of somebody else's")
		}
	}
}

// A Broker that is not there is waited for, not tried again and again; the agent that runs is left alone.
func TestWaitingForABrokerCostsNothing(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	writeSecret(t, namespace, "meshery-nats-auth", map[string]string{"token": "t"}) // a user's, which outlives the Broker
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	measure, read := measured(t)
	startOperator(t, namespace, measure)
	before := wantAgent(t, namespace, meshery.MeshSyncName, "the agent is there", anyAgent)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
	brokers := server.admin.meshery.MesheryV1alpha1().Brokers(namespace)
	if err := brokers.Delete(t.Context(), meshery.BrokerName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonBrokerNotFound)
	wantIdle(t, read, 1)
	meshSync, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(t.Context(), meshery.MeshSyncName, metav1.GetOptions{})
	if err != nil || !strings.HasPrefix(meshSync.Status.PublishingTo, meshery.BrokerName+".") {
		t.Errorf("publishing to %q, %v; want the broker that the agent still has", meshSync.Status.PublishingTo, err)
	}
	createBroker(t, namespace)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
	wantIdle(t, read, 1)
	if after := wantAgent(t, namespace, meshery.MeshSyncName, "the agent is there", anyAgent); after.Generation != before.Generation {
		t.Errorf("the agent was changed: %s", describeAgent(after))
	}
}

func TestTheBrokerIsLive(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	for _, name := range []string{meshery.BrokerName, "other"} {
		if _, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Create(t.Context(), &v1alpha1.Broker{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	createMeshSync(t, namespace)
	stop := startOperator(t, namespace)
	for _, step := range []struct{ broker, url, login, address string }{
		{`null`, "nats://$(BROKER_TOKEN)@meshery-broker." + namespace + ".svc.cluster.local:4222", "meshery-nats-auth/token", "meshery-broker." + namespace + ".svc.cluster.local:4222"},
		{`{"custom":{"url":"nats://me:pass@nats.example.com"}}`, "nats://me:pass@nats.example.com", "", "nats.example.com:4222"},
		{`{"custom":null,"native":{"name":"other"}}`, "nats://$(BROKER_TOKEN)@other." + namespace + ".svc.cluster.local:4222", "other-nats-auth/token", "other." + namespace + ".svc.cluster.local:4222"},
		{`{"custom":{"url":"nats://b"},"native":null}`, "nats://b", "", "b:4222"},
		{`{"custom":null,"native":{"name":"meshery-broker"}}`, "nats://$(BROKER_TOKEN)@meshery-broker." + namespace + ".svc.cluster.local:4222", "meshery-nats-auth/token", "meshery-broker." + namespace + ".svc.cluster.local:4222"},
	} {
		editMeshSync(t, namespace, meshery.MeshSyncName, `{"broker":`+step.broker+`}`)
		live := wantAgent(t, namespace, meshery.MeshSyncName, step.broker, func(d *appsv1.Deployment) bool {
			return agentEnv(d, "BROKER_URL") == step.url && agentEnv(d, "BROKER_TOKEN") == step.login && (loginHash(d) != "") == (step.login != "")
		})
		index := func(name string) int {
			return slices.IndexFunc(live.Spec.Template.Spec.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == name })
		}
		if step.login != "" && index("BROKER_TOKEN") > index("BROKER_URL") {
			t.Error("the URL stands before the token that it refers to")
		}
		wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
		meshSync, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(t.Context(), meshery.MeshSyncName, metav1.GetOptions{})
		if err != nil || meshSync.Status.PublishingTo != step.address {
			t.Errorf("publishing to %q, %v; want %s", meshSync.Status.PublishingTo, err, step.address)
		}
	}
	wantNoWrites(t, namespace, stop)
}
