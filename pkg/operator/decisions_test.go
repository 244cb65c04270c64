package operator

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

func newBroker(mods ...func(*v1alpha1.Broker)) *v1alpha1.Broker {
	broker := &v1alpha1.Broker{
		ObjectMeta: metav1.ObjectMeta{Name: "meshery-broker", Namespace: "meshery", UID: "b-uid", Generation: 3},
		Spec:       v1alpha1.BrokerSpec{Size: 1, Service: v1alpha1.BrokerService{Type: corev1.ServiceTypeLoadBalancer}},
	}
	for _, mod := range mods {
		mod(broker)
	}
	return broker
}

func newMeshSync(mods ...func(*v1alpha1.MeshSync)) *v1alpha1.MeshSync {
	meshSync := &v1alpha1.MeshSync{
		ObjectMeta: metav1.ObjectMeta{Name: "meshery-meshsync", Namespace: "meshery", UID: "m-uid", Generation: 5},
		Spec:       v1alpha1.MeshSyncSpec{Size: 1},
	}
	for _, mod := range mods {
		mod(meshSync)
	}
	return meshSync
}

func TestBrokerReady(t *testing.T) {
	statefulSet := func(generation, observed int64, replicas, updated, ready int32) *appsv1.StatefulSet {
		return &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Generation: generation},
			Status:     appsv1.StatefulSetStatus{ObservedGeneration: observed, Replicas: replicas, UpdatedReplicas: updated, ReadyReplicas: ready},
		}
	}
	for name, test := range map[string]struct {
		statefulSet *appsv1.StatefulSet
		applyErr    error
		status      metav1.ConditionStatus
		reason      string
	}{
		"nothing there yet":              {nil, nil, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady},
		"all pods ready":                 {statefulSet(2, 2, 1, 1, 1), nil, metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed},
		"a pod not ready":                {statefulSet(2, 2, 1, 1, 0), nil, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady},
		"ready, but of the old template": {statefulSet(2, 2, 1, 0, 1), nil, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady},
		"status of an older generation":  {statefulSet(2, 1, 1, 1, 1), nil, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady},
		"one pod too many":               {statefulSet(2, 2, 2, 1, 1), nil, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady},
		"an object was refused":          {statefulSet(2, 2, 1, 1, 1), errors.New("quota"), metav1.ConditionFalse, v1alpha1.ReasonApplyFailed},
		"an object is somebody else's": {
			statefulSet(2, 2, 1, 1, 1), fmt.Errorf("x: %w", &foreignError{"Service", "meshery-broker", "Helm"}),
			metav1.ConditionFalse, v1alpha1.ReasonConflict,
		},
	} {
		t.Run(name, func(t *testing.T) {
			broker := newBroker()
			got := brokerReady(broker, rolloutTo(broker.Spec.Size, test.statefulSet), findingsOf(test.applyErr), nil)
			if got.Status != test.status || got.Reason != test.reason || got.ObservedGeneration != 3 || got.Message == "" {
				t.Errorf("got %+v, want %s %s of generation 3 with a message", got, test.status, test.reason)
			}
		})
	}
}

func TestTargetOfMeshSync(t *testing.T) {
	native := func(name, namespace string) func(*v1alpha1.MeshSync) {
		return func(m *v1alpha1.MeshSync) {
			m.Spec.Broker.Native = v1alpha1.NativeBroker{Name: name, Namespace: namespace}
		}
	}
	for name, test := range map[string]struct {
		mod  func(*v1alpha1.MeshSync)
		want cache.ObjectName
	}{
		"nothing named":      {func(*v1alpha1.MeshSync) {}, cache.NewObjectName("meshery", "meshery-broker")},
		"a name alone":       {native("b", ""), cache.NewObjectName("meshery", "b")},
		"name and namespace": {native("b", "other"), cache.NewObjectName("other", "b")},
		"a namespace alone":  {native("", "other"), cache.NewObjectName("other", "meshery-broker")},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := nativeBroker(newMeshSync(test.mod)); !ok || got != test.want {
				t.Errorf("got %v %v, want %v", got, ok, test.want)
			}
		})
	}
}

