package operator

import (
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	rbacac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

// watchVerbs are what it takes to watch a kind. An agent also gets to read its objects one by one where the ceiling includes that.
var watchVerbs = []string{"list", "watch"}

// access is what an agent may do cluster-wide, and what its MeshSync asks for in vain.
type access struct {
	rules   []*rbacac.PolicyRuleApplyConfiguration
	refused []string
	// noCeiling: there is no ceiling ClusterRole at all.
	noCeiling bool
}

// baseAccess is what every agent needs besides what its watch-list names. The grantor's ClusterRole in manifests/ has the same
// rules, whatever the ceiling is.
func baseAccess() []*rbacac.PolicyRuleApplyConfiguration {
	return []*rbacac.PolicyRuleApplyConfiguration{
		// The UID of this namespace is the cluster's name on the wire.
		rbacac.PolicyRule().WithAPIGroups("").WithResources("namespaces").WithResourceNames(metav1.NamespaceSystem).WithVerbs("get"),
		// A kind on the list may be defined later.
		rbacac.PolicyRule().WithAPIGroups(crdResource.Group).WithResources(crdResource.Resource).WithVerbs("list", "watch"),
	}
}

// meshSyncAccess grants the kinds and sessions that a MeshSync asks for, as far as the ceiling goes.
func meshSyncAccess(kinds []wantedKind, sessions v1alpha1.MeshSyncSessions, ceiling []rbacv1.PolicyRule) access {
	granted := access{rules: baseAccess()}
	watched, gotten := map[string][]string{}, map[string][]string{} // by API group
	for _, wanted := range kinds {
		kind := wanted.kind
		if missing := missingVerbs(ceiling, kind, watchVerbs); len(missing) > 0 {
			granted.refused = append(granted.refused, wanted.name+" ("+strings.Join(missing, ", ")+")")
			continue
		}
		if len(missingVerbs(ceiling, kind, []string{"get"})) == 0 {
			gotten[kind.Group] = append(gotten[kind.Group], kind.Resource)
		} else {
			watched[kind.Group] = append(watched[kind.Group], kind.Resource)
		}
	}
	granted.addKinds(gotten, append([]string{"get"}, watchVerbs...))
	granted.addKinds(watched, watchVerbs)
	if sessions.Logs {
		granted.addSession(ceiling, "pods/log", "get")
	}
	if sessions.Exec {
		granted.addSession(ceiling, "pods/exec", "create", "get")
	}
	return granted
}

// addKinds adds a rule per API group, in an order that does not change.
func (a *access) addKinds(kinds map[string][]string, verbs []string) {
	for _, group := range slices.Sorted(maps.Keys(kinds)) {
		a.rules = append(a.rules, rbacac.PolicyRule().
			WithAPIGroups(group).
			WithResources(slices.Compact(slices.Sorted(slices.Values(kinds[group])))...).
			WithVerbs(verbs...))
	}
}

func (a *access) addSession(ceiling []rbacv1.PolicyRule, resource string, verbs ...string) {
	if missing := missingVerbs(ceiling, schema.GroupResource{Resource: resource}, verbs); len(missing) > 0 {
		a.refused = append(a.refused, resource+" ("+strings.Join(missing, ", ")+")")
		return
	}
	a.rules = append(a.rules, rbacac.PolicyRule().WithAPIGroups("").WithResources(resource).WithVerbs(verbs...))
}

// wantedKind is a kind to watch, and its name for a person.
type wantedKind struct {
	kind schema.GroupResource
	name string
}

// wantedKinds are the kinds that a list means, and those that it names but that are not served yet: the agent is to watch them as soon
// as they are. Each once: rights know no versions.
func wantedKinds(resolution watchlist.Resolution) []wantedKind {
	var wanted []wantedKind
	known := map[schema.GroupResource]bool{{}: true} // the empty one is what nobody knows
	add := func(kind schema.GroupResource, name string) {
		if !known[kind] {
			known[kind] = true
			wanted = append(wanted, wantedKind{kind, name})
		}
	}
	for _, target := range resolution.Targets {
		add(target.Resource.GroupResource(), watchlist.Format(target.Resource))
	}
	for _, missing := range resolution.Missing {
		add(missing.Kind, missing.Name)
	}
	return wanted
}

// missingVerbs are those that the ceiling does not include for a resource. A rule for certain names does not count: agents watch
// kinds.
func missingVerbs(ceiling []rbacv1.PolicyRule, resource schema.GroupResource, verbs []string) []string {
	var missing []string
	for _, verb := range verbs {
		includes := func(rule rbacv1.PolicyRule) bool {
			return len(rule.ResourceNames) == 0 &&
				hasOrAll(rule.Verbs, verb) && hasOrAll(rule.APIGroups, resource.Group) && includesResource(rule.Resources, resource.Resource)
		}
		if !slices.ContainsFunc(ceiling, includes) {
			missing = append(missing, verb)
		}
	}
	return missing
}

// includesResource reads "*" as every kind and not as its subresources, though the API server would count those in: whoever opens
// all kinds to agents has not thereby asked for the logs and shells of all pods.
func includesResource(resources []string, resource string) bool {
	if _, subresource, ok := strings.Cut(resource, "/"); ok {
		return slices.Contains(resources, resource) || slices.Contains(resources, "*/"+subresource)
	}
	return hasOrAll(resources, resource)
}

func hasOrAll(values []string, value string) bool {
	return slices.Contains(values, value) || slices.Contains(values, "*")
}

// forbidden is the condition that says what the ceiling refuses. granted is nil while nothing could be granted.
func forbidden(meshSync *v1alpha1.MeshSync, granted *access, ceilingName string) metav1.Condition {
	say := func(status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition(meshSync, v1alpha1.ConditionForbidden, status, reason, message)
	}
	switch {
	case granted == nil:
		return say(metav1.ConditionUnknown, v1alpha1.ReasonNotGranted, "What the agent may read could not be written: see Ready")
	case len(granted.refused) == 0:
		return say(metav1.ConditionFalse, v1alpha1.ReasonWithinCeiling, "The agent may read all that the spec asks for")
	case granted.noCeiling:
		return say(metav1.ConditionTrue, v1alpha1.ReasonCeiling, "ClusterRole "+ceilingName+", which says what agents may read, does not exist: create it (manifests/21-meshsync-rbac.yaml)")
	default:
		return say(metav1.ConditionTrue, v1alpha1.ReasonCeiling, "Add to ClusterRole "+ceilingName+", or take out of the spec, what agents may not have; all else is watched. It lacks "+
			strings.Join(granted.refused, "; "))
	}
}
