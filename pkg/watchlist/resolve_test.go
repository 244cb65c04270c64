package watchlist

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// everything is what a blacklist of nothing that is served leaves of the tests' cluster, line by line.
const everything = `
	watch apiservices.v1.apiregistration.k8s.io
	watch certificatesigningrequests.v1.certificates.k8s.io
	watch customresourcedefinitions.v1.apiextensions.k8s.io
	watch ingressclasses.v1.networking.k8s.io
	watch namespaces.v1.
	watch nodes.v1.
	watch cronjobs.v1.batch
	watch daemonsets.v1.apps
	watch deployments.v1.apps
	watch endpointslices.v1.discovery.k8s.io
	watch horizontalpodautoscalers.v2.autoscaling
	watch ingresses.v1.networking.k8s.io
	watch jobs.v1.batch
	watch networkpolicies.v1.networking.k8s.io
	watch poddisruptionbudgets.v1.policy
	watch pods.v1.
	watch replicasets.v1.apps
	watch replicationcontrollers.v1.
	watch services.v1.
	watch statefulsets.v1.apps
	watch belts.stable.factory.example.com
	watch bolts.stable.factory.example.com
	watch bolts.v1.stable.factory.example.com
	watch certificates.v1.cert-manager.io
	watch clusterissuers.v1.cert-manager.io
	watch clusterroles.v1.rbac.authorization.k8s.io
	watch configmaps.v1.
	watch csistoragecapacities.v1.storage.k8s.io
	watch gears.v1beta1.example.com
	watch gizmos.latest.odd.example.com
	watch levers.v1alpha10.example.com
	watch onepassworditems.v1.1password.com
	watch persistentvolumeclaims.v1.
	watch persistentvolumes.v1.
	watch prometheuses.v1.monitoring.coreos.com
	watch roles.v1.rbac.authorization.k8s.io
	watch secrets.v1.
	watch serviceaccounts.v1.
	watch storageclasses.v1.storage.k8s.io
	watch volumeattachments.v1.storage.k8s.io
	watch widgets.v1beta1.example.com`

const defaults = `
	watch apiservices.v1.apiregistration.k8s.io
	watch namespaces.v1.
	watch nodes.v1.
	watch cronjobs.v1.batch
	watch daemonsets.v1.apps
	watch deployments.v1.apps
	watch endpoints.v1.
	watch endpointslices.v1.discovery.k8s.io
	watch ingresses.v1.networking.k8s.io
	watch pods.v1.
	watch replicasets.v1.apps
	watch replicationcontrollers.v1.
	watch services.v1.
	watch statefulsets.v1.apps
	watch clusterroles.v1.rbac.authorization.k8s.io
	watch configmaps.v1.
	watch persistentvolumeclaims.v1.
	watch persistentvolumes.v1.
	watch prometheuses.v1.monitoring.coreos.com
	watch secrets.v1.
	watch storageclasses.v1.storage.k8s.io
	watch volumeattachments.v1.storage.k8s.io
	missing 0 grafanas.v1beta1.grafana.integreatly.org (grafanas.grafana.integreatly.org): not served (yet)`

// without takes lines off a text.
func without(text string, names ...string) string {
	for _, name := range names {
		text = strings.Replace(text+"\n", "\twatch "+name+"\n", "", 1)
	}
	return text
}

