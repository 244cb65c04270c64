package watchlist

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestHowAKindMayBeWritten(t *testing.T) {
	t.Parallel()
	const badForm = ": a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps"
	tests := map[string]struct{ text, want string }{
		"canonical":                                     {"deployments.v1.apps", "watch deployments.v1.apps"},
		"canonical, core group":                         {"pods.v1.", "watch pods.v1."},
		"a group with dots":                             {"certificates.v1.cert-manager.io", "watch certificates.v1.cert-manager.io"},
		"a group that begins with digit":                {"onepassworditems.v1.1password.com", "watch onepassworditems.v1.1password.com"},
		"a version other than preferred":                {"horizontalpodautoscalers.v1.autoscaling", "watch horizontalpodautoscalers.v1.autoscaling"},
		"an unusual version":                            {"belts.stable.factory.example.com", "watch belts.stable.factory.example.com"},
		"an unusual version where a group is called so": {"bolts.stable.factory.example.com", "watch bolts.stable.factory.example.com"},
		"plural alone": {"deployments", `
			watch deployments.v1.apps
			note whitelist entry 1 (deployments): taken as deployments.v1.apps, which is how it should be written`},
		"plural alone, of several groups": {"events", `
			watch events.v1.
			note whitelist entry 1 (events): taken as events.v1., which is how it should be written`},
		"plural alone, in several versions": {"levers", `
			watch levers.v1alpha10.example.com
			note whitelist entry 1 (levers): taken as levers.v1alpha10.example.com, which is how it should be written`},
		"kind": {"Deployment", `
			watch deployments.v1.apps
			note whitelist entry 1 (Deployment): taken as deployments.v1.apps, which is how it should be written`},
		"kind and group": {"Deployment.apps", `
			watch deployments.v1.apps
			note whitelist entry 1 (Deployment.apps): taken as deployments.v1.apps, which is how it should be written`},
		"kind in full": {"Deployment.v1.apps", `
			watch deployments.v1.apps
			note whitelist entry 1 (Deployment.v1.apps): taken as deployments.v1.apps, which is how it should be written`},
		"singular": {"node.v1.", `
			watch nodes.v1.
			note whitelist entry 1 (node.v1.): taken as nodes.v1., which is how it should be written`},
		"short name": {"po", `
			watch pods.v1.
			note whitelist entry 1 (po): taken as pods.v1., which is how it should be written`},
		"short name in upper case": {"PVC", `
			watch persistentvolumeclaims.v1.
			note whitelist entry 1 (PVC): taken as persistentvolumeclaims.v1., which is how it should be written`},
		"upper case": {"Pods.V1.", `
			watch pods.v1.
			note whitelist entry 1 (Pods.V1.): taken as pods.v1., which is how it should be written`},
		"plural and group, no version": {"deployments.apps", `
			watch deployments.v1.apps
			note whitelist entry 1 (deployments.apps): taken as deployments.v1.apps, which is how it should be written`},
		"plural and core group, no version": {"pods.", `
			watch pods.v1.
			note whitelist entry 1 (pods.): taken as pods.v1., which is how it should be written`},
		"plural and a group with dots, no version": {"certificates.cert-manager.io", `
			watch certificates.v1.cert-manager.io
			note whitelist entry 1 (certificates.cert-manager.io): taken as certificates.v1.cert-manager.io, which is how it should be written`},
		"plural and a group that begins with a digit, no version": {"onepassworditems.1password.com", `
			watch onepassworditems.v1.1password.com
			note whitelist entry 1 (onepassworditems.1password.com): taken as onepassworditems.v1.1password.com, which is how it should be written`},
		"plural and group, the version an unusual one": {"belts.factory.example.com", `
			watch belts.stable.factory.example.com
			note whitelist entry 1 (belts.factory.example.com): taken as belts.stable.factory.example.com, which is how it should be written`},
		"short name and group": {"cert.cert-manager.io", `
			watch certificates.v1.cert-manager.io
			note whitelist entry 1 (cert.cert-manager.io): taken as certificates.v1.cert-manager.io, which is how it should be written`},
		"a singular that is not the kind": {"gizmette.odd.example.com", `
			watch gizmos.latest.odd.example.com
			note whitelist entry 1 (gizmette.odd.example.com): taken as gizmos.latest.odd.example.com, which is how it should be written`},
		"a kind that is not the singular": {"Gizmo", `
			watch gizmos.latest.odd.example.com
			note whitelist entry 1 (Gizmo): taken as gizmos.latest.odd.example.com, which is how it should be written`},
		"the last dot missing": {"pods.v1", `
			watch pods.v1.
			note whitelist entry 1 (pods.v1): taken as pods.v1., which is how it should be written`},
		"the group missing": {"deployments.v1", `
			watch deployments.v1.apps
			note whitelist entry 1 (deployments.v1): taken as deployments.v1.apps, which is how it should be written`},
		"the group missing, singular": {"deployment.v1", `
			watch deployments.v1.apps
			note whitelist entry 1 (deployment.v1): taken as deployments.v1.apps, which is how it should be written`},
		"a dead version": {"cronjobs.v1beta1.batch", `
			watch cronjobs.v1.batch
			note whitelist entry 1 (cronjobs.v1beta1.batch): not served in version v1beta1; taken as cronjobs.v1.batch`},
		"a dead version of a singular": {"hpa.v2beta2.autoscaling", `
			watch horizontalpodautoscalers.v2.autoscaling
			note whitelist entry 1 (hpa.v2beta2.autoscaling): not served in version v2beta2; taken as horizontalpodautoscalers.v2.autoscaling`},
		"a singular in a version other than preferred": {"hpa.v1.autoscaling", `
			watch horizontalpodautoscalers.v1.autoscaling
			note whitelist entry 1 (hpa.v1.autoscaling): taken as horizontalpodautoscalers.v1.autoscaling, which is how it should be written`},
		"group and version swapped":             {"deployments.apps.v1", `skip whitelist entry 1 ("deployments.apps.v1"): group and version are swapped; write "deployments.v1.apps"`},
		"group and version swapped, core group": {"Pods..v1", `skip whitelist entry 1 ("Pods..v1"): group and version are swapped; write "pods.v1."`},
		"wildcard of group and version swapped": {"*.apps.v1", `skip whitelist entry 1 ("*.apps.v1"): group and version are swapped; write "*.v1.apps"`},
		"swapped and ill-formed":                {"a/b.apps.v1", `skip whitelist entry 1 ("a/b.apps.v1")` + badForm},
		"nothing":                               {"", `skip whitelist entry 1 (""): Resource is missing; a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps`},
		"a subresource":                         {"pods/log.v1.", `skip whitelist entry 1 ("pods/log.v1.")` + badForm},
		"no name":                               {".v1.", `skip whitelist entry 1 (".v1.")` + badForm},
		"too many dots":                         {"pods.v1..", `skip whitelist entry 1 ("pods.v1..")` + badForm},
		"dots alone":                            {"pods..", `skip whitelist entry 1 ("pods..")` + badForm},
		"a blank":                               {"pods.v1. ", `skip whitelist entry 1 ("pods.v1. ")` + badForm},
		"a wildcard within a name":              {"pod*.v1.", `skip whitelist entry 1 ("pod*.v1.")` + badForm},
		"a wildcard as version":                 {"pods.*.", `skip whitelist entry 1 ("pods.*.")` + badForm},

		"the core group by a name": {"pods.v1.core", `
			watch pods.v1.
			note whitelist entry 1 (pods.v1.core): taken as pods.v1., which is how it should be written`},
		"the core group by a name, no version": {"po.Core", `
			watch pods.v1.
			note whitelist entry 1 (po.Core): taken as pods.v1., which is how it should be written`},
		"the core group by a name, swapped":    {"pods.core.v1", `skip whitelist entry 1 ("pods.core.v1"): group and version are swapped; write "pods.v1."`},
		"the core group by a name, not served": {"things.v1.core", "missing 1 things.v1.core: not served (yet)"},
		"wildcard of a group": {"*.apps", `
			watch daemonsets.v1.apps
			watch deployments.v1.apps
			watch replicasets.v1.apps
			watch statefulsets.v1.apps`},
		"wildcard of a group, each kind in one version": {"*.example.com", `
			watch gears.v1beta1.example.com
			watch levers.v1alpha10.example.com
			watch widgets.v1beta1.example.com`},
		"wildcard of a version": {"*.v1alpha2.example.com", `
			watch levers.v1alpha2.example.com
			watch widgets.v1alpha2.example.com`},
		"wildcard of an unusual version":                            {"*.latest.odd.example.com", "watch gizmos.latest.odd.example.com"},
		"wildcard of an unusual version where a group is called so": {"*.stable.factory.example.com", "watch bolts.v1.stable.factory.example.com"},
		"wildcard of an unusual version, the group is none":         {"*.stable.factory.example.com.", `skip whitelist entry 1 ("*.stable.factory.example.com.")` + badForm},
		"wildcard of a group in upper case": {"*.Cert-Manager.io", `
			watch certificates.v1.cert-manager.io
			watch clusterissuers.v1.cert-manager.io
			note whitelist entry 1 (*.Cert-Manager.io): taken as *.cert-manager.io, which is how it should be written`},
		"wildcard of the core group": {"*.", `
			watch namespaces.v1.
			watch nodes.v1.
			watch endpoints.v1.
			watch pods.v1.
			watch replicationcontrollers.v1.
			watch services.v1.
			watch configmaps.v1.
			watch persistentvolumeclaims.v1.
			watch persistentvolumes.v1.
			watch secrets.v1.
			watch serviceaccounts.v1.`},
		"wildcard of a version, the last dot missing": {"*.v1", `
			watch namespaces.v1.
			watch nodes.v1.
			watch endpoints.v1.
			watch pods.v1.
			watch replicationcontrollers.v1.
			watch services.v1.
			watch configmaps.v1.
			watch persistentvolumeclaims.v1.
			watch persistentvolumes.v1.
			watch secrets.v1.
			watch serviceaccounts.v1.
			note whitelist entry 1 (*.v1): taken as *.v1., which is how it should be written`},
		"wildcard of nothing, in upper case":            {"*.Nowhere", `note whitelist entry 1 (*.Nowhere): there is nothing to watch: not served (yet)`},
		"wildcard of a version of the core group alone": {"*.v1beta1", `note whitelist entry 1 (*.v1beta1): there is nothing to watch: not served (yet)`},
		"wildcard of nothing":                           {"*.nowhere.example.com", `note whitelist entry 1 (*.nowhere.example.com): there is nothing to watch: not served (yet)`},
		"wildcard of a version of nothing":              {"*.v9.apps", `note whitelist entry 1 (*.v9.apps): there is nothing to watch: not served (yet)`},
		"wildcard of what cannot be watched":            {"*.metrics.k8s.io", `note whitelist entry 1 (*.metrics.k8s.io): there is nothing to watch: what it means cannot be listed and watched, or changes all the time and must be named`},
		"wildcard of what changes all the time": {"*.coordination.k8s.io", `
			note whitelist entry 1 (*.coordination.k8s.io): there is nothing to watch: what it means cannot be listed and watched, or changes all the time and must be named`},

		"not served":                    {"things.v1.example.com", "missing 1 things.v1.example.com (things.example.com): not served (yet)"},
		"not served, no version":        {"things.example.com", "missing 1 things.example.com: not served (yet)"},
		"not served, no group":          {"things", "missing 1 things: not served (yet)"},
		"not served, the last dot gone": {"things.v1", "missing 1 things.v1: not served (yet)"},
		"not served, upper case":        {"Thing.v1.example.com", "missing 1 Thing.v1.example.com: not served (yet)"},
		"served in another group only":  {"deployments.v1.", "missing 1 deployments.v1. (deployments): not served (yet)"},
		"cannot be watched":             {"bindings.v1.", "missing 1 bindings.v1. (bindings): it cannot be listed and watched"},
		"cannot be watched, by its kind": {"TokenReview", `
			missing 1 TokenReview (tokenreviews.authentication.k8s.io): it cannot be listed and watched
			note whitelist entry 1 (TokenReview): taken as tokenreviews.v1.authentication.k8s.io, which is how it should be written`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entry, err := json.Marshal(test.text)
			if err != nil {
				t.Fatal(err)
			}
			wantTexts(t, mustParse(t, map[string]string{"whitelist": "[" + string(entry) + "]"}).Resolve(testCluster()), test.want)
		})
	}
}

