package operator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/test/controlplane"
)

// server is the control plane that all tests of this package share, each in a namespace of its own.
var server struct {
	admin      clients
	config     *rest.Config
	kubeconfig string
	auditLog   string
}

func TestMain(m *testing.M) {
	if runAsOperator() {
		return
	}
	code, err := runWithServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runWithServer(m *testing.M) (int, error) {
	lastPort.Store(rand.Int32N(portCount))
	ctx := context.Background()
	plane, err := controlplane.Start(ctx, controlplane.Options{Audit: true})
	if err != nil {
		return 1, err
	}
	defer plane.Stop()
	kubectl, err := controlplane.Binary(ctx, "kubectl")
	if err != nil {
		return 1, err
	}
	// The roles and the CRDs are the ones that users install.
	for _, manifest := range []string{"00-namespace", "10-crd-brokers", "11-crd-meshsyncs", "20-operator-rbac", "21-meshsync-rbac", "22-grantor-rbac", "23-grantor-policy"} {
		apply := exec.Command(kubectl, "--kubeconfig", plane.Kubeconfig, "apply", "-f", "../../manifests/"+manifest+".yaml")
		if out, err := apply.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("%s: %w\n%s", manifest, err, out)
		}
	}
	wait := exec.Command(kubectl, "--kubeconfig", plane.Kubeconfig, "wait", "--for=condition=Established", "crd/brokers.meshery.io", "crd/meshsyncs.meshery.io")
	if out, err := wait.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("CRDs: %w\n%s", err, out)
	}
	server.config, err = clientcmd.BuildConfigFromFlags("", plane.Kubeconfig)
	if err != nil {
		return 1, err
	}
	unlimited := rest.CopyConfig(server.config)
	unlimited.QPS = -1
	if server.admin, err = newClients(unlimited, meshery.Namespace); err != nil {
		return 1, err
	}
	server.auditLog, server.kubeconfig = plane.AuditLog, plane.Kubeconfig
	code := m.Run()
	if code == 0 {
		err = checkRequests()
	}
	return code, err
}

// newNamespace makes a namespace with the accounts and the permissions that manifests/ gives the operator in its own.
func newNamespace(t *testing.T) string {
	t.Helper()
	return newNamespaceUnder(t, DefaultOptions().MeshSyncClusterRole)
}

// newNamespaceUnder makes one whose agents have another ceiling.
func newNamespaceUnder(t *testing.T, ceiling string) string {
	t.Helper()
	namespace, err := server.admin.kube.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "op-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := namespace.Name
	for _, account := range []string{meshery.OperatorName, meshery.GrantorName} {
		_, err := server.admin.kube.CoreV1().ServiceAccounts(name).Create(t.Context(),
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, role := range []string{"meshery-operator-own", meshery.GrantorName} {
		copyRole(t, name, role)
		bind(t, name, rbacv1.RoleRef{Kind: "Role", Name: role}, name, meshery.OperatorName)
	}
	bind(t, name, clusterRole("meshery-operator-namespaced"), name, meshery.OperatorName)
	bind(t, "", clusterRole("meshery-operator"), name, meshery.OperatorName)
	bind(t, "", clusterRole(meshery.GrantorName), name, meshery.GrantorName)
	bind(t, "", clusterRole(ceiling), name, meshery.GrantorName)
	return name
}

func clusterRole(name string) rbacv1.RoleRef { return rbacv1.RoleRef{Kind: "ClusterRole", Name: name} }

// copyRole makes a Role of manifests/ again in another namespace.
func copyRole(t *testing.T, namespace, name string) {
	t.Helper()
	original, err := server.admin.kube.RbacV1().Roles(meshery.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: original.Rules}
	if _, err := server.admin.kube.RbacV1().Roles(namespace).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// bind gives a ServiceAccount a role, in one namespace or in all.
func bind(t *testing.T, in string, role rbacv1.RoleRef, namespace, account string) {
	t.Helper()
	named := metav1.ObjectMeta{GenerateName: "op-"}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}}
	var err error
	if in == "" {
		_, err = server.admin.kube.RbacV1().ClusterRoleBindings().Create(t.Context(),
			&rbacv1.ClusterRoleBinding{ObjectMeta: named, RoleRef: role, Subjects: subjects}, metav1.CreateOptions{})
	} else {
		_, err = server.admin.kube.RbacV1().RoleBindings(in).Create(t.Context(),
			&rbacv1.RoleBinding{ObjectMeta: named, RoleRef: role, Subjects: subjects}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// as is a configuration that logs in as a ServiceAccount.
func as(t *testing.T, namespace, account string) *rest.Config {
	t.Helper()
	token, err := server.admin.kube.CoreV1().ServiceAccounts(namespace).
		CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(server.config)
	config.BearerToken = token.Status.Token
	return config
}

func operatorUser(namespace string) string {
	return "system:serviceaccount:" + namespace + ":" + meshery.OperatorName
}

// startOperator runs an operator for a namespace, with the permissions of manifests/ and no others. The returned function
// stops it and waits.
func startOperator(t *testing.T, namespace string, mods ...func(*Options)) (stop func()) {
	t.Helper()
	options := DefaultOptions()
	options.Namespace = namespace
	options.MetricsAddr, options.HealthAddr = "0", "0"
	for _, mod := range mods {
		mod(&options)
	}
	if slices.Contains(options.WatchNamespaces, "*") {
		servesAll.Store(namespace, true)
	}
	config := as(t, namespace, meshery.OperatorName)
	ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), klog.Background().WithValues("test", t.Name())))
	done := make(chan error, 1)
	go func() { done <- Run(ctx, config, options) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("operator: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the operator does not stop")
		}
	}
	t.Cleanup(stop)
	return stop
}

