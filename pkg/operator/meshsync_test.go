package operator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

func TestMeshSyncImage(t *testing.T) {
	const builtIn = "registry.example.com:5000/meshsync:2.0.0-dev"
	for _, test := range []struct {
		version, want string
		replaced      bool
	}{
		{"", builtIn, false},
		{"2.0.0", "registry.example.com:5000/meshsync:2.0.0", false},
		{"v2.1.3", "registry.example.com:5000/meshsync:2.1.3", false},
		{"2.0.0-dev", builtIn, false},
		{"v2.0.0-rc.1", "registry.example.com:5000/meshsync:2.0.0-rc.1", false},
		{"10.0.0", "registry.example.com:5000/meshsync:10.0.0", false},
		{"1.0.3", builtIn, true},
		{"v0.8.11", builtIn, true},
		{"1.99.0-rc.1", builtIn, true},
		{"stable-latest", builtIn, true},
		{"edge-latest", builtIn, true},
		{"latest", "registry.example.com:5000/meshsync:latest", false},
		{"1f2e3d4", "registry.example.com:5000/meshsync:1f2e3d4", false},
		{"vendor-7", "registry.example.com:5000/meshsync:vendor-7", false},
		{"stable-v1.2.3", builtIn, true},
		{"stable-1f2e3d4", builtIn, true},
		{"edge-1f2e3d4", builtIn, true},
		{"edge-v1.0.3", builtIn, true},
		{"1.0", builtIn, true},
		{"v1.0", builtIn, true},
		{"0.8", builtIn, true},
		{"stable", "registry.example.com:5000/meshsync:stable", false},
		{"1", "registry.example.com:5000/meshsync:1", false},
		{"2", "registry.example.com:5000/meshsync:2", false},
		{"2.1", "registry.example.com:5000/meshsync:2.1", false},
		{"v2.1", "registry.example.com:5000/meshsync:v2.1", false},
		{"20261120", "registry.example.com:5000/meshsync:20261120", false},
		{"2026.11.20", "registry.example.com:5000/meshsync:2026.11.20", false},
		{"1.11.2026_nightly", "registry.example.com:5000/meshsync:1.11.2026_nightly", false},
		{"1.5-vendor", "registry.example.com:5000/meshsync:1.5-vendor", false},
	} {
		options := DefaultOptions()
		options.MeshSyncImage = builtIn
		meshSync := newMeshSync(func(m *v1alpha1.MeshSync) { m.Spec.Version = test.version })
		got, replaced := meshSyncImage(meshSync, &options)
		if got != test.want || replaced != test.replaced {
			t.Errorf("%q: got %s, replaced: %v", test.version, got, replaced)
		}
		warnings := versionWarnings(meshSync, &options)
		if (len(warnings) > 0) != test.replaced || test.replaced && (!strings.Contains(warnings[0].message, test.version) || !strings.Contains(warnings[0].message, builtIn)) {
			t.Errorf("%q: warnings %+v; want one exactly when the version is replaced, with both names", test.version, warnings)
		}
	}
}

