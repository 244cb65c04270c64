package operator

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// The API server refuses a ConfigMap with a key such as "white list", and with it the keys that are right. The third key is
// spec.discovery and nothing else.
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