func TestWhichListSelects(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ white, black, want string }{
		"neither: the default list":       {"", "", defaults},
		"empty arrays: the default list":  {" [] ", "[]", defaults},
		"null: the default list":          {"null", "", defaults},
		"a whitelist selects":             {`["pods.v1.","nodes.v1."]`, "", "watch nodes.v1.\nwatch pods.v1."},
		"an empty blacklist is none":      {`["pods.v1."]`, "[]", "watch pods.v1."},
		"a blacklist removes from it":     {`["pods.v1.","secrets.v1."]`, `["secrets.v1."]`, "watch pods.v1."},
		"in every version":                {`["pods.v1.","hpa.v2.autoscaling"]`, `["horizontalpodautoscalers.v1.autoscaling"]`, "watch pods.v1.\nnote whitelist entry 2 (hpa.v2.autoscaling): taken as horizontalpodautoscalers.v2.autoscaling, which is how it should be written"},
		"everything that it selects":      {`["pods.v1."]`, `["*"]`, ""},
		"from wildcards":                  {`["*.apps"]`, `["replicasets.v1.apps","*.v2.autoscaling"]`, "watch daemonsets.v1.apps\nwatch deployments.v1.apps\nwatch statefulsets.v1.apps"},
		"what is not served (yet)":        {`["things.v1.example.com","others.v1.example.com"]`, `["things.v2.example.com"]`, "missing 2 others.v1.example.com (others.example.com): not served (yet)\nnote blacklist entry 1 (things.v2.example.com): nothing is left out: not served (yet)"},
		"what cannot be watched":          {`["bindings.v1."]`, `["bindings.v1."]`, ""},
		"a blacklist alone":               {"", `["secrets.v1.",{"Resource":"gears.v1beta1.example.com"}]`, without(everything, "secrets.v1.", "gears.v1beta1.example.com")},
		"a blacklist alone, of a group":   {"", `["*.example.com"]`, without(everything, "widgets.v1beta1.example.com", "gears.v1beta1.example.com", "levers.v1alpha10.example.com")},
		"a blacklist alone, of all":       {"", `["*"]`, ""},
		"a blacklist of some bad entries": {"", `[7,"secrets.v1."]`, without(everything, "secrets.v1.") + "\n" + `skip blacklist entry 1 (7): nothing is left out: want {"Resource":"pods.v1.","Events":["ADDED"]} or "pods.v1."; unexpected number`},
		"the wildcard: the same":          {`["*"]`, "", everything},
		"bad entries select nothing":      {`["deployments.apps.v1"]`, "", `skip whitelist entry 1 ("deployments.apps.v1"): group and version are swapped; write "deployments.v1.apps"`},
		"endpoints where slices are not":  {"", `["endpointslices.v1.discovery.k8s.io"]`, strings.Replace(without(everything, "endpointslices.v1.discovery.k8s.io"), "watch horizontal", "watch endpoints.v1.\n\twatch horizontal", 1)},
		"endpoints of a wildcard":         {`["*.","*.discovery.k8s.io"]`, `["configmaps.v1.","p*"]`, "watch namespaces.v1.\nwatch nodes.v1.\nwatch endpointslices.v1.discovery.k8s.io\nwatch pods.v1.\nwatch replicationcontrollers.v1.\nwatch services.v1.\nwatch persistentvolumeclaims.v1.\nwatch persistentvolumes.v1.\nwatch secrets.v1.\nwatch serviceaccounts.v1.\n" + `skip blacklist entry 2 ("p*"): nothing is left out: a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps`},
		"endpoints that are named":        {`["endpoints.v1.","endpointslices.v1.discovery.k8s.io"]`, "", "watch endpoints.v1.\nwatch endpointslices.v1.discovery.k8s.io"},
		"what changes all the time":       {`["events.v1.events.k8s.io","leases.v1.coordination.k8s.io"]`, "", "watch events.v1.events.k8s.io\nwatch leases.v1.coordination.k8s.io"},
		"beside a wildcard":               {`["*.coordination.k8s.io","leases.v1.coordination.k8s.io"]`, "", "watch leases.v1.coordination.k8s.io\nnote whitelist entry 1 (*.coordination.k8s.io): there is nothing to watch: what it means cannot be listed and watched, or changes all the time and must be named"},
		"named in an entry that is black": {`["leases.v1.coordination.k8s.io"]`, `["*.coordination.k8s.io"]`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantTexts(t, mustParse(t, map[string]string{"whitelist": test.white, "blacklist": test.black}).Resolve(testCluster()), test.want)
		})
	}
}

