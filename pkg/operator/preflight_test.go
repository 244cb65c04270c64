package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/test/controlplane"
)

// freeAddr is an address of this machine that nobody serves on.
func freeAddr(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePort(t))
}

// fetch gets a URL, as text.
func fetch(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// An operator that may nothing says what it lacks, waits, and goes on by itself when it has got it.
func TestAnOperatorWaitsForItsPermissions(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	bindings := server.admin.kube.RbacV1().RoleBindings(namespace)
	granted, err := bindings.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := bindings.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	createBroker(t, namespace)
	health := freeAddr(t)
	startOperator(t, namespace, func(o *Options) { o.HealthAddr, o.LeaderElect = health, true })

	readyz := func(wants ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, body, err := fetch(ctx, "http://"+health+"/readyz")
			if err != nil {
				return err
			}
			for _, want := range wants {
				if !strings.Contains(body, want) {
					return fmt.Errorf("/readyz does not say %q but: %s", want, body)
				}
			}
			return nil
		}
	}
	eventually(t, "everything that is missing is said", readyz("in namespace "+namespace+": list, watch, patch brokers.meshery.io",
		"get, list, watch, create, patch, delete secrets;", "get, update leases.coordination.k8s.io meshery-operator",
		"in namespace "+namespace+": impersonate serviceaccounts meshery-operator-grantor (manifests/22-grantor-rbac.yaml grants this)"))
	if code, _, err := fetch(t.Context(), "http://"+health+"/healthz"); err != nil || code != http.StatusOK {
		t.Errorf("healthz of an operator that waits: %d, %v; it must not be restarted", code, err)
	}
	if _, body, _ := fetch(t.Context(), "http://"+health+"/readyz"); strings.Contains(body, "cluster-wide") || strings.Contains(body, "events") || strings.Count(body, "\n") != 1 {
		t.Errorf("want one line without what is granted or not needed: %s", body)
	}

	for _, binding := range granted.Items {
		again := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: binding.Name}, RoleRef: binding.RoleRef, Subjects: binding.Subjects}
		if _, err := bindings.Create(t.Context(), again, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	wantReady(t, brokerConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady)
	eventually(t, "it is ready", readyz("ok"))
}

// A CRD of another group stands for ours, which the other tests need.
func TestThePreflightNamesMissingCRDs(t *testing.T) {
	t.Parallel()
	options := DefaultOptions()
	p, err := newPreflight(server.config, &options)
	if err != nil {
		t.Fatal(err)
	}
	gv := schema.GroupVersion{Group: "preflight.example.com", Version: "v1alpha1"}
	p.resources = []schema.GroupVersionResource{gv.WithResource("brokers"), gv.WithResource("meshsyncs")}
	want := "CRDs brokers.preflight.example.com and meshsyncs.preflight.example.com are not installed"
	if missing, _ := p.look(t.Context()); !strings.HasPrefix(missing, want) {
		t.Errorf("got %s, want %s", missing, want)
	}
	waited := make(chan error, 1)
	told := make(chan error, 100)
	go func() { waited <- p.wait(t.Context(), func(missing error) { told <- missing }) }()
	if missing := <-told; !strings.HasPrefix(missing.Error(), "missing: "+want) {
		t.Errorf("told %v", missing)
	}
	createCRDs(t, gv, "Broker", "MeshSync")
	if err := <-waited; err != nil {
		t.Errorf("the CRDs are there now: %v", err)
	}
}

func createCRDs(t *testing.T, gv schema.GroupVersion, kinds ...string) {
	t.Helper()
	var text strings.Builder
	for _, kind := range kinds {
		singular := strings.ToLower(kind)
		fmt.Fprintf(&text, `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]ss.%[2]s}
spec:
  group: %[2]s
  scope: Namespaced
  names: {plural: %[1]ss, singular: %[1]s, kind: %[4]s}
  versions: [{name: %[3]s, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`, singular, gv.Group, gv.Version, kind)
	}
	kubectl, err := controlplane.Binary(t.Context(), "kubectl")
	if err != nil {
		t.Fatal(err)
	}
	create := exec.CommandContext(t.Context(), kubectl, "--kubeconfig", server.kubeconfig, "create", "-f", "-")
	create.Stdin = strings.NewReader(text.String())
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestThePreflightWaitsForAnAPIServer(t *testing.T) {
	t.Parallel()
	options := DefaultOptions()
	addr := freeAddr(t)
	p, err := newPreflight(&rest.Config{Host: "http://" + addr}, &options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = p.wait(ctx, func(missing error) {
		if missing.Error() != "missing: an answer of the API server "+addr+": connection refused" {
			t.Errorf("missing: %v", missing)
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What the operator can do without is said, and does not hold it back.
func TestOptionalPermissionsHoldNothingBack(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	options := DefaultOptions()
	options.Namespace = namespace
	config := rest.CopyConfig(server.config)
	config.Impersonate.UserName = operatorUser(namespace)
	p, err := newPreflight(config, &options)
	if err != nil {
		t.Fatal(err)
	}
	p.permissions = append(p.permissions, permission{where: inCluster, resource: "componentstatuses", verbs: []string{"list"}, optional: true})
	missing, optional := p.look(t.Context())
	if missing != "" || len(optional) != 1 || optional[0] != "cluster-wide: list componentstatuses (manifests/20-operator-rbac.yaml grants this)" {
		t.Errorf("missing %v, optional %q", missing, optional)
	}
	if err := p.wait(t.Context(), func(missing error) { t.Errorf("not ready: %v", missing) }); err != nil {
		t.Error(err)
	}
}
