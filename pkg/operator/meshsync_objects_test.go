package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// The API server refuses a ConfigMap with a key such as "white list", and with it the keys that are right. The third key is
// spec.discovery and nothing else. (The fourth is not of the list: meshsync_delivery_test.go.)
func TestTheWatchListHasItsThreeKeysOnly(t *testing.T) {
	inventory := v1alpha1.MeshSyncDiscovery{Depth: v1alpha1.DepthInventory, Namespaces: v1alpha1.NamespaceSelection{Exclude: []string{"kube-system"}}}
	for _, test := range []struct {
		data      map[string]string
		discovery v1alpha1.MeshSyncDiscovery
		want      map[string]string
	}{
		{nil, v1alpha1.MeshSyncDiscovery{}, map[string]string{"whitelist": "", "blacklist": "", "discovery": ""}},
		{
			map[string]string{"white list": "[]", "Whitelist": "[]", "blacklist": `["pods.v1."]`}, v1alpha1.MeshSyncDiscovery{MaxTier: 2},
			map[string]string{"whitelist": "", "blacklist": `["pods.v1."]`, "discovery": `{"namespaces":{},"maxTier":2}`},
		},
		{
			map[string]string{"whitelist": "[2]", "blacklist": "", "discovery": `{"maxTier":1}`}, inventory,
			map[string]string{"whitelist": "[2]", "blacklist": "", "discovery": `{"namespaces":{"exclude":["kube-system"]},"depth":"inventory"}`},
		},
		{map[string]string{"discovery": "nonsense"}, v1alpha1.MeshSyncDiscovery{}, map[string]string{"whitelist": "", "blacklist": "", "discovery": ""}},
	} {
		meshSync := newMeshSync(func(m *v1alpha1.MeshSync) { m.Spec.WatchList.Data, m.Spec.Discovery = test.data, test.discovery })
		if got := watchListData(meshSync); !maps.Equal(got, test.want) {
			t.Errorf("%v: got %v", test.data, got)
		}
		if err := checkWatchList(meshSync); err != nil {
			t.Errorf("%v: %v", test.data, err)
		}
	}
}

func TestTheAgentKnowsItsMemory(t *testing.T) {
	for name, test := range map[string]struct {
		resources *corev1.ResourceRequirements
		want      string
	}{
		"the default's":   {nil, "966367620"}, // 90 % of 1Gi
		"the user's":      {&corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("100M")}}, "90000000"},
		"without a limit": {&corev1.ResourceRequirements{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			meshSync := newMeshSync(func(m *v1alpha1.MeshSync) { m.Spec.Resources = test.resources })
			got := ""
			for _, variable := range meshSyncEnv(meshSync, target{}) {
				if *variable.Name == "GOMEMLIMIT" {
					got = *variable.Value
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Standbys are ready though they do not publish, so an agent need not end before another can take over from it.
func TestAnAgentIsReplacedWhenTheNextIsReady(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	const size = 4 // from here on Kubernetes' own default lets one be away
	editMeshSync(t, namespace, meshery.MeshSyncName, `{"size":4}`)
	playReady := func(pods []corev1.Pod) {
		t.Helper()
		for _, pod := range pods {
			_, err := server.admin.kube.CoreV1().Pods(namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType,
				[]byte(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`), metav1.PatchOptions{}, "status")
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	playReady(wantAgentPods(t, namespace, size, 0, ""))
	wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonMeshSyncDeployed)

	editMeshSync(t, namespace, meshery.MeshSyncName, `{"verbosity":3}`)
	for replaced := range size {
		playReady(wantAgentPods(t, namespace, size-replaced, replaced+1, "3"))
	}
	wantAgentPods(t, namespace, 0, size, "3")
	wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonMeshSyncDeployed)
	pod := wantAgent(t, namespace, meshery.MeshSyncName, "the agent is there", anyAgent).Spec.Template.Spec
	identity := slices.IndexFunc(pod.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == "POD_NAME" })
	if identity < 0 || pod.Containers[0].Env[identity].ValueFrom.FieldRef.FieldPath != "metadata.name" || *pod.TerminationGracePeriodSeconds != 60 {
		t.Errorf("pods %+v; want their name as POD_NAME, and time to publish what is left", pod)
	}
}

// wantAgentPods waits until the Deployment has acted on its newest spec and there are so many pods without and with a verbosity, and
// returns those with it, or those without where none is named.
func wantAgentPods(t *testing.T, namespace string, without, with int, verbosity string) []corev1.Pod {
	t.Helper()
	var pods map[bool][]corev1.Pod
	eventually(t, fmt.Sprintf("%d pods of before and %d of now", without, with), func(ctx context.Context) error {
		all, err := server.admin.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "component=meshsync"})
		if err != nil {
			return err
		}
		deployment, err := server.admin.kube.AppsV1().Deployments(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pods = map[bool][]corev1.Pod{}
		for _, pod := range all.Items {
			isOne := slices.ContainsFunc(pod.Spec.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == "MESHSYNC_VERBOSITY" && v.Value == verbosity })
			pods[isOne] = append(pods[isOne], pod)
		}
		if status := deployment.Status; len(pods[false]) != without || len(pods[true]) != with ||
			status.ObservedGeneration != deployment.Generation || int(status.Replicas) != without+with {
			return fmt.Errorf("there are %d and %d; status %+v", len(pods[false]), len(pods[true]), status)
		}
		return nil
	})
	return pods[verbosity != ""]
}