func TestEntriesForTheSameKind(t *testing.T) {
	t.Parallel()
	const conflict = " names the same kind in another version or with other options, and is in force; put them into one entry"
	tests := map[string]struct{ white, want string }{
		"events are united":                    {`{"Resource":"pods.v1.","Events":["ADDED"]},{"Resource":"pods.v1.","Events":["DELETED"]}`, "watch pods.v1. ADDED,DELETED"},
		"events are united, whatever the name": {`{"Resource":"pods.v1.","Events":["ADDED"]},{"Resource":"po","Events":["DELETED"]}`, "watch pods.v1. ADDED,DELETED\nnote whitelist entry 2 (po): taken as pods.v1., which is how it should be written"},
		"events are united with those of a dead version": {`{"Resource":"cronjobs.v1beta1.batch","Events":["ADDED"]},{"Resource":"cronjobs.v1.batch","Events":["MODIFIED"]}`,
			"watch cronjobs.v1.batch ADDED,MODIFIED\nnote whitelist entry 1 (cronjobs.v1beta1.batch): not served in version v1beta1; taken as cronjobs.v1.batch"},
		"events are united where options say the same": {`{"Resource":"pods.v1.","Events":["ADDED"],"namespaces":["a","b"],"depth":"full"},{"Resource":"pods.v1.","Events":["DELETED"],"namespaces":["b","a"]}`,
			"watch pods.v1. ADDED,DELETED in a,b"},
		"other namespaces": {`{"Resource":"pods.v1.","namespaces":["a"]},{"Resource":"pods.v1.","namespaces":["b"]}`,
			"watch pods.v1. in a\nskip whitelist entry 2 (pods.v1.): entry 1" + conflict},
		"other labels": {`"nodes.v1.",{"Resource":"pods.v1.","labelSelector":"a"},{"Resource":"pods.v1.","labelSelector":"b"}`,
			"watch nodes.v1.\nwatch pods.v1. labels a\nskip whitelist entry 3 (pods.v1.): entry 2" + conflict},
		"other fields": {`"pods.v1.",{"Resource":"pods.v1.","fieldSelector":"a=b"}`, "watch pods.v1.\nskip whitelist entry 2 (pods.v1.): entry 1" + conflict},
		"another depth, and unknown events": {`"pods.v1.",{"Resource":"pods.v1.","depth":"inventory","Events":["x","ADDED"]}`, `
			watch pods.v1.
			skip whitelist entry 2 (pods.v1.): known events are ADDED, MODIFIED and DELETED, but not "x"
			skip whitelist entry 2 (pods.v1.): entry 1` + conflict},
		"another version": {`"horizontalpodautoscalers.v1.autoscaling","horizontalpodautoscalers.v2.autoscaling"`,
			"watch horizontalpodautoscalers.v1.autoscaling\nskip whitelist entry 2 (horizontalpodautoscalers.v2.autoscaling): entry 1" + conflict},
		"a bad entry does not stand in the way": {`{"Resource":"pods.v1.","Events":["x"]},{"Resource":"pods.v1.","depth":"x"},"pods.v1."`, `
			watch pods.v1.
			skip whitelist entry 1 (pods.v1.): known events are ADDED, MODIFIED and DELETED, but not "x"
			skip whitelist entry 2 (pods.v1.): depth "x": want inventory or full`},

		"a name wins over a wildcard": {`{"Resource":"*.apps","Events":["ADDED"]},{"Resource":"deployments.v1.apps","Events":["DELETED"],"depth":"inventory"}`, `
			watch daemonsets.v1.apps ADDED
			watch deployments.v1.apps DELETED depth inventory
			watch replicasets.v1.apps ADDED
			watch statefulsets.v1.apps ADDED`},
		"a name wins over a wildcard, in its version": {`"*.autoscaling","horizontalpodautoscalers.v1.autoscaling"`, "watch horizontalpodautoscalers.v1.autoscaling"},
		"a group wins over all":                       {`{"Resource":"*","depth":"inventory","Events":["ADDED"]},"*.apps"`, inventoryBut("daemonsets.v1.apps", "deployments.v1.apps", "replicasets.v1.apps", "statefulsets.v1.apps")},
		"the earlier of two wildcards wins":           {`{"Resource":"*.v1.autoscaling","depth":"inventory"},"*.v2.autoscaling"`, "watch horizontalpodautoscalers.v1.autoscaling depth inventory"},
		"options of a wildcard": {`{"Resource":"*.policy","Events":["ADDED"],"namespaces":["a"],"labelSelector":"x","fieldSelector":"metadata.name=y","depth":"inventory"}`,
			"watch poddisruptionbudgets.v1.policy ADDED in a labels x fields metadata.name=y depth inventory"},
		"namespaces of a wildcard do not concern what has none": {`{"Resource":"*.cert-manager.io","namespaces":["a"]}`,
			"watch certificates.v1.cert-manager.io in a\nwatch clusterissuers.v1.cert-manager.io"},
		"the same wildcard twice": {`"*.policy","*.policy"`, "watch poddisruptionbudgets.v1.policy"},

		"not served, twice": {`"things.v1.example.com","things.v1.example.com","Thing","Thing"`, `
			missing 1 things.v1.example.com (things.example.com): not served (yet)
			missing 3 Thing: not served (yet)`},
		"not served, two of them":      {`"Thing","Other"`, "missing 1 Thing: not served (yet)\nmissing 2 Other: not served (yet)"},
		"not served, in two versions":  {`"things.v1.example.com","things.v2.example.com"`, "missing 1 things.v1.example.com (things.example.com): not served (yet)"},
		"cannot be watched, two names": {`"bindings.v1.","bindings.v2."`, "missing 1 bindings.v1. (bindings): it cannot be listed and watched\nnote whitelist entry 2 (bindings.v2.): not served in version v2; taken as bindings.v1."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantTexts(t, mustParse(t, map[string]string{"whitelist": "[" + test.white + "]"}).Resolve(testCluster()), test.want)
		})
	}
}

