package operator

import (
	"maps"
	"testing"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// The API server refuses a ConfigMap with a key such as "white list", and with it the keys that are right.
func TestTheWatchListHasItsTwoKeysOnly(t *testing.T) {
	for _, test := range []struct{ data, want map[string]string }{
		{nil, map[string]string{"whitelist": "", "blacklist": ""}},
		{map[string]string{"white list": "[]", "Whitelist": "[]", "blacklist": "[1]"}, map[string]string{"whitelist": "", "blacklist": "[1]"}},
		{map[string]string{"whitelist": "[2]", "blacklist": ""}, map[string]string{"whitelist": "[2]", "blacklist": ""}},
	} {
		meshSync := newMeshSync(func(m *v1alpha1.MeshSync) { m.Spec.WatchList.Data = test.data })
		if got := meshSyncWatchList(meshSync).Data; !maps.Equal(got, test.want) {
			t.Errorf("%v: got %v", test.data, got)
		}
	}
}
