package operator

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	rbacac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// newCeiling makes a ceiling ClusterRole of a test's own.
func newCeiling(t *testing.T, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "ceiling-"}, Rules: rules}
	role, err := server.admin.kube.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return role
}

// Neither a watch-list that nobody can read nor a MeshSync that hangs keeps rights that the ceiling or the spec takes away.
func TestRightsAreNotFrozen(t *testing.T) {
	t.Parallel()
	ceiling := newCeiling(t, readRule([]string{""}, []string{"pods", "secrets"}), readRule([]string{""}, []string{"pods/exec"}, "create", "get"))
	namespace := newNamespaceUnder(t, ceiling.Name)
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	patchMeshSync(t, namespace, `{"metadata":{"finalizers":["example.com/hangs"]},"spec":{"sessions":{"exec":true},"watch-list":{"data":{"whitelist":"[\"pods.v1.\",\"secrets.v1.\"]"}}}}`)
	startOperator(t, namespace, func(o *Options) { o.MeshSyncClusterRole = ceiling.Name })
	wantAccess(t, namespace, map[string]bool{"pods": true, "secrets": true, "pods/exec": true})

	patchMeshSync(t, namespace, `{"spec":{"watch-list":{"data":{"whitelist":"nonsense"}}}}`)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonWatchListInvalid)
	wantAccess(t, namespace, map[string]bool{"pods": true, "secrets": true, "pods/exec": true})
	patchMeshSync(t, namespace, `{"spec":{"sessions":{"exec":false}}}`)
	wantAccess(t, namespace, map[string]bool{"pods": true, "secrets": true, "pods/exec": false})
	ceiling.Rules = []rbacv1.PolicyRule{readRule([]string{""}, []string{"pods"})}
	if _, err := server.admin.kube.RbacV1().ClusterRoles().Update(t.Context(), ceiling, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantAccess(t, namespace, map[string]bool{"pods": true, "secrets": false})
	eventually(t, "status says what the ceiling holds back", func(ctx context.Context) error {
		conditions, err := meshSyncConditions(namespace)(ctx)
		if err == nil && !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionForbidden) {
			err = fmt.Errorf("conditions are %+v", conditions)
		}
		return err
	})

	if err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Delete(t.Context(), meshery.MeshSyncName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantAccess(t, namespace, map[string]bool{"pods": false})
	patchMeshSync(t, namespace, `{"metadata":{"finalizers":null}}`)
}

// Not parallel: an operator that serves several namespaces.
func TestANamespaceThatIsNotServedAnyMoreHasNoRights(t *testing.T) {
	own, further := newNamespace(t), newNamespace(t)
	bind(t, further, clusterRole("meshery-operator-namespaced"), own, meshery.OperatorName)
	createBroker(t, further)
	createMeshSync(t, further)
	stop := startOperator(t, own, func(o *Options) { o.WatchNamespaces = []string{own, further} })
	wantAccess(t, further, map[string]bool{"pods": true})
	stop()
	startOperator(t, own)
	wantAccess(t, further, map[string]bool{"pods": false})
}

// Rights for an account that could not be made would be somebody's who makes it later.
func TestAnAccountThatIsRefusedGetsNoRights(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "none"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{"count/serviceaccounts": resource.MustParse("0")},
	}}
	quotas := server.admin.kube.CoreV1().ResourceQuotas(namespace)
	if _, err := quotas.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the quota is in force", func(ctx context.Context) error {
		live, err := quotas.Get(ctx, "none", metav1.GetOptions{})
		if err == nil && len(live.Status.Hard) == 0 {
			err = fmt.Errorf("status is %+v", live.Status)
		}
		return err
	})
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	startOperator(t, namespace)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonApplyFailed)
	name := clusterScopedName(cache.NewObjectName(namespace, meshery.MeshSyncName))
	if _, err := server.admin.kube.RbacV1().ClusterRoleBindings().Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("binding of an account that does not exist: %v", err)
	}
	if _, err := server.admin.kube.RbacV1().RoleBindings(namespace).Get(t.Context(), meshery.MeshSyncName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("role binding of an account that does not exist: %v", err)
	}
	if err := quotas.Delete(t.Context(), "none", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantAccess(t, namespace, map[string]bool{"pods": true})
}

