package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	rbacac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

func readRule(groups, resources []string, verbs ...string) rbacv1.PolicyRule {
	if len(verbs) == 0 {
		verbs = []string{"get", "list", "watch"}
	}
	return rbacv1.PolicyRule{APIGroups: groups, Resources: resources, Verbs: verbs}
}

// listed is what discovery says of kinds that can be listed and watched, each as "plural,singular,Kind,short name".
func listed(groupVersion string, kinds ...string) *metav1.APIResourceList {
	list := &metav1.APIResourceList{GroupVersion: groupVersion}
	for _, kind := range kinds {
		names := append(strings.Split(kind, ","), "", "", "")
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: names[0], SingularName: names[1], Kind: names[2], ShortNames: names[3:4], Namespaced: true, Verbs: metav1.Verbs{"get", "list", "watch"},
		})
	}
	return list
}

func TestMeshSyncAccess(t *testing.T) {
	served := watchlist.NewServed(nil, []*metav1.APIResourceList{
		listed("v1", "pods,pod,Pod,po", "secrets,secret,Secret", "events"), listed("apps/v1", "deployments,deployment,Deployment,deploy"),
		listed("example.com/v1", "things"), listed("example.com/v2", "things", "others"),
	}, nil)
	everything := []rbacv1.PolicyRule{readRule([]string{"*"}, []string{"*"})}
	for name, test := range map[string]struct {
		whitelist, blacklist, discovery string
		sessions                        v1alpha1.MeshSyncSessions
		ceiling                         []rbacv1.PolicyRule
		want                            []string // group/resource,…:verbs, without the base
		refused                         []string
	}{
		"what the whitelist names": {
			whitelist: `["pods.v1.","deployments.v1.apps","services.v1."]`, ceiling: everything,
			want: []string{"/pods,services:get,list,watch", "apps/deployments:get,list,watch"},
		},
		"a kind that is not served yet": {
			whitelist: `["laters.v1.example.com"]`, ceiling: everything, want: []string{"example.com/laters:get,list,watch"},
		},
		"less what the blacklist removes": {
			whitelist: `["pods.v1.","secrets.v1."]`, blacklist: `["secrets.v1."]`, ceiling: everything, want: []string{"/pods:get,list,watch"},
		},
		"less what the blacklist removes in other words": {
			whitelist: `["pods.v1.","secrets.v1."]`, blacklist: `["Secret"]`, ceiling: everything, want: []string{"/pods:get,list,watch"},
		},
		"other names of kinds": {
			whitelist: `["po","Secret","deploy.apps"]`, ceiling: everything,
			want: []string{"/pods,secrets:get,list,watch", "apps/deployments:get,list,watch"},
		},
		"names in the form of a plural": {
			whitelist: `["pod.v1.","po.v1.","deployment.v1.apps"]`, ceiling: everything,
			want: []string{"/pods:get,list,watch", "apps/deployments:get,list,watch"},
		},
		"not what the last tier leaves out": {
			whitelist: `["pods.v1.","secrets.v1.","things.v1.example.com"]`, discovery: `{"maxTier":2}`, ceiling: everything,
			want: []string{"/pods:get,list,watch"},
		},
		"not what has no namespace left": {
			whitelist: `["pods.v1.",{"Resource":"secrets.v1.","namespaces":["a"]}]`, discovery: `{"namespaces":{"exclude":["a"]}}`, ceiling: everything,
			want: []string{"/pods:get,list,watch"},
		},
		"every kind of a group": {
			whitelist: `["*.example.com"]`, ceiling: everything, want: []string{"example.com/others,things:get,list,watch"},
		},
		"a name that means nothing, beside kinds that are known by themselves": {
			whitelist: `["later","laters.v1.example.com","po"]`, ceiling: everything, want: []string{"/pods:get,list,watch", "example.com/laters:get,list,watch"},
		},
		"a wildcard under a narrow ceiling": {
			whitelist: `["*.example.com"]`, ceiling: []rbacv1.PolicyRule{readRule([]string{"example.com"}, []string{"others"})},
			want: []string{"example.com/others:get,list,watch"}, refused: []string{"things.v2.example.com (list, watch)"},
		},
		"a kind twice": {
			whitelist: `["pods.v1.","pods.v1.",{"Resource":"secrets.v1.","Events":["ADDED"]},{"Resource":"secrets.v1.","Events":["DELETED"]}]`,
			ceiling:   []rbacv1.PolicyRule{readRule([]string{""}, []string{"pods"})},
			want:      []string{"/pods:get,list,watch"}, refused: []string{"secrets.v1. (list, watch)"},
		},
		"everything but the blacklist": {
			blacklist: `["secrets.v1."]`, ceiling: everything,
			want: []string{"/pods:get,list,watch", "apps/deployments:get,list,watch", "example.com/others,things:get,list,watch"},
		},
		"no more than the ceiling": {
			whitelist: `["pods.v1.","secrets.v1."]`, ceiling: []rbacv1.PolicyRule{readRule([]string{""}, []string{"pods"})},
			want: []string{"/pods:get,list,watch"}, refused: []string{"secrets.v1. (list, watch)"},
		},
		"a ceiling in several rules": {
			whitelist: `["pods.v1."]`, ceiling: []rbacv1.PolicyRule{readRule([]string{""}, []string{"pods"}, "get"), readRule([]string{"*"}, []string{"pods"}, "list", "watch")},
			want: []string{"/pods:get,list,watch"},
		},
		"a ceiling that lacks a verb": {
			whitelist: `["pods.v1."]`, ceiling: []rbacv1.PolicyRule{readRule([]string{""}, []string{"pods"}, "get", "list")},
			refused: []string{"pods.v1. (watch)"},
		},
		"a ceiling for one name does not let a kind be watched": {
			whitelist: `["pods.v1."]`,
			ceiling:   []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"*"}, ResourceNames: []string{"one"}}},
			refused:   []string{"pods.v1. (list, watch)"},
		},
		"a ceiling without get": {
			whitelist: `["pods.v1.","services.v1."]`,
			ceiling:   []rbacv1.PolicyRule{readRule([]string{"*"}, []string{"*"}, "list", "watch"), readRule([]string{""}, []string{"pods"}, "get")},
			want:      []string{"/pods:get,list,watch", "/services:list,watch"},
		},
		"no ceiling": {whitelist: `["pods.v1."]`, refused: []string{"pods.v1. (list, watch)"}},
		"sessions under a ceiling of every kind": {
			whitelist: `["pods.v1."]`, sessions: v1alpha1.MeshSyncSessions{Logs: true, Exec: true}, ceiling: everything,
			want: []string{"/pods:get,list,watch"}, refused: []string{"pods/log (get)", "pods/exec (create, get)"},
		},
		"sessions that the ceiling names": {
			whitelist: `["pods.v1."]`, sessions: v1alpha1.MeshSyncSessions{Logs: true, Exec: true},
			ceiling: append(slices.Clone(everything), readRule([]string{""}, []string{"pods/log"}, "get"), readRule([]string{""}, []string{"*/exec"}, "*")),
			want:    []string{"/pods:get,list,watch", "/pods/log:get", "/pods/exec:create,get"},
		},
		"sessions that nobody asked for": {
			whitelist: `["pods.v1."]`,
			ceiling:   []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*", "pods/log", "pods/exec"}, Verbs: []string{"*"}}},
			want:      []string{"/pods:get,list,watch"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := watchlist.Parse(map[string]string{
				meshery.WhitelistKey: test.whitelist, meshery.BlacklistKey: test.blacklist, meshery.DiscoveryKey: test.discovery,
			})
			if err != nil {
				t.Fatal(err)
			}
			granted := meshSyncAccess(wantedKinds(list.Resolve(served)), test.sessions, test.ceiling)
			var rules []string
			for _, rule := range granted.rules[len(baseAccess()):] {
				rules = append(rules, strings.Join(rule.APIGroups, ",")+"/"+strings.Join(rule.Resources, ",")+":"+strings.Join(rule.Verbs, ","))
			}
			if !slices.Equal(rules, test.want) || !slices.Equal(granted.refused, test.refused) {
				t.Errorf("granted %q, refused %q; want %q and %q", rules, granted.refused, test.want, test.refused)
			}
		})
	}
}

