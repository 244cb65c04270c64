package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"meshery.io/operator/pkg/apis/meshery"
)

func TestDeniedPermissionsReadWell(t *testing.T) {
	const (
		namespaced = "ClusterRole meshery-operator-namespaced, bound "
		by20       = " (manifests/20-operator-rbac.yaml grants this)"
		by22       = " (manifests/22-grantor-rbac.yaml grants this)"
	)
	pods := permission{where: inServed, resource: "pods", verbs: []string{"list", "watch"}}
	events := permission{where: inServed, resource: "events", verbs: []string{"create"}, optional: true}
	status := permission{where: inServed, group: "meshery.io", resource: "brokers/status", verbs: []string{"patch"}}
	lease := permission{where: inOwn, resource: "leases", name: "meshery-operator", verbs: []string{"get"}}
	impersonate := permission{where: inOwn, resource: "serviceaccounts", name: "grantor", verbs: []string{"impersonate"}}
	nodes := permission{where: inCluster, resource: "nodes", verbs: []string{"list"}, optional: true}
	roles := permission{where: inCluster, group: "rbac.authorization.k8s.io", resource: "clusterroles", verbs: []string{"get"}}
	all := func(p permission, namespace string) answer {
		return answer{permission: p, namespace: namespace, denied: p.verbs}
	}
	none := func(p permission, namespace string) answer { return answer{permission: p, namespace: namespace} }
	granting := all(roles, "")
	granting.account = "grantor"
	for name, test := range map[string]struct {
		answers          []answer
		needed, optional string
	}{
		"nothing": {answers: []answer{none(pods, "own"), none(nodes, "")}},
		"own": {
			[]answer{all(pods, "own"), all(status, "own"), all(lease, "own"), all(impersonate, "own"), all(nodes, "")},
			"in namespace own: impersonate serviceaccounts grantor" + by22 + ". in namespace own: list, watch pods; patch brokers/status.meshery.io; get leases meshery-operator" + by20,
			"cluster-wide: list nodes" + by20,
		},
		"grantor": {
			[]answer{none(pods, "own"), all(roles, ""), granting},
			"as ServiceAccount grantor, cluster-wide: get clusterroles.rbac.authorization.k8s.io" + by22 + ". cluster-wide: get clusterroles.rbac.authorization.k8s.io" + by20, "",
		},
		"some in a further one": {
			[]answer{none(pods, "own"), all(pods, "a"), none(status, "a"), all(events, "a")},
			"in namespace a: list, watch pods (" + namespaced + "there by a RoleBinding, grants this)",
			"in namespace a: create events (" + namespaced + "there by a RoleBinding, grants this)",
		},
		"nothing in further ones": {
			[]answer{all(lease, "own"), all(pods, "b"), all(pods, "a"), all(status, "a"), all(events, "a")},
			"in namespace own: get leases meshery-operator" + by20 + ". nothing is allowed in namespace a, nor in b: it may not exist; " +
				"bind ClusterRole meshery-operator-namespaced there by a RoleBinding, or take it out of --watch-namespaces", "",
		},
		"nothing in all": {
			[]answer{none(lease, "own"), all(pods, ""), all(status, ""), all(events, "")},
			"nothing is allowed cluster-wide that --watch-namespaces=* needs: bind ClusterRole meshery-operator-namespaced by a ClusterRoleBinding", "",
		},
		"some in all": {
			[]answer{all(pods, ""), none(status, "")},
			"in all namespaces: list, watch pods (" + namespaced + "by a ClusterRoleBinding, grants this)", "",
		},
	} {
		needed, optional := describeDenied(test.answers, "own")
		if got := strings.Join(needed, ". "); got != test.needed {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, test.needed)
		}
		if got := strings.Join(optional, ". "); got != test.optional {
			t.Errorf("%s: optional\n%s\nwant\n%s", name, got, test.optional)
		}
	}
}