// Hundreds of findings fit into a status and an Event.
func TestLongMessagesAreCut(t *testing.T) {
	t.Parallel()
	ceiling := newCeiling(t, readRule([]string{""}, []string{"pods"}))
	namespace := newNamespaceUnder(t, ceiling.Name)
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	var kinds []string
	for i := range 1000 {
		kinds = append(kinds, fmt.Sprintf(`\"kind%ds.v1.example.com\"`, i))
	}
	patchMeshSync(t, namespace, `{"spec":{"watch-list":{"data":{"whitelist":"[`+strings.Join(kinds, ",")+`]"}}}}`)
	startOperator(t, namespace, func(o *Options) { o.MeshSyncClusterRole = ceiling.Name })
	eventually(t, "what is refused is written", func(ctx context.Context) error {
		conditions, err := meshSyncConditions(namespace)(ctx)
		if err != nil {
			return err
		}
		got := meta.FindStatusCondition(conditions, v1alpha1.ConditionForbidden)
		if got == nil || got.Status != metav1.ConditionTrue || len(got.Message) > mostMessage || len(got.Message) < mostMessage-10 || !utf8.ValidString(got.Message) {
			return fmt.Errorf("got %+v", got)
		}
		return nil
	})
	eventually(t, "an Event is written", func(ctx context.Context) error {
		events, err := server.admin.kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=" + v1alpha1.ReasonCeiling})
		if err == nil && len(events.Items) == 0 {
			err = fmt.Errorf("none of %s", v1alpha1.ReasonCeiling)
		}
		return err
	})
}

func TestShorten(t *testing.T) {
	for text, want := range map[string]string{"short": "short", "1234567890": "1234567890", "12345678901": "123456 …", "12345éééééé": "12345 …"} {
		if got := shorten(text, 10); got != want || len(got) > 10 {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// What RBAC lets the grantor do beyond its task, the policy does not.
func TestTheGrantorWritesRolesOfAgentsOnly(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	clients, err := newClients(as(t, namespace, meshery.OperatorName), namespace)
	if err != nil {
		t.Fatal(err)
	}
	roles, bindings := clients.grantor.RbacV1().ClusterRoles(), clients.grantor.RbacV1().ClusterRoleBindings()
	name := clusterScopedName(cache.NewObjectName(namespace, meshery.MeshSyncName))
	force := metav1.ApplyOptions{FieldManager: "test", Force: true}
	role := func(name string, mods ...func(*rbacac.ClusterRoleApplyConfiguration)) func() error {
		want := rbacac.ClusterRole(name).WithRules(rbacac.PolicyRule().WithAPIGroups("").WithResources("pods").WithVerbs("list", "watch"))
		for _, mod := range mods {
			mod(want)
		}
		return func() error { _, err := roles.Apply(t.Context(), want, force); return err }
	}
	bindTo := func(role, account string) func() error {
		want := rbacac.ClusterRoleBinding(name).
			WithRoleRef(rbacac.RoleRef().WithAPIGroup(groupRBAC).WithKind("ClusterRole").WithName(role)).
			WithSubjects(rbacac.Subject().WithKind(rbacv1.ServiceAccountKind).WithNamespace(namespace).WithName(account))
		return func() error { _, err := bindings.Apply(t.Context(), want, force); return err }
	}
	// The API server learns of a policy a moment after it was made.
	eventually(t, "the policy is in force", func(context.Context) error {
		if err := role("view")(); !apierrors.IsForbidden(err) {
			return fmt.Errorf("role view: %w", err)
		}
		return nil
	})
	for _, test := range []struct {
		what    string
		do      func() error
		refused string
	}{
		{"an agent's role", role(name), ""},
		{"another name", role("somebody"), "roles of agents only"},
		{"deleting another role", func() error {
			return roles.Delete(t.Context(), "cluster-admin", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		}, "roles of agents only"},
		{"the right to write roles", role(name, func(r *rbacac.ClusterRoleApplyConfiguration) {
			r.WithRules(rbacac.PolicyRule().WithAPIGroups(groupRBAC).WithResources("clusterroles").WithVerbs("create"))
		}), "agents get, list and watch"},
		{"a part of another role", role(name, func(r *rbacac.ClusterRoleApplyConfiguration) {
			r.WithLabels(map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"})
		}), "part of no other role"},
		{"a subresource that the ceiling does not open", role(name, func(r *rbacac.ClusterRoleApplyConfiguration) {
			r.WithRules(rbacac.PolicyRule().WithAPIGroups("").WithResources("nodes/proxy").WithVerbs("get"))
		}), "not currently held"},
		{"an agent's binding", bindTo(name, meshery.MeshSyncName), ""},
		{"a binding of another account", bindTo(name, "default"), "bound to its ServiceAccount"},
		{"deleting an agent's role", func() error { return roles.Delete(t.Context(), name, metav1.DeleteOptions{}) }, ""},
	} {
		err := test.do()
		if test.refused == "" && err != nil || test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)) {
			t.Errorf("%s: %v, want %q", test.what, err, test.refused)
		}
	}
}