func TestWhereTheWatchListStands(t *testing.T) {
	const pods, secrets = `["pods.v1."]`, `["secrets.v1."]`
	list := func(white, black string) map[string]string {
		return map[string]string{"whitelist": white, "blacklist": black}
	}
	for name, test := range map[string]struct {
		list, older map[string]string
		field       string
		want        map[string]string
		reasons     string // of the warnings
	}{
		"nothing":                            {field: "spec.watch-list"},
		"watch-list":                         {list: list(pods, ""), field: "spec.watch-list", want: list(pods, "")},
		"the older name":                     {older: list("", secrets), field: "spec.informer_config", want: list("", secrets), reasons: "DeprecatedField"},
		"watch-list wins":                    {list: list(pods, ""), older: list("", secrets), field: "spec.watch-list", want: list(pods, ""), reasons: "DeprecatedField"},
		"both keys of watch-list are empty":  {list: list(" ", ""), older: list(pods, ""), field: "spec.informer_config", want: list(pods, ""), reasons: "DeprecatedField"},
		"an empty array is nothing":          {list: list("[]", ""), older: list(pods, ""), field: "spec.informer_config", want: list(pods, ""), reasons: "DeprecatedField"},
		"an older name that says nothing":    {list: list("", ""), older: map[string]string{}, field: "spec.watch-list", want: list("", ""), reasons: "DeprecatedField"},
		"what cannot be read says something": {list: list("[", ""), older: list(pods, ""), field: "spec.watch-list", want: list("[", ""), reasons: "DeprecatedField"},
		"a key that nobody reads": {
			list: map[string]string{"whitelist": pods, "White list": pods, "discovery": "{}"}, field: "spec.watch-list",
			want: map[string]string{"whitelist": pods, "White list": pods, "discovery": "{}"}, reasons: "WatchListKeys",
		},
		"a key of the older name that nobody reads": {
			older: map[string]string{"whitelist": pods, "Blacklist": secrets}, field: "spec.informer_config",
			want: map[string]string{"whitelist": pods, "Blacklist": secrets}, reasons: "WatchListKeys DeprecatedField",
		},
	} {
		t.Run(name, func(t *testing.T) {
			meshSync := newMeshSync(func(m *v1alpha1.MeshSync) {
				m.Spec.WatchList.Data = test.list
				if test.older != nil {
					m.Spec.InformerConfig = &v1alpha1.WatchList{Data: test.older}
				}
			})
			field, data := watchListOf(meshSync)
			if field != test.field || !maps.Equal(data, test.want) {
				t.Errorf("got %s %v", field, data)
			}
			var reasons []string
			for _, warning := range watchListWarnings(meshSync) {
				reasons = append(reasons, warning.reason)
				_, ofDiscovery := data["discovery"]
				if warning.reason == v1alpha1.ReasonWatchListKeys && (!strings.HasPrefix(warning.message, field+".data has keys that are not read: ") ||
					strings.Contains(warning.message, "spec.discovery") != ofDiscovery) {
					t.Errorf("message %q does not name field and key", warning.message)
				}
			}
			if strings.Join(reasons, " ") != test.reasons {
				t.Errorf("warnings %v, want %s", reasons, test.reasons)
			}
			if err := checkWatchList(meshSync); (err != nil) != (test.want["whitelist"] == "[") || err != nil && !strings.Contains(err.Error(), field) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Every field takes effect in place, and one that is removed is gone.
func TestSizeVersionAndVerbosityAreLive(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	before := wantAgent(t, namespace, meshery.MeshSyncName, "the agent is there", anyAgent)
	image := func(d *appsv1.Deployment) string { return d.Spec.Template.Spec.Containers[0].Image }
	for _, step := range []struct {
		spec  string
		right func(*appsv1.Deployment) bool
	}{
		{`{"size":3}`, func(d *appsv1.Deployment) bool { return *d.Spec.Replicas == 3 }},
		{`{"size":null}`, func(d *appsv1.Deployment) bool { return *d.Spec.Replicas == 1 }},
		{`{"version":"v2.3.4"}`, func(d *appsv1.Deployment) bool { return image(d) == "meshery/meshsync:2.3.4" }},
		{`{"version":"latest"}`, func(d *appsv1.Deployment) bool {
			return image(d) == "meshery/meshsync:latest" && d.Spec.Template.Spec.Containers[0].ImagePullPolicy == corev1.PullAlways
		}},
		{`{"version":null}`, func(d *appsv1.Deployment) bool { return image(d) == DefaultMeshSyncImage }},
		{`{"verbosity":4}`, func(d *appsv1.Deployment) bool { return agentEnv(d, "MESHSYNC_VERBOSITY") == "4" }},
		{`{"verbosity":0}`, func(d *appsv1.Deployment) bool { return agentEnv(d, "MESHSYNC_VERBOSITY") == "0" }},
		{`{"verbosity":null}`, func(d *appsv1.Deployment) bool { return agentEnv(d, "MESHSYNC_VERBOSITY") == "" }},
	} {
		editMeshSync(t, namespace, meshery.MeshSyncName, step.spec)
		if live := wantAgent(t, namespace, meshery.MeshSyncName, step.spec, step.right); live.UID != before.UID {
			t.Errorf("%s: the Deployment was recreated", step.spec)
		}
	}
	editMeshSync(t, namespace, meshery.MeshSyncName, `{"version":"stable-latest"}`)
	if got := wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionWarning, metav1.ConditionTrue, v1alpha1.ReasonVersionReplaced).Message; !strings.Contains(got, "stable-latest") {
		t.Errorf("message %q", got)
	}
	wantAgent(t, namespace, meshery.MeshSyncName, "the operator's own image runs", func(d *appsv1.Deployment) bool { return image(d) == DefaultMeshSyncImage })
}

// The agent follows the ConfigMap while it runs: an edit must not restart it. A list that cannot be read is not followed.
func TestWatchListEditsChangeOnlyTheConfigMap(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	before := wantAgent(t, namespace, meshery.MeshSyncName, "the agent is there", anyAgent)
	written := len(mutations(t, namespace))
	wantList := func(want string) {
		t.Helper()
		eventually(t, "the list is "+want, func(ctx context.Context) error {
			config, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Get(ctx, "meshery-meshsync-watch-list", metav1.GetOptions{})
			if err == nil && config.Data["whitelist"]+config.Data["blacklist"] != want {
				err = fmt.Errorf("it is %v", config.Data)
			}
			return err
		})
	}
	wantWarning := func(reason, text string) {
		t.Helper()
		if got := wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionWarning, metav1.ConditionTrue, reason).Message; !strings.Contains(got, text) {
			t.Errorf("message %q does not contain %s", got, text)
		}
	}
	wantInvalid := func(text string) {
		t.Helper()
		if got := wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWatchListInvalid).Message; !strings.HasPrefix(got, text) {
			t.Errorf("message %q does not begin with %s", got, text)
		}
	}
	edit := func(spec string) { t.Helper(); editMeshSync(t, namespace, meshery.MeshSyncName, spec) }

	edit(`{"watch-list":{"data":{"whitelist":"[\"pods.v1.\"]","blacklist":""}}}`)
	wantList(`["pods.v1."]`)
	edit(`{"watch-list":{"data":{"whitelist":"[\"pods.v1.\",{\"Resource\":\"nodes\"}]","Blacklist":"[\"pods.v1.\"]"}}}`)
	wantList(`["pods.v1.",{"Resource":"nodes"}]`)
	wantWarning(v1alpha1.ReasonWatchListKeys, "Blacklist")
	edit(`{"watch-list":{"data":{"whitelist":"[\"pods.v1.\""}}}`)
	wantInvalid("spec.watch-list: whitelist is not a JSON array")
	wantList(`["pods.v1.",{"Resource":"nodes"}]`)

	edit(`{"watch-list":null,"informer_config":{"data":{"blacklist":"[\"secrets.v1.\"]"}}}`)
	wantList(`["secrets.v1."]`)
	wantWarning(v1alpha1.ReasonDeprecatedField, "spec.watch-list")
	edit(`{"informer_config":{"data":{"blacklist":"secrets.v1."}}}`)
	wantInvalid("spec.informer_config: blacklist is not a JSON array")
	wantList(`["secrets.v1."]`)
	edit(`{"watch-list":{"data":{"whitelist":"[\"nodes.v1.\"]"}}}`)
	wantList(`["nodes.v1."]`)

	wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
	if after := wantAgent(t, namespace, meshery.MeshSyncName, "the agent is there", anyAgent); after.Generation != before.Generation {
		t.Errorf("the Deployment was changed: %s", describeAgent(after))
	}
	for _, write := range mutations(t, namespace)[written:] {
		if strings.Contains(write, "/deployments/") {
			t.Errorf("needless write: %s", write)
		}
	}
}

// What Meshery Server applies, with a field manager of its own and by force, is kept through edits and restarts.
func TestEverythingThatMesheryServerAppliesIsKept(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	stop := startOperator(t, namespace)
	wantAgent(t, namespace, meshery.MeshSyncName, "the agent is there", anyAgent)
	asServer := metav1.PatchOptions{FieldManager: "meshery-server", Force: new(true)}
	api := server.admin.meshery.MesheryV1alpha1()
	const whitelist = `[{"Resource":"pods.v1.","Events":["ADDED","MODIFIED"]}]`
	for _, apply := range []func() error{
		func() error {
			_, err := api.Brokers(namespace).Patch(t.Context(), meshery.BrokerName, types.ApplyPatchType, []byte(
				`{"apiVersion":"meshery.io/v1alpha1","kind":"Broker","metadata":{"name":"meshery-broker"},
				"spec":{"size":3,"version":"2.15.1-alpine","service":{"type":"NodePort","annotations":{"a":"b"}}}}`), asServer)
			return err
		},
		func() error {
			_, err := api.MeshSyncs(namespace).Patch(t.Context(), meshery.MeshSyncName, types.ApplyPatchType, []byte(
				`{"apiVersion":"meshery.io/v1alpha1","kind":"MeshSync","metadata":{"name":"meshery-meshsync"},
				"spec":{"size":2,"version":"v2.0.1","watch-list":{"data":{"whitelist":"[{\"Resource\":\"pods.v1.\",\"Events\":[\"ADDED\",\"MODIFIED\"]}]","blacklist":""}}}}`), asServer)
			return err
		},
		func() error {
			_, err := server.admin.kube.AppsV1().Deployments(namespace).Patch(t.Context(), meshery.MeshSyncName, types.ApplyPatchType, []byte(
				`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"meshery-meshsync"},"spec":{"template":{
				"metadata":{"annotations":{"meshery.io/restarted-at":"2026-08-01T00:00:00Z"}},
				"spec":{"containers":[{"name":"meshsync","args":["--outputNamespaces=a,b","--outputResources=pods,deployments"],"env":[
				{"name":"MESHSYNC_REDACT_SECRETS","value":"false"},{"name":"MESHSYNC_BROKER_CONTENT_DEDUP","value":"true"},{"name":"DEBUG","value":"true"}]}]}}}}`), asServer)
			return err
		},
	} {
		if err := apply(); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(d *appsv1.Deployment) bool {
		return fmt.Sprint(d.Spec.Template.Spec.Containers[0].Args) == "[--outputNamespaces=a,b --outputResources=pods,deployments]" &&
			agentEnv(d, "MESHSYNC_REDACT_SECRETS") == "false" && agentEnv(d, "MESHSYNC_BROKER_CONTENT_DEDUP") == "true" && agentEnv(d, "DEBUG") == "true" &&
			d.Spec.Template.Annotations["meshery.io/restarted-at"] == "2026-08-01T00:00:00Z"
	}
	wantAgent(t, namespace, meshery.MeshSyncName, "size and version arrive, and the rest stays", func(d *appsv1.Deployment) bool {
		return *d.Spec.Replicas == 2 && d.Spec.Template.Spec.Containers[0].Image == "meshery/meshsync:2.0.1" && kept(d)
	})
	wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
	wantNoWrites(t, namespace, stop)

	stop = startOperator(t, namespace)
	for _, spec := range []string{`{"verbosity":2}`, `{"broker":{"custom":{"url":"nats://b"}}}`, `{"verbosity":null,"broker":null}`} {
		editMeshSync(t, namespace, meshery.MeshSyncName, spec)
		wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
		wantAgent(t, namespace, meshery.MeshSyncName, "what the Server set is kept after "+spec, kept)
	}
	wantNoWrites(t, namespace, stop)
	config, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Get(t.Context(), "meshery-meshsync-watch-list", metav1.GetOptions{})
	if err != nil || config.Data["whitelist"] != whitelist || config.Data["blacklist"] != "" {
		t.Errorf("watch-list %v, %v", config.Data, err)
	}
	broker, err := api.Brokers(namespace).Get(t.Context(), meshery.BrokerName, metav1.GetOptions{})
	if err != nil || broker.Spec.Size != 3 || broker.Spec.Service.Type != corev1.ServiceTypeNodePort {
		t.Errorf("Broker %+v, %v", broker.Spec, err)
	}
}

// Two MeshSyncs on one Broker and one on another, in one namespace.
func TestMeshSyncsDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	brokerOf := map[string]string{"m1": "b1", "m2": "b2", "m3": "b1"}
	listOf := map[string]string{"m1": `["pods.v1."]`, "m2": `["nodes.v1."]`, "m3": `["secrets.v1."]`}
	for _, name := range []string{"b1", "b2"} {
		if _, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Create(t.Context(), &v1alpha1.Broker{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, broker := range brokerOf {
		newNamedMeshSync(t, namespace, name, v1alpha1.MeshSyncSpec{
			Broker:    v1alpha1.MeshSyncBroker{Native: v1alpha1.NativeBroker{Name: broker}},
			WatchList: v1alpha1.WatchList{Data: map[string]string{"whitelist": listOf[name]}},
		})
	}
	stop := startOperator(t, namespace)
	agents := map[string]*appsv1.Deployment{}
	for name, broker := range brokerOf {
		agents[name] = wantAgent(t, namespace, name, name+" uses its Broker", func(d *appsv1.Deployment) bool {
			return agentEnv(d, "BROKER_TOKEN") == broker+"-nats-auth/token" && agentEnv(d, "MESHSYNC_NAME") == name && d.Spec.Template.Spec.ServiceAccountName == name
		})
		wantMeshSync(t, namespace, name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
		config, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Get(t.Context(), name+"-watch-list", metav1.GetOptions{})
		if err != nil || config.Data["whitelist"] != listOf[name] {
			t.Errorf("%s has the list %v, %v", name, config.Data, err)
		}
	}
	for name, agent := range agents {
		selector, err := metav1.LabelSelectorAsSelector(agent.Spec.Selector)
		if err != nil {
			t.Fatal(err)
		}
		for other, pods := range agents {
			if selector.Matches(labels.Set(pods.Spec.Template.Labels)) != (name == other) {
				t.Errorf("%s selects the pods of %s: %v", name, other, name != other)
			}
		}
	}
	writeSecret(t, namespace, "b2-nats-auth", map[string]string{"token": "another"})
	wantAgent(t, namespace, "m2", "a new token rolls its agent", func(d *appsv1.Deployment) bool { return loginHash(d) != loginHash(agents["m2"]) })
	for _, name := range []string{"m1", "m3"} {
		if after := wantAgent(t, namespace, name, "the agent is there", anyAgent); after.Generation != agents[name].Generation {
			t.Errorf("%s was changed by another Broker's token", name)
		}
	}
	wantNoWrites(t, namespace, stop)
}

// The selector of a Deployment cannot be changed. One that an earlier operator made for the same MeshSync is replaced.
func TestADeploymentWithAnotherSelectorIsReplaced(t *testing.T) {
	t.Parallel()
	for name, further := range map[string]map[string]string{
		"of an earlier operator": nil,
		"with our label":         {meshery.LabelManagedBy: meshery.OperatorName},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			createBroker(t, namespace)
			meshSync := createMeshSync(t, namespace)
			deployments := server.admin.kube.AppsV1().Deployments(namespace)
			earlier, err := deployments.Create(t.Context(), earlierDeployment(meshSync, further), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			stop := startOperator(t, namespace)
			wantAgent(t, namespace, meshery.MeshSyncName, "the Deployment is another", func(d *appsv1.Deployment) bool {
				return d.UID != earlier.UID && maps.Equal(d.Spec.Selector.MatchLabels, meshSyncSelector(meshSync))
			})
			wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
			eventually(t, "what the earlier Deployment made is gone", func(ctx context.Context) error {
				sets, err := server.admin.kube.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=meshery"})
				if err == nil && len(sets.Items) > 0 {
					err = errors.New("a ReplicaSet is left")
				}
				return err
			})
			wantNoWrites(t, namespace, stop)
		})
	}
}

// Only what the MeshSync controls is replaced.
func TestADeploymentOfAnotherIsNotReplaced(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	meshSync := createMeshSync(t, namespace)
	theirs := earlierDeployment(meshSync, nil)
	theirs.OwnerReferences = nil
	created, err := server.admin.kube.AppsV1().Deployments(namespace).Create(t.Context(), theirs, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	startOperator(t, namespace)
	wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConflict)
	if after := wantAgent(t, namespace, meshery.MeshSyncName, "it is there", anyAgent); after.UID != created.UID || after.Generation != created.Generation {
		t.Errorf("it was changed: %s", describeAgent(after))
	}
}

// earlierDeployment is what the Kubebuilder operator makes for a MeshSync.
func earlierDeployment(meshSync *v1alpha1.MeshSync, further map[string]string) *appsv1.Deployment {
	pods := map[string]string{"app": "meshery", "component": "meshsync"}
	objectLabels := maps.Clone(pods)
	maps.Copy(objectLabels, further)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Name: meshSync.Name, Labels: objectLabels,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "meshery.io/v1alpha1", Kind: "MeshSync", Name: meshSync.Name, UID: meshSync.UID,
				Controller: new(true), BlockOwnerDeletion: new(true),
			}},
		},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: pods},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: pods},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "meshsync", Image: "meshery/meshsync:stable-latest"}}},
			},
		},
	}
}