// inventoryBut is everything, its events ADDED and its depth inventory, but for some kinds.
func inventoryBut(names ...string) string {
	lines := strings.Split(strings.TrimSpace(everything), "\n")
	for i, line := range lines {
		if !slices.Contains(names, strings.TrimPrefix(strings.TrimSpace(line), "watch ")) {
			lines[i] += " ADDED depth inventory"
		}
	}
	return strings.Join(lines, "\n")
}

// An entry with no namespace left is still the one for its kind: a wildcard does not watch in other namespaces what it limits.
func TestAWildcardDoesNotReplaceALimitedEntry(t *testing.T) {
	t.Parallel()
	list := mustParse(t, map[string]string{
		"whitelist": `["*.policy",{"Resource":"poddisruptionbudgets.v1.policy","namespaces":["a"]},"*.batch"]`,
		"discovery": `{"namespaces":{"exclude":["a"]}}`,
	})
	wantTexts(t, list.Resolve(testCluster()), `
		watch cronjobs.v1.batch not in a
		watch jobs.v1.batch not in a
		skip whitelist entry 2 (poddisruptionbudgets.v1.policy): no namespace is left to watch it in`)
}

// An entry that cannot be used is no reason to watch its kind without its limits.
func TestAWildcardDoesNotReplaceASkippedEntry(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ white, want string }{
		"a depth": {`{"Resource":"jobs.v1.batch","depth":"inventry"},"*.batch"`,
			"watch cronjobs.v1.batch\n" + `skip whitelist entry 1 (jobs.v1.batch): depth "inventry": want inventory or full`},
		"after the wildcard, in other words": {`"*.batch",{"Resource":"Job","namespaces":["Prod"]}`,
			"watch cronjobs.v1.batch\n" + `skip whitelist entry 2 (Job): namespaces: "Prod" cannot be the name of a namespace`},
		"events": {`{"Resource":"jobs.v1.batch","Events":["ADD"]},"*.batch"`,
			"watch cronjobs.v1.batch\n" + `skip whitelist entry 1 (jobs.v1.batch): known events are ADDED, MODIFIED and DELETED, but not "ADD"`},
		"an unknown option": {`{"Resource":"jobs.v1.batch","dept":"inventory"},"*.batch"`,
			"watch cronjobs.v1.batch\n" + `skip whitelist entry 1 ({"Resource":"jobs.v1.batch","dept":"inventory"}): want {"Resource":"pods.v1.","Events":["ADDED"]} or "pods.v1."; unknown field "dept"`},
		"an option of another kind": {`{"depth":1,"Resource":"jobs.v1.batch"},"*.batch"`,
			"watch cronjobs.v1.batch\n" + `skip whitelist entry 1 ({"depth":1,"Resource":"jobs.v1.batch"}): want {"Resource":"pods.v1.","Events":["ADDED"]} or "pods.v1."; depth: unexpected number`},
		"swapped": {`{"Resource":"jobs.batch.v1","depth":"inventory"},"*.batch"`,
			"watch cronjobs.v1.batch\n" + `skip whitelist entry 1 ({"Resource":"jobs.batch.v1","depth":"inventory"}): group and version are swapped; write "jobs.v1.batch"`},
		"the wildcard of a group": {`{"Resource":"*.batch","depth":"inventry"},"*"`,
			without(everything, "jobs.v1.batch", "cronjobs.v1.batch") + "\n" + `skip whitelist entry 1 (*.batch): depth "inventry": want inventory or full`},
		"but its own is in force": {`{"Resource":"jobs.v1.batch","depth":"inventry"},{"Resource":"jobs.v1.batch","depth":"inventory"},"*.batch"`,
			"watch cronjobs.v1.batch\nwatch jobs.v1.batch depth inventory\n" + `skip whitelist entry 1 (jobs.v1.batch): depth "inventry": want inventory or full`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantTexts(t, mustParse(t, map[string]string{"whitelist": "[" + test.white + "]"}).Resolve(testCluster()), test.want)
		})
	}
}