func TestCustomBrokerURL(t *testing.T) {
	for url, want := range map[string]string{
		"nats://nats.example.com:4333":       "nats.example.com:4333",
		"nats://nats.example.com":            "nats.example.com:4222",
		"nats.example.com:4333":              "nats.example.com:4333",
		"tls://user:p%40ss@nats.example.com": "nats.example.com:4222",
		"nats://[2001:db8::1]:4222":          "[2001:db8::1]:4222",
		"::1":                                "[::1]:4222",
		"nats://s3cret/tail@h:4222":          "h:4222",
		"nats://u:p@a,nats://b:4333":         "a:4222,b:4333",
		"tls://a,b, c":                       "a:4222,b:4222,c:4222",
	} {
		if got, err := customTarget(url); err != nil || got.address != want || got.url != url || len(got.login) > 0 {
			t.Errorf("%s: got %+v, %v; want address %s", url, got, err, want)
		}
	}
	if got, _ := customTarget("nats://user:pa$(HOME)@nats.example.com"); got.url != "nats://user:pa$$(HOME)@nats.example.com" {
		t.Errorf("got %s, which Kubernetes would expand", got.url)
	}
	for _, url := range []string{"nats://user:hunter2@[broken", "nats://hunter2@h:0", "nats://hunter2@h:99999", "nats://hunter2@a:4222,b:0", "nats://user:hunter2", "nats://hunter2@a,nats://b@c", "tls://hunter2@a,nats://b"} {
		got, err := customTarget(url)
		waiting, ok := errors.AsType[*unavailable](err)
		if !ok || waiting.reason != v1alpha1.ReasonBrokerURLInvalid || !strings.HasPrefix(err.Error(), "spec.broker.custom.url: ") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %+v, %v; want an error without the password", url, got, err)
		}
	}
}

func TestImageWithTag(t *testing.T) {
	for _, test := range []struct{ image, tag, want string }{
		{"nats:2.15.2-alpine", "", "nats:2.15.2-alpine"},
		{"nats:2.15.2-alpine", "2.16.0", "nats:2.16.0"},
		{"nats", "2.16.0", "nats:2.16.0"},
		{"registry.example.com:5000/mirror/nats", "2.16.0", "registry.example.com:5000/mirror/nats:2.16.0"},
		{"registry.example.com:5000/nats:1", "2", "registry.example.com:5000/nats:2"},
		{"nats@sha256:abc", "2", "nats:2"},
	} {
		if got := imageWithTag(test.image, test.tag); got != test.want {
			t.Errorf("imageWithTag(%q, %q) = %q, want %q", test.image, test.tag, got, test.want)
		}
	}
}

func TestRetryOnlyWhatATryCanMend(t *testing.T) {
	foreign := &foreignError{"Service", "s", "Helm"}
	waiting := &unavailable{v1alpha1.ReasonBrokerNotFound, "Broker x does not exist"}
	refused := apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "s", errors.New("quota"))
	for name, test := range map[string]struct {
		err     error
		recheck time.Duration
		failed  bool
	}{
		"no error":                         {nil, 0, false},
		"an event will come":               {waiting, 0, false},
		"a person must act":                {foreign, recheckForeign, false},
		"the API server refused":           {refused, 0, true},
		"waiting hides no failure":         {errors.Join(waiting, errors.Join(refused)), 0, true},
		"somebody else's hides no failure": {errors.Join(foreign, refused), recheckForeign, true},
	} {
		t.Run(name, func(t *testing.T) {
			recheck, err := retry(test.err)
			if recheck != test.recheck || (err != nil) != test.failed {
				t.Errorf("got %v, %v", recheck, err)
			}
		})
	}
}

func TestTransitionTimeChangesWithTheStatusOnly(t *testing.T) {
	before, now := metav1.NewTime(time.Unix(1, 0)), metav1.NewTime(time.Unix(2, 0))
	present := []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "A", LastTransitionTime: before}}
	for status, want := range map[metav1.ConditionStatus]metav1.Time{metav1.ConditionTrue: before, metav1.ConditionFalse: now} {
		conditions := []metav1.Condition{{Type: "Ready", Status: status, Reason: "B"}}
		keepTransitionTimes(conditions, present, now)
		if got := conditions[0].LastTransitionTime; got != want {
			t.Errorf("%s: got %v, want %v", status, got, want)
		}
	}
}

