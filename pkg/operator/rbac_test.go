package operator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationac "k8s.io/client-go/applyconfigurations/coordination/v1"
	"k8s.io/client-go/kubernetes"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/watchlist"
)

// request is something that an account may or may not do.
type request struct {
	verb, group, resource string // the resource with its subresource
	namespace, name       string
}

func (r request) String() string {
	return fmt.Sprintf("%s %s.%s %s in namespace %q", r.verb, r.resource, r.group, r.name, r.namespace)
}

// canI asks the API server.
func canI(t *testing.T, namespace, serviceAccount string, r request) bool {
	t.Helper()
	resource, subresource, _ := strings.Cut(r.resource, "/")
	review, err := server.admin.kube.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User:   "system:serviceaccount:" + namespace + ":" + serviceAccount,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: r.verb, Group: r.group, Resource: resource, Subresource: subresource, Namespace: r.namespace, Name: r.name,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

const (
	groupRBAC    = "rbac.authorization.k8s.io"
	groupCRDs    = "apiextensions.k8s.io"
	groupMeshery = "meshery.io"
)

// The manifests' account may do what the code does, every verb of it.
func TestTheOperatorMayWhatItNeeds(t *testing.T) {
	t.Parallel()
	options := DefaultOptions()
	for _, p := range everyPermission() {
		for _, namespace := range options.namespacesOf(p) {
			for _, verb := range p.verbs {
				if r := (request{verb, p.group, p.resource, namespace, p.name}); !canI(t, meshery.Namespace, meshery.OperatorName, r) {
					t.Errorf("the operator may not %s (%s)", r, p.why)
				}
			}
		}
	}
}

func TestTheOperatorMayNot(t *testing.T) {
	t.Parallel()
	const own, other, cluster = meshery.Namespace, "default", ""
	for _, r := range []request{
		{"*", "*", "*", cluster, ""},
		{"*", "*", "*", own, ""},
		{"get", "", "secrets", other, ""},
		{"list", "", "secrets", other, ""},
		{"get", "", "secrets", cluster, ""},
		{"list", "", "secrets", cluster, ""},
		{"create", "", "secrets", other, ""},
		{"list", "", "configmaps", other, ""},
		{"create", "apps", "deployments", other, ""},
		{"patch", "apps", "deployments", cluster, ""},
		{"list", groupMeshery, "brokers", other, ""},
		{"create", groupMeshery, "brokers", other, ""},
		{"update", groupMeshery, "brokers", own, ""},
		{"patch", groupMeshery, "brokers", other, ""},
		{"update", groupMeshery, "meshsyncs", own, ""},
		{"delete", groupMeshery, "meshsyncs", own, ""},
		{"create", "", "pods", own, ""},
		{"delete", "", "pods", own, ""},
		{"get", "", "pods/log", own, ""},
		{"create", "", "pods/exec", own, ""},
		{"get", "", "pods/exec", own, ""},
		{"create", "", "pods/attach", own, ""},
		{"create", "", "pods/portforward", own, ""},
		{"create", "", "serviceaccounts/token", own, ""},
		{"delete", "", "serviceaccounts", own, ""},
		{"delete", "apps", "statefulsets", own, ""},
		{"delete", "", "namespaces", cluster, own},
		{"create", "", "namespaces", cluster, ""},
		{"delete", "", "nodes", cluster, ""},
		{"patch", "", "nodes", cluster, ""},
		{"get", "", "nodes/proxy", cluster, ""},
		{"delete", groupCRDs, "customresourcedefinitions", cluster, meshSyncCRDName},
		{"patch", groupCRDs, "customresourcedefinitions", cluster, meshSyncCRDName},
		{"list", groupCRDs, "customresourcedefinitions", cluster, ""},
		{"create", groupRBAC, "clusterroles", cluster, ""},
		{"patch", groupRBAC, "clusterroles", cluster, "cluster-admin"},
		{"create", groupRBAC, "clusterrolebindings", cluster, ""},
		{"bind", groupRBAC, "clusterroles", cluster, "meshery-meshsync"},
		{"get", "", "configmaps", "kube-system", ""},
		{"escalate", groupRBAC, "clusterroles", cluster, ""},
		{"escalate", groupRBAC, "clusterroles", cluster, meshery.MeshSyncName},
		{"escalate", groupRBAC, "roles", own, ""},
		{"bind", groupRBAC, "clusterroles", cluster, ""},
		{"bind", groupRBAC, "clusterroles", cluster, "cluster-admin"},
		{"bind", groupRBAC, "clusterroles", own, "cluster-admin"},
		{"bind", groupRBAC, "roles", own, ""},
		{"impersonate", "", "users", cluster, ""},
		{"impersonate", "", "users", cluster, "kubernetes-admin"},
		{"impersonate", "", "groups", cluster, "system:masters"},
		{"impersonate", "", "serviceaccounts", own, "default"},
		{"impersonate", "", "serviceaccounts", "kube-system", ""},
		{"approve", "certificates.k8s.io", "signers", cluster, ""},
		{"create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", cluster, ""},
		{"delete", "coordination.k8s.io", "leases", own, ""},
		{"get", "coordination.k8s.io", "leases", "kube-system", ""},
	} {
		if canI(t, meshery.Namespace, meshery.OperatorName, r) {
			t.Errorf("the operator may %s", r)
		}
	}
}

// What the manifests grant the operator is what the code does, no verb more, and nowhere else. The other direction, that the code
// does nothing that the table does not list, is looked at when all tests have run (checkRequests).
func TestNothingIsGrantedThatIsNotUsed(t *testing.T) {
	t.Parallel()
	granted := grantedTo(t, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: meshery.Namespace, Name: meshery.OperatorName})
	if len(granted) == 0 {
		t.Fatal("no rules are bound to the operator at all")
	}
	for _, unused := range notUsed(granted) {
		t.Errorf("the manifests grant what permissions.go does not list: %s", unused)
	}
	for text, broader := range map[string]grant{
		"get secrets":        {inCluster, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}},
		"create deployments": {inCluster, rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"create"}}},
		"create brokers":     {inServed, rbacv1.PolicyRule{APIGroups: []string{groupMeshery}, Resources: []string{"brokers"}, Verbs: []string{"create"}}},
		"impersonate any":    {inOwn, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"impersonate"}}},
		"everything":         {inOwn, rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}},
	} {
		if len(notUsed([]grant{broader})) == 0 {
			t.Errorf("%s %s would not be noticed", text, broader.where)
		}
	}
}