func TestCausesAreSteady(t *testing.T) {
	read := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	for want, err := range map[string]error{
		"EOF":                                           fmt.Errorf("get: %w", io.EOF),
		"connection reset by peer":                      fmt.Errorf("get: %w", read),
		"no answer in time":                             fmt.Errorf("get: %w", context.DeadlineExceeded),
		"lookup a.example: no such host":                fmt.Errorf("dial: %w", &net.DNSError{Name: "a.example", Err: "no such host", IsNotFound: true}),
		"lookup a.example: no answer in time":           &net.DNSError{Name: "a.example", Err: "read udp 10.0.0.1:55555->10.0.0.10:53: i/o timeout", IsTimeout: true},
		"lookup a.example: read udp 10.0.0.10:53: oops": &net.DNSError{Name: "a.example", Err: "read udp 10.0.0.1:55555->10.0.0.10:53: oops"},
		"x509: certificate has expired or is not yet valid: the time is after 2025-01-01T00:00:00Z": errors.New(
			"x509: certificate has expired or is not yet valid: current time 2026-01-01T00:00:00Z is after 2025-01-01T00:00:00Z"),
	} {
		if got := causeOf(err); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// An API server that does not answer is said with its host and why, in the same words each time.
func TestThePreflightSaysWhyTheAPIServerCannotBeAsked(t *testing.T) {
	t.Parallel()
	anonymous := rest.AnonymousClientConfig(server.config)
	anonymous.BearerToken = "made-up"
	distrustful := rest.CopyConfig(server.config)
	distrustful.CAData, distrustful.CAFile = nil, ""
	for want, config := range map[string]*rest.Config{
		"Unauthorized": anonymous,
		"x509: certificate signed by unknown authority": distrustful,
	} {
		options := DefaultOptions()
		p, err := newPreflight(config, &options)
		if err != nil {
			t.Fatal(err)
		}
		want = "an answer of the API server " + p.host + ": " + want
		for range 2 {
			if missing, _ := p.look(t.Context()); missing != want {
				t.Errorf("got  %s\nwant %s", missing, want)
			}
		}
	}
}

// The grantor's own permissions are asked for too, once the operator may act as the grantor at all.
func TestThePreflightAsksForTheGrantor(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	look := func(watch ...string) string {
		options := DefaultOptions()
		options.Namespace, options.WatchNamespaces = namespace, watch
		p, err := newPreflight(as(t, namespace, meshery.OperatorName), &options)
		if err != nil {
			t.Fatal(err)
		}
		missing, _ := p.look(t.Context())
		return missing
	}
	if missing := look(); missing != "" {
		t.Fatalf("missing before anything was taken: %s", missing)
	}
	if got, want := look(namespace, "not-there"), "this account lacks permissions: nothing is allowed in namespace not-there: it may not exist"; !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := look("*"), "this account lacks permissions: nothing is allowed cluster-wide that --watch-namespaces=* needs: "; !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	unbind(t, namespace, meshery.GrantorName)
	wantMissing := func(want string) {
		t.Helper()
		eventually(t, "the preflight tells", func(context.Context) error {
			if got := look(); got != want {
				return fmt.Errorf("got  %s\nwant %s", got, want)
			}
			return nil
		})
	}
	wantMissing("this account lacks permissions: as ServiceAccount meshery-operator-grantor, cluster-wide: " +
		"get, create, patch, delete clusterroles.rbac.authorization.k8s.io; get, create, patch, delete clusterrolebindings.rbac.authorization.k8s.io " +
		"(manifests/22-grantor-rbac.yaml grants this)")

	bindings := server.admin.kube.RbacV1().RoleBindings(namespace)
	all, err := bindings.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, binding := range all.Items {
		if binding.RoleRef.Name == meshery.GrantorName {
			if err := bindings.Delete(t.Context(), binding.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantMissing("this account lacks permissions: in namespace " + namespace +
		": impersonate serviceaccounts meshery-operator-grantor (manifests/22-grantor-rbac.yaml grants this)")
}

// unbind takes its ClusterRoles from an account.
func unbind(t *testing.T, namespace, account string) {
	t.Helper()
	bindings := server.admin.kube.RbacV1().ClusterRoleBindings()
	all, err := bindings.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, binding := range all.Items {
		for _, subject := range binding.Subjects {
			if subject.Namespace == namespace && subject.Name == account {
				if err := bindings.Delete(t.Context(), binding.Name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