func TestSilentGroups(t *testing.T) {
	t.Parallel()
	served := testCluster()
	served.Silent = map[schema.GroupVersion]error{
		{Group: "metrics.example.com", Version: "v1beta1"}:  errors.New("503"),
		{Group: "metrics.example.com", Version: "v1alpha1"}: errors.New("503"),
		{Group: "apps", Version: "v2"}:                      errors.New("503"),
	}
	const metrics = "not known while API group metrics.example.com/v1alpha1 does not answer"
	const first = "not known while API group apps/v2 does not answer"
	tests := map[string]struct{ white, black, want string }{
		"in full":          {`["loads.v1beta1.metrics.example.com"]`, "", "missing 1 loads.v1beta1.metrics.example.com (loads.metrics.example.com) silent: " + metrics},
		"without version":  {`["loads.metrics.example.com"]`, "", "missing 1 loads.metrics.example.com silent: " + metrics},
		"without group":    {`["loads"]`, "", "missing 1 loads silent: " + first},
		"of another group": {`["loads.v1.example.com"]`, "", "missing 1 loads.v1.example.com (loads.example.com): not served (yet)"},
		"a wildcard": {`["*.metrics.example.com"]`, "", "missing 1 *.v1alpha1.metrics.example.com silent: " + metrics +
			"\nmissing 1 *.v1beta1.metrics.example.com silent: not known while API group metrics.example.com/v1beta1 does not answer"},
		"a wildcard of a version":                               {`["*.v1alpha1.metrics.example.com"]`, "", "missing 1 *.v1alpha1.metrics.example.com silent: " + metrics},
		"a wildcard of a group that answers in another version": {`["*.apps"]`, `["*.v1.apps"]`, "missing 1 *.v2.apps silent: " + first},
		"of a wildcard on a blacklist":                          {`["*.metrics.example.com","pods.v1."]`, `["*.metrics.example.com"]`, "watch pods.v1.\nnote whitelist entry 1 (*.metrics.example.com): there is nothing to watch: " + metrics + "\nnote blacklist entry 1 (*.metrics.example.com): nothing is left out: " + metrics},
		"on a blacklist":                                        {`["pods.v1."]`, `["loads.v1beta1.metrics.example.com"]`, "watch pods.v1.\nnote blacklist entry 1 (loads.v1beta1.metrics.example.com): nothing is left out: " + metrics},
		"other kinds stay known":                                {`["deployments.apps"]`, "", "watch deployments.v1.apps\nnote whitelist entry 1 (deployments.apps): taken as deployments.v1.apps, which is how it should be written"},
		"everything that is known": {"", `["*."]`, without(everything, "namespaces.v1.", "nodes.v1.", "pods.v1.", "replicationcontrollers.v1.", "services.v1.", "configmaps.v1.",
			"persistentvolumeclaims.v1.", "persistentvolumes.v1.", "secrets.v1.", "serviceaccounts.v1.") + `
			missing 0 *.v2.apps silent: ` + first + `
			missing 0 *.v1alpha1.metrics.example.com silent: ` + metrics + `
			missing 0 *.v1beta1.metrics.example.com silent: not known while API group metrics.example.com/v1beta1 does not answer`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantTexts(t, mustParse(t, map[string]string{"whitelist": test.white, "blacklist": test.black}).Resolve(served), test.want)
		})
	}
}

