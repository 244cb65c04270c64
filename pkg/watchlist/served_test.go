package watchlist

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func kindOf(t *testing.T, served Served, name string) Kind {
	t.Helper()
	i := slices.IndexFunc(served.Kinds, func(kind Kind) bool { return Format(kind.Resource) == name })
	if i < 0 {
		t.Fatalf("%s is not among the kinds", name)
	}
	return served.Kinds[i]
}

func TestSubresourcesAreNoKinds(t *testing.T) {
	t.Parallel()
	for _, kind := range testCluster().Kinds {
		if strings.Contains(kind.Resource.Resource, "/") {
			t.Errorf("%s is among the kinds", Format(kind.Resource))
		}
	}
}

func TestKindsAreAsDiscoverySays(t *testing.T) {
	t.Parallel()
	served := testCluster()
	pods := kindOf(t, served, "pods.v1.")
	if pods.Kind != "Pod" || pods.Singular != "pod" || !slices.Equal(pods.ShortNames, []string{"po"}) || !pods.Namespaced || !pods.Watchable || !pods.Preferred {
		t.Errorf("got %+v", pods)
	}
	if nodes := kindOf(t, served, "nodes.v1."); nodes.Namespaced {
		t.Errorf("got %+v", nodes)
	}
	if first := served.Kinds[0].Resource.Group; first != "" {
		t.Errorf("the first kind is of group %q, want the order of the API server: the core group first", first)
	}
}

func TestAKindNeedsListAndWatch(t *testing.T) {
	t.Parallel()
	for verbs, want := range map[string]bool{"get list watch": true, "list watch": true, "get list": false, "get watch": false, "create": false} {
		list := &metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "things", Kind: "Thing", Verbs: strings.Fields(verbs)}}}
		if got := NewServed(nil, []*metav1.APIResourceList{list}, nil).Kinds[0].Watchable; got != want {
			t.Errorf("%s: got %t", verbs, got)
		}
	}
}

func TestAGroupVersionThatIsNoneIsLeftOut(t *testing.T) {
	t.Parallel()
	list := &metav1.APIResourceList{GroupVersion: "a/b/c", APIResources: []metav1.APIResource{{Name: "things"}}}
	if got := NewServed(nil, []*metav1.APIResourceList{list}, nil).Kinds; len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestSilentGroupsAreKept(t *testing.T) {
	t.Parallel()
	gv := schema.GroupVersion{Group: "metrics.k8s.io", Version: "v1beta1"}
	if got := NewServed(nil, nil, map[schema.GroupVersion]error{gv: nil}).Silent; len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestOneVersionOfAKindIsPreferred(t *testing.T) {
	t.Parallel()
	served := with(`
example.org/v1alpha1
  !bolts Bolt n
  nuts Nut n
example.org/v1beta1
  bolts Bolt n
  nuts Nut n
`)
	for name, want := range map[string]bool{
		"horizontalpodautoscalers.v2.autoscaling": true, // the group says so
		"horizontalpodautoscalers.v1.autoscaling": false,
		"widgets.v1beta1.example.com":             true,
		"widgets.v1alpha2.example.com":            false,
		"levers.v1alpha10.example.com":            true, // the group's version does not have it: the most stable one
		"levers.v1alpha2.example.com":             false,
		"nuts.v1alpha1.example.org":               true, // the group says so, though it is less stable
		"nuts.v1beta1.example.org":                false,
		"bolts.v1beta1.example.org":               true, // the group's version cannot be watched
		"bolts.v1alpha1.example.org":              false,
		"belts.stable.factory.example.com":        true,
	} {
		if got := kindOf(t, served, name).Preferred; got != want {
			t.Errorf("%s: got %t", name, got)
		}
	}
	count := map[schema.GroupResource]int{}
	for _, kind := range served.Kinds {
		if kind.Preferred {
			count[kind.Resource.GroupResource()]++
		}
	}
	for _, kind := range served.Kinds {
		if got := count[kind.Resource.GroupResource()]; got != 1 {
			t.Errorf("%s: %d versions are preferred", kind.Resource.GroupResource(), got)
		}
	}
}

func TestTiers(t *testing.T) {
	t.Parallel()
	tiers := map[int]string{
		TierMap: "namespaces nodes apiservices.apiregistration.k8s.io certificatesigningrequests.certificates.k8s.io ingressclasses.networking.k8s.io " +
			"customresourcedefinitions.apiextensions.k8s.io",
		TierWorkloads: "endpoints pods replicationcontrollers services daemonsets.apps deployments.apps replicasets.apps statefulsets.apps " +
			"horizontalpodautoscalers.autoscaling cronjobs.batch jobs.batch ingresses.networking.k8s.io networkpolicies.networking.k8s.io poddisruptionbudgets.policy endpointslices.discovery.k8s.io",
		TierRest: "configmaps events persistentvolumeclaims persistentvolumes secrets serviceaccounts events.events.k8s.io " +
			"clusterroles.rbac.authorization.k8s.io roles.rbac.authorization.k8s.io csistoragecapacities.storage.k8s.io storageclasses.storage.k8s.io " +
			"volumeattachments.storage.k8s.io leases.coordination.k8s.io onepassworditems.1password.com certificates.cert-manager.io clusterissuers.cert-manager.io " +
			"widgets.example.com gears.example.com levers.example.com belts.factory.example.com bolts.factory.example.com bolts.stable.factory.example.com " +
			"prometheuses.monitoring.coreos.com gizmos.odd.example.com",
	}
	for _, kind := range testCluster().Kinds {
		if name := kind.Resource.GroupResource().String(); kind.Watchable && !slices.Contains(strings.Fields(tiers[kind.tier()]), name) {
			t.Errorf("%s is of tier %d", name, kind.tier())
		}
	}
}

func TestGroupsThatDoNotAnswerAreRemembered(t *testing.T) {
	silent := schema.GroupVersion{Group: "metrics.example.com", Version: "v1"}
	kind := func(group, version string, preferred bool) Kind {
		return Kind{Resource: schema.GroupVersionResource{Group: group, Version: version, Resource: "things"}, Preferred: preferred}
	}
	before := Served{Kinds: []Kind{kind("gone.example.com", "v1", true), kind(silent.Group, "v1", true), kind(silent.Group, "v1beta1", false)}}
	now := Served{
		Kinds:  []Kind{kind("apps", "v1", true), kind(silent.Group, "v1beta1", true)},
		Silent: map[schema.GroupVersion]error{silent: errors.New("no answer")},
	}
	want := []Kind{kind("apps", "v1", true), kind(silent.Group, "v1beta1", false), kind(silent.Group, "v1", true)}
	for _, remembered := range []Served{now.Remembering(before), now.Remembering(now.Remembering(before))} {
		if !reflect.DeepEqual(remembered.Kinds, want) {
			t.Errorf("got %v, want %v", remembered.Kinds, want)
		}
	}
	if !now.Kinds[1].Preferred {
		t.Error("what was given has changed")
	}
}