func TestAPluralWinsOverAShortName(t *testing.T) {
	t.Parallel()
	served := with("example.org/v1\n  po Po n po")
	wantTexts(t, mustParse(t, map[string]string{"whitelist": `["po"]`}).Resolve(served),
		"watch po.v1.example.org\nnote whitelist entry 1 (po): taken as po.v1.example.org, which is how it should be written")
}

func TestAGroupCalledCore(t *testing.T) {
	t.Parallel()
	list := mustParse(t, map[string]string{"whitelist": `["pods.v1.core","*.core"]`})
	wantTexts(t, list.Resolve(with("core/v1\n  pods Pod n pod\n  cores Core n core")), "watch cores.v1.core\nwatch pods.v1.core")
}

// What Format writes is understood as the very same resource, even where a group is called like another's version.
func TestFormatIsUnderstood(t *testing.T) {
	t.Parallel()
	for _, kind := range testCluster().Kinds {
		if !kind.Watchable {
			continue
		}
		text := Format(kind.Resource)
		wantTexts(t, mustParse(t, map[string]string{"whitelist": `["` + text + `"]`}).Resolve(testCluster()), "watch "+text)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for want, resource := range map[string]schema.GroupVersionResource{
		"pods.v1.":            {Version: "v1", Resource: "pods"},
		"deployments.v1.apps": {Group: "apps", Version: "v1", Resource: "deployments"},
	} {
		if got := Format(resource); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