// A group that is silent and known, or that could have nothing that is wanted, is not missing.
func TestSilentGroupsThatAreNotMissed(t *testing.T) {
	t.Parallel()
	before := with("metrics.example.com/v1\n  loads Load n load")
	served := testCluster()
	served.Silent = map[schema.GroupVersion]error{{Group: "metrics.example.com", Version: "v1"}: errors.New("503")}
	list := mustParse(t, map[string]string{"whitelist": `["*"]`})
	wantTexts(t, list.Resolve(served.Remembering(before)), strings.Replace(everything, "watch onepass", "watch loads.v1.metrics.example.com\nwatch onepass", 1))
	wantTexts(t, list.Limit(nil, []string{"pods"}).Resolve(served), "watch pods.v1.")
	const missing = "missing 1 *.v1.metrics.example.com silent: not known while API group metrics.example.com/v1 does not answer"
	wantTexts(t, list.Resolve(served), everything+"\n"+missing)
	list = mustParse(t, map[string]string{"whitelist": `["*"]`, "discovery": `{"maxTier":2}`})
	if got := list.Resolve(served).Missing; len(got) != 0 {
		t.Errorf("tiers 1 and 2 miss %+v", got)
	}
	served.Silent = map[schema.GroupVersion]error{{Group: "apps", Version: "v2"}: errors.New("503")}
	if got := list.Resolve(served).Missing; len(got) != 1 || got[0].Name != "*.v2.apps" || !got[0].Silent || got[0].Position != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestTwinsWithOtherLimits(t *testing.T) {
	t.Parallel()
	const slices = `"Resource":"endpointslices.v1.discovery.k8s.io"`
	for name, test := range map[string]struct {
		white string
		both  bool
	}{
		"none":                   {`{` + slices + `}`, false},
		"a depth and events":     {`{` + slices + `,"depth":"inventory","Events":["ADDED"]}`, false},
		"namespaces":             {`{` + slices + `,"namespaces":["a"]}`, true},
		"labels":                 {`{` + slices + `,"labelSelector":"a"}`, true},
		"fields":                 {`{` + slices + `,"fieldSelector":"metadata.name=a"}`, true},
		"of both":                {`{` + slices + `,"namespaces":["a"],"labelSelector":"b"},{"Resource":"*.","namespaces":["a"],"labelSelector":"b"}`, false},
		"more namespaces of one": {`{` + slices + `,"namespaces":["a","b"]},{"Resource":"*.","namespaces":["a"]}`, true},
		"no namespace is left":   {`{` + slices + `,"namespaces":["c"]}`, true},
	} {
		list := mustParse(t, map[string]string{"whitelist": "[" + test.white + `,"*"]`, "discovery": `{"namespaces":{"exclude":["c"]}}`})
		got := strings.Contains(strings.Join(texts(list.Resolve(testCluster())), "\n"), "watch endpoints.v1.")
		if got != test.both {
			t.Errorf("%s: endpoints are watched: %t", name, got)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const white = `["pods.v1.","nodes.v1.",{"Resource":"secrets.v1.","namespaces":["a","b"]}]`
	tests := map[string]struct {
		white, discovery      string
		namespaces, resources []string
		want                  string
	}{
		"none":                                  {white: white, want: "watch nodes.v1.\nwatch pods.v1.\nwatch secrets.v1. in a,b"},
		"namespaces; what has none stays":       {white: white, namespaces: []string{"c", "b", "b"}, want: "watch nodes.v1.\nwatch pods.v1. in b,c\nwatch secrets.v1. in b"},
		"namespaces and discovery.include":      {white: white, discovery: `{"namespaces":{"include":["c","d"]}}`, namespaces: []string{"b", "c"}, want: "watch nodes.v1.\nwatch pods.v1. in c\nskip whitelist entry 3 (secrets.v1.): no namespace is left to watch it in"},
		"namespaces and discovery.exclude":      {white: white, discovery: `{"namespaces":{"exclude":["b"]}}`, namespaces: []string{"b", "c"}, want: "watch nodes.v1.\nwatch pods.v1. in c\nskip whitelist entry 3 (secrets.v1.): no namespace is left to watch it in"},
		"resources, plural and singular":        {white: white, resources: []string{"Pods", "node"}, want: "watch nodes.v1.\nwatch pods.v1."},
		"resources that the list does not name": {white: white, resources: []string{"configmaps"}, want: ""},
		"resources of a wildcard":               {white: `["*"]`, resources: []string{"hpa", "endpoints"}, want: "watch endpoints.v1.\nwatch horizontalpodautoscalers.v2.autoscaling"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := mustParse(t, map[string]string{"whitelist": test.white, "discovery": test.discovery})
			wantTexts(t, list.Limit(test.namespaces, test.resources).Resolve(testCluster()), test.want)
		})
	}
}

func TestTargetsTellKindAndTier(t *testing.T) {
	t.Parallel()
	got := mustParse(t, map[string]string{"whitelist": `["secrets.v1.","pods.v1.","nodes.v1."]`}).Resolve(testCluster()).Targets
	if len(got) != 3 || got[0].Kind != "Node" || got[0].Tier != TierMap || got[1].Kind != "Pod" || got[1].Tier != TierWorkloads || got[2].Kind != "Secret" || got[2].Tier != TierRest {
		t.Errorf("got %+v", got)
	}
}

func TestACustomResourceIsWatchedWhenItIsServed(t *testing.T) {
	t.Parallel()
	list := mustParse(t, map[string]string{"whitelist": `["things.v1.example.org"]`})
	wantTexts(t, list.Resolve(testCluster()), "missing 1 things.v1.example.org (things.example.org): not served (yet)")
	wantTexts(t, list.Resolve(with("example.org/v1\n  things Thing n thing")), "watch things.v1.example.org")
	wantTexts(t, list.Resolve(with("example.org/v2\n  things Thing n thing")),
		"watch things.v2.example.org\nnote whitelist entry 1 (things.v1.example.org): not served in version v1; taken as things.v2.example.org")
	wantTexts(t, list.Resolve(with("example.org/v1\n  !things Thing n thing")), "missing 1 things.v1.example.org (things.example.org): it cannot be listed and watched")
}

// Resolving changes nothing: a list is a value.
func TestResolveLeavesTheListAlone(t *testing.T) {
	t.Parallel()
	data := map[string]string{
		"whitelist": `["po",{"Resource":"pods.v1.","Events":["ADDED"]},"*","x/y","x/y","x/y"]`,
		"discovery": `{"namespaces":{"exclude":["b","a"]}}`,
	}
	list := mustParse(t, data)
	first := texts(list.Resolve(testCluster()))
	for _, target := range list.Resolve(testCluster()).Targets {
		if len(target.Excluded) > 0 {
			target.Excluded[0] = "spoilt"
		}
	}
	if again := texts(list.Resolve(testCluster())); !slices.Equal(first, again) {
		t.Errorf("got\n%s\nthen\n%s", strings.Join(first, "\n"), strings.Join(again, "\n"))
	}
	if !list.Equal(mustParse(t, data)) {
		t.Error("the list is another")
	}
}