func TestOptionsNameWhatIsWrong(t *testing.T) {
	options := DefaultOptions()
	if err := options.Validate(); err != nil {
		t.Fatal(err)
	}
	options.Namespace = "Not_A_Label"
	options.WatchNamespaces = []string{"*", "a"}
	options.Workers = 0
	options.BrokerImage = ""
	err := options.Validate()
	for _, want := range []string{`--namespace="Not_A_Label"`, `--watch-namespaces="*,a"`, "--workers=0", "--broker-image is empty"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not mention %s", err, want)
		}
	}
}

// Kubernetes replaces $(BROKER_TOKEN) when the container starts; the token itself must stand in no object but the Secret.
func TestNoObjectHoldsTheToken(t *testing.T) {
	options := DefaultOptions()
	broker := newBroker(func(b *v1alpha1.Broker) { b.Spec.Size = 3; b.Status.Endpoint.Internal = internalEndpoint(b, &options) })
	var secrets []*corev1.Secret
	for _, spec := range brokerSecrets(broker) {
		secrets = append(secrets, newBrokerSecret(broker, spec))
	}
	target, err := nativeTarget(broker, secrets[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	objects := append(brokerObjects(broker, secrets, &options), meshSyncObjects(newMeshSync(), target, watchListData(newMeshSync()), &options)...)
	text, err := json.Marshal(objects)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		for key, value := range secret.Data {
			if strings.Contains(string(text), string(value)) {
				t.Errorf("the value of %s in %s stands in another object", key, secret.Name)
			}
		}
	}
	for _, want := range []string{
		`"name":"BROKER_URL","value":"nats://$(BROKER_TOKEN)@meshery-broker.meshery.svc.cluster.local:4222"`,
		`"secretKeyRef":{"name":"meshery-nats-auth","key":"token"}`,
		`nats://routes:$(ROUTES_PASSWORD)@meshery-broker-2.meshery-broker-headless:6222`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

// nats.conf reads an unquoted value that begins like a number as one.
func TestTokensAreTextToNATS(t *testing.T) {
	for range 10_000 {
		token := newToken()
		if first := token[0]; first < 'a' || first > 'z' || len(token) < 24 || strings.ContainsAny(token, " \"'\\$#/@:") {
			t.Fatalf("token %q", token)
		}
	}
}

// The first MeshSync spells out the default watch-list, for its user to edit.
func TestFirstMeshSyncHasTheDefaultWatchList(t *testing.T) {
	text, err := os.ReadFile("../../manifests/30-first-resources.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		t.Fatal(err)
	}
	if config.Name != firstResources || config.Namespace != meshery.Namespace {
		t.Errorf("ConfigMap %s/%s is not what the operator reads", config.Namespace, config.Name)
	}
	var meshSync v1alpha1.MeshSync
	if err := yaml.UnmarshalStrict([]byte(config.Data["meshsync.yaml"]), &meshSync); err != nil {
		t.Fatal(err)
	}
	got, err := watchlist.Parse(watchListData(&meshSync))
	if err != nil {
		t.Fatal(err)
	}
	// Where all of them are served, the same is watched in the same way.
	var served watchlist.Served
	for _, entry := range watchlist.Default().Resolve(watchlist.Served{}).Missing {
		version, _, _ := strings.Cut(strings.TrimPrefix(entry.Name, entry.Kind.Resource+"."), ".")
		served.Kinds = append(served.Kinds, watchlist.Kind{Resource: entry.Kind.WithVersion(version), Watchable: true, Preferred: true})
	}
	want, resolved := watchlist.Default().Resolve(served), got.Resolve(served)
	for i := range resolved.Targets {
		resolved.Targets[i].Position = 0 // as in the default list
	}
	if len(want.Targets) != len(served.Kinds) || !reflect.DeepEqual(resolved, want) {
		t.Errorf("got  %+v\nwant %+v", resolved, want)
	}
}