// notUsed is what is granted, verb by verb, that permissions.go does not list there.
func notUsed(granted []grant) (unused []string) {
	for _, grant := range granted {
		names := grant.rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range grant.rule.APIGroups {
			for _, resource := range grant.rule.Resources {
				for _, verb := range grant.rule.Verbs {
					for _, name := range names {
						if !lists(everyPermission(), []string{grant.where}, verb, group, resource, name) {
							unused = append(unused, fmt.Sprintf("%s %s.%s %s %s", verb, resource, group, name, grant.where))
						}
					}
				}
			}
		}
	}
	return unused
}

// grant is a rule, and where it is bound.
type grant struct {
	where string
	rule  rbacv1.PolicyRule
}

// grantedTo collects what is bound to an account in its own namespace and in the cluster. A ClusterRole that a RoleBinding binds is
// meant to be bound in every served namespace, and a Role for its own.
func grantedTo(t *testing.T, account rbacv1.Subject) (granted []grant) {
	t.Helper()
	rbac := server.admin.kube.RbacV1()
	add := func(where string, rules []rbacv1.PolicyRule, err error) {
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range rules {
			granted = append(granted, grant{where, rule})
		}
	}
	bindings, err := rbac.RoleBindings(account.Namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, binding := range bindings.Items {
		switch {
		case !slices.Contains(binding.Subjects, account):
		case binding.RoleRef.Kind == "Role":
			role, err := rbac.Roles(account.Namespace).Get(t.Context(), binding.RoleRef.Name, metav1.GetOptions{})
			add(inOwn, role.Rules, err)
		default:
			role, err := rbac.ClusterRoles().Get(t.Context(), binding.RoleRef.Name, metav1.GetOptions{})
			add(inServed, role.Rules, err)
		}
	}
	clusterBindings, err := rbac.ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, binding := range clusterBindings.Items {
		if slices.Contains(binding.Subjects, account) {
			role, err := rbac.ClusterRoles().Get(t.Context(), binding.RoleRef.Name, metav1.GetOptions{})
			add(inCluster, role.Rules, err)
		}
	}
	return granted
}

// agentNeeds is what the agent's code does at the API server.
func agentNeeds(namespace string) []request {
	needs := []request{
		{"get", "", "namespaces", "", "kube-system"}, // its uid names the cluster
		{"list", groupCRDs, "customresourcedefinitions", "", ""},
		{"watch", groupCRDs, "customresourcedefinitions", "", ""},
	}
	for _, verb := range []string{"get", "list", "watch"} {
		needs = append(needs, request{verb, "", "configmaps", namespace, meshery.WatchListConfigMap(meshery.MeshSyncName)})
	}
	// What is its own it may write, by name.
	for _, verb := range []string{"get", "create", "update", "patch"} {
		needs = append(needs, request{verb, "coordination.k8s.io", "leases", namespace, meshery.MeshSyncName})
	}
	needs = append(needs,
		request{"patch", groupMeshery, "meshsyncs/status", namespace, meshery.MeshSyncName},
		request{"create", "", "configmaps", namespace, meshery.CanaryConfigMap(meshery.MeshSyncName)},
		request{"patch", "", "configmaps", namespace, meshery.CanaryConfigMap(meshery.MeshSyncName)})
	for _, wanted := range wantedKinds(watchlist.Default().Resolve(watchlist.Served{})) {
		for _, verb := range []string{"list", "watch"} {
			needs = append(needs, request{verb, wanted.kind.Group, wanted.kind.Resource, "", ""})
		}
	}
	return needs
}

func agentMustNot(namespace string) []request {
	must := []request{
		{"*", "*", "*", "", ""},
		{"create", "", "pods/exec", namespace, ""},
		{"create", "", "pods/attach", namespace, ""},
		{"create", "", "pods/portforward", namespace, ""},
		{"create", "", "serviceaccounts/token", namespace, ""},
		{"impersonate", "", "users", "", ""},
		{"impersonate", "", "groups", "", "system:masters"},
		{"impersonate", "", "serviceaccounts", namespace, ""},
		{"bind", groupRBAC, "clusterroles", "", ""},
		{"escalate", groupRBAC, "clusterroles", "", ""},
		{"escalate", groupRBAC, "roles", namespace, ""},
		{"patch", "", "configmaps", namespace, meshery.WatchListConfigMap(meshery.MeshSyncName)},
		{"patch", groupMeshery, "meshsyncs", namespace, meshery.MeshSyncName},
		{"patch", groupMeshery, "brokers/status", namespace, meshery.BrokerName},
		{"patch", groupMeshery, "meshsyncs/status", "", ""},
		{"patch", groupMeshery, "meshsyncs/status", namespace, "another"},
		{"update", "coordination.k8s.io", "leases", namespace, "another"},
		{"get", "", "pods/exec", "", ""},
		{"get", "", "pods/log", "", ""},
		{"get", "", "nodes/proxy", "", ""},
		{"list", "", "events", "", ""},
		{"list", "", "serviceaccounts", "", ""},
	}
	for _, verb := range []string{"create", "update", "patch", "delete", "deletecollection"} {
		for _, resource := range []string{"pods", "configmaps", "secrets", "services", "serviceaccounts", "namespaces", "nodes", "events"} {
			must = append(must, request{verb, "", resource, namespace, ""})
		}
		must = append(must,
			request{verb, "apps", "deployments", namespace, ""},
			request{verb, "coordination.k8s.io", "leases", namespace, ""},
			request{verb, groupRBAC, "roles", namespace, ""},
			request{verb, groupRBAC, "clusterrolebindings", "", ""},
			request{verb, groupMeshery, "brokers", namespace, ""},
			request{verb, groupCRDs, "customresourcedefinitions", "", ""})
	}
	return must
}

// The agent has the roles that the operator made for it.
func TestAnAgentMayWhatItNeedsAndNoMore(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	for _, r := range agentNeeds(namespace) {
		if !canI(t, namespace, meshery.MeshSyncName, r) {
			t.Errorf("the agent may not %s", r)
		}
	}
	for _, r := range agentMustNot(namespace) {
		if canI(t, namespace, meshery.MeshSyncName, r) {
			t.Errorf("the agent may %s", r)
		}
	}
}

// An agent makes its lease by server-side apply. To create one by POST takes a right to all names, which no agent has.
func TestAnAgentMakesItsOwnLease(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	agent, err := kubernetes.NewForConfig(as(t, namespace, meshery.MeshSyncName))
	if err != nil {
		t.Fatal(err)
	}
	leases := agent.CoordinationV1().Leases(namespace)
	lease := func(name, holder string) *coordinationac.LeaseApplyConfiguration {
		return coordinationac.Lease(name, namespace).WithSpec(coordinationac.LeaseSpec().WithHolderIdentity(holder))
	}
	eventually(t, "the lease is made", func(ctx context.Context) error { // the authorizer's caches may lag behind
		_, err := leases.Apply(ctx, lease(meshery.MeshSyncName, "a"), metav1.ApplyOptions{FieldManager: "meshsync"})
		return err
	})
	live, err := leases.Get(t.Context(), meshery.MeshSyncName, metav1.GetOptions{})
	if err == nil {
		live.Spec.HolderIdentity = new("b")
		live, err = leases.Update(t.Context(), live, metav1.UpdateOptions{})
	}
	if err != nil || *live.Spec.HolderIdentity != "b" {
		t.Errorf("the agent cannot renew its lease: %+v, %v", live, err)
	}
	if _, err := leases.Apply(t.Context(), lease("another", "a"), metav1.ApplyOptions{FieldManager: "meshsync"}); !apierrors.IsForbidden(err) {
		t.Errorf("the lease of another: %v", err)
	}
	posted := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: meshery.MeshSyncName}}
	if _, err := leases.Create(t.Context(), posted, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a lease by POST: %v", err)
	}
}