// may asks the API server whether an agent may do something in all namespaces.
func may(ctx context.Context, namespace, verb, group, resource string) (bool, error) {
	resource, subresource, _ := strings.Cut(resource, "/")
	review, err := server.admin.kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:" + namespace + ":" + meshery.MeshSyncName,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Subresource: subresource},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// wantAccess waits until the agent may watch exactly these of the asked kinds, each as <plural>.<group>.
func wantAccess(t *testing.T, namespace string, want map[string]bool) {
	t.Helper()
	eventually(t, "the agent's permissions", func(ctx context.Context) error {
		for resource, wanted := range want {
			kind, verb := schema.ParseGroupResource(resource), "watch"
			if strings.Contains(resource, "/") {
				verb = "get"
			}
			if got, err := may(ctx, namespace, verb, kind.Group, kind.Resource); err != nil || got != wanted {
				return fmt.Errorf("%s %s: %v (%w), want %v", verb, resource, got, errors.Join(err), wanted)
			}
		}
		return nil
	})
}

func patchMeshSync(t *testing.T, namespace, patch string) {
	t.Helper()
	_, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).
		Patch(t.Context(), meshery.MeshSyncName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnAgentMayReadWhatItsWatchListNames(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	wantAccess(t, namespace, map[string]bool{"pods": true, "secrets": true, "deployments.apps": true, "serviceaccounts": false, "pods/log": false})
	patchMeshSync(t, namespace, `{"spec":{"watch-list":{"data":{"whitelist":"[\"pods.v1.\"]"}}}}`)
	wantAccess(t, namespace, map[string]bool{"pods": true, "secrets": false, "deployments.apps": false})
	// A list that cannot be read changes nothing; then everything but one kind.
	patchMeshSync(t, namespace, `{"spec":{"watch-list":{"data":{"whitelist":"pods"}}}}`)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonWatchListInvalid)
	wantAccess(t, namespace, map[string]bool{"pods": true, "secrets": false, "deployments.apps": false})
	patchMeshSync(t, namespace, `{"spec":{"watch-list":{"data":{"whitelist":"","blacklist":"[\"secrets.v1.\"]"}}}}`)
	wantAccess(t, namespace, map[string]bool{"pods": true, "secrets": false, "deployments.apps": true, "serviceaccounts": true, "events": false})
}

// Whoever may edit a MeshSync gets no more by it than the ceiling, which is followed when it changes.
func TestNoAgentExceedsTheCeiling(t *testing.T) {
	t.Parallel()
	roles := server.admin.kube.RbacV1().ClusterRoles()
	ceiling, err := roles.Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "ceiling-"},
		Rules:      []rbacv1.PolicyRule{readRule([]string{""}, []string{"pods", "services"})},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	namespace := newNamespaceUnder(t, ceiling.Name)
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	patchMeshSync(t, namespace, `{"spec":{"sessions":{"logs":true,"exec":true},"watch-list":{"data":{"whitelist":"[\"pods.v1.\",\"secrets.v1.\"]"}}}}`)
	startOperator(t, namespace, func(o *Options) { o.MeshSyncClusterRole = ceiling.Name })
	wantAccess(t, namespace, map[string]bool{"pods": true, "services": false, "secrets": false, "pods/log": false, "pods/exec": false})
	wantForbidden := func(named ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("Forbidden names %q", named), func(ctx context.Context) error {
			conditions, err := meshSyncConditions(namespace)(ctx)
			if err != nil {
				return err
			}
			got := meta.FindStatusCondition(conditions, v1alpha1.ConditionForbidden)
			if got == nil || (got.Status == metav1.ConditionTrue) != (len(named) > 0) {
				return fmt.Errorf("got %+v", got)
			}
			for _, name := range named {
				if !strings.Contains(got.Message, name) {
					return fmt.Errorf("%q is not in %q", name, got.Message)
				}
			}
			return nil
		})
	}
	wantForbidden("secrets.v1.", "pods/log", "pods/exec", ceiling.Name)

	// The API server holds the ceiling, whatever the operator would write.
	grantor, err := newClients(as(t, namespace, meshery.OperatorName), namespace)
	if err != nil {
		t.Fatal(err)
	}
	beyond := rbacac.ClusterRole("beyond-" + namespace).
		WithRules(rbacac.PolicyRule().WithAPIGroups("").WithResources("secrets").WithVerbs("get"))
	_, err = grantor.grantor.RbacV1().ClusterRoles().Apply(t.Context(), beyond, metav1.ApplyOptions{FieldManager: "test"})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "attempting to grant RBAC permissions not currently held") {
		t.Errorf("a role beyond the ceiling: %v", err)
	}

	// The installer opens more, and less.
	ceiling.Rules = append(ceiling.Rules, readRule([]string{""}, []string{"secrets"}), readRule([]string{""}, []string{"pods/log"}, "get"))
	if ceiling, err = roles.Update(t.Context(), ceiling, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantAccess(t, namespace, map[string]bool{"pods": true, "secrets": true, "pods/log": true, "pods/exec": false})
	wantForbidden("pods/exec")
	ceiling.Rules = []rbacv1.PolicyRule{readRule([]string{""}, []string{"secrets"})}
	if _, err = roles.Update(t.Context(), ceiling, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantAccess(t, namespace, map[string]bool{"pods": false, "secrets": true, "pods/log": false})
	patchMeshSync(t, namespace, `{"spec":{"sessions":null,"watch-list":{"data":{"whitelist":"[\"secrets.v1.\"]"}}}}`)
	wantForbidden()
}

// Every namespace has an account called default, and many have one that may more. A MeshSync of such a name must neither give it
// rights nor start an agent with its.
func TestNobodyElsesAccountGetsRightsOrAnAgent(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	eventually(t, "the account default", func(ctx context.Context) error {
		_, err := server.admin.kube.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	meshSync := &v1alpha1.MeshSync{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Create(t.Context(), meshSync, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	startOperator(t, namespace)
	wantMeshSync(t, namespace, "default", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConflict)
	if _, err := server.admin.kube.AppsV1().Deployments(namespace).Get(t.Context(), "default", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("an agent under somebody else's account: %v", err)
	}
	if _, err := server.admin.kube.RbacV1().RoleBindings(namespace).Get(t.Context(), "default", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("somebody else's account was given a role: %v", err)
	}
	for _, r := range []request{{"list", "", "pods", "", ""}, {"list", "", "secrets", namespace, ""}} {
		if canI(t, namespace, "default", r) {
			t.Errorf("somebody else's account may %s", r)
		}
	}
}