// patience is what everything here gets done in. Most takes milliseconds; but Kubernetes' garbage collector looks only every half
// minute for new CRDs, and collects what their resources owned only then.
const patience = 90 * time.Second

// atOnce is less than it takes until the operator looks again by itself. What took longer, no event brought about. Mostly it is a small
// part of a second; this machine may have other things to do.
const atOnce = recheckForeign / 2

// eventually waits until check has nothing to complain of.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		err := check(ctx)
		if err == nil || ctx.Err() == nil { // when the time is up, what was wrong before it says more
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, last)
	}
}

const firstPort, portCount = 10_000, 10_000

// lastPort is the last that freePort chose, less firstPort. It begins somewhere: another run of these tests may be under way.
var lastPort atomic.Int32

// freePort is a port of this machine that nobody serves on, and that stays so while its server is down: it is below those that the
// kernel hands out by itself, and no other test gets it.
func freePort(t *testing.T) int {
	t.Helper()
	for range portCount {
		port := firstPort + int(lastPort.Add(1))%portCount
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func createBroker(t *testing.T, namespace string) *v1alpha1.Broker {
	t.Helper()
	broker := &v1alpha1.Broker{ObjectMeta: metav1.ObjectMeta{Name: meshery.BrokerName}}
	created, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Create(t.Context(), broker, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func createMeshSync(t *testing.T, namespace string) *v1alpha1.MeshSync {
	t.Helper()
	meshSync := &v1alpha1.MeshSync{ObjectMeta: metav1.ObjectMeta{Name: meshery.MeshSyncName}}
	created, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Create(t.Context(), meshSync, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func wantReady(t *testing.T, conditions func(context.Context) ([]metav1.Condition, error), status metav1.ConditionStatus, reason string) metav1.Condition {
	t.Helper()
	var found metav1.Condition
	eventually(t, fmt.Sprintf("Ready=%s %s", status, reason), func(ctx context.Context) error {
		all, err := conditions(ctx)
		if err != nil {
			return err
		}
		got := meta.FindStatusCondition(all, v1alpha1.ConditionReady)
		if got == nil || got.Status != status || got.Reason != reason {
			return fmt.Errorf("conditions are %+v", all)
		}
		found = *got
		return nil
	})
	return found
}

func brokerConditions(namespace string) func(context.Context) ([]metav1.Condition, error) {
	return func(ctx context.Context) ([]metav1.Condition, error) {
		broker, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return broker.Status.Conditions, nil
	}
}

func meshSyncConditions(namespace string) func(context.Context) ([]metav1.Condition, error) {
	return func(ctx context.Context) ([]metav1.Condition, error) {
		meshSync, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return meshSync.Status.Conditions, nil
	}
}

// playKubelet reports the Broker's first pod as ready: this control plane has no node to run it.
func playKubelet(t *testing.T, namespace string) {
	t.Helper()
	running := []byte(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`)
	eventually(t, "the Broker's pod is reported ready", func(ctx context.Context) error {
		_, err := server.admin.kube.CoreV1().Pods(namespace).Patch(ctx, meshery.BrokerName+"-0", types.StrategicMergePatchType, running, metav1.PatchOptions{}, "status")
		return err
	})
}

// mutations is what one operator has written so far, as the API server saw it. Its lease does not count.
func mutations(t *testing.T, namespace string) []string {
	t.Helper()
	events, err := readAudit(0)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, event := range events {
		if event.account() == operatorUser(namespace) && event.isWrite() {
			found = append(found, event.Verb+" "+event.RequestURI)
		}
	}
	return found
}

// startInstallation runs an operator for a new namespace with a Broker and a MeshSync, and returns when all their objects are there.
func startInstallation(t *testing.T) (namespace string) {
	t.Helper()
	namespace = newNamespace(t)
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	startOperator(t, namespace)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
	return namespace
}
