package faults

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/generated/clientset/versioned"
	"meshery.io/operator/test/controlplane"
)

const (
	repository = "../.."
	// patience is what everything gets done in. Most takes milliseconds; but Kubernetes' garbage collector looks only every half minute
	// for new CRDs.
	patience = 90 * time.Second
)

var (
	program string // the operator
	rounds  int    // how often each fault is tried
	seed    uint64
)

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil { // they wait more than they work
		return 1, err
	}
	var err error
	if rounds, err = strconv.Atoi(fromEnvironment("FAULTS_ROUNDS", "1")); err != nil || rounds < 1 {
		return 1, fmt.Errorf("FAULTS_ROUNDS=%q: want a number of 1 or more", os.Getenv("FAULTS_ROUNDS"))
	}
	if seed, err = strconv.ParseUint(fromEnvironment("FAULTS_SEED", strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64); err != nil {
		return 1, fmt.Errorf("FAULTS_SEED=%q: want a number", os.Getenv("FAULTS_SEED"))
	}
	fmt.Printf("FAULTS_SEED=%d FAULTS_ROUNDS=%d\n", seed, rounds)
	dir, err := os.MkdirTemp("", "faults-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "operator")
	if out, err := exec.Command("go", "build", "-o", program, repository+"/cmd/operator").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the operator: %w\n%s", err, out)
	}
	return m.Run(), nil
}

func fromEnvironment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// chance is random, and the same for the same seed.
func chance(t *testing.T) *rand.Rand {
	hash := uint64(14695981039346656037)
	for _, letter := range []byte(t.Name()) {
		hash = (hash ^ uint64(letter)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, hash))
}

// plane is a control plane, an administrator's clients of it, and a stand-in for the kubelets that it does not have.
type plane struct {
	*controlplane.ControlPlane
	config  *rest.Config
	kube    kubernetes.Interface
	meshery versioned.Interface
	kubectl string
}

func startPlane(t *testing.T) *plane {
	t.Helper()
	started, err := controlplane.Start(t.Context(), controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := started.Stop(); err != nil {
			t.Error(err)
		}
	})
	p := &plane{ControlPlane: started}
	if p.kubectl, err = controlplane.Binary(t.Context(), "kubectl"); err != nil {
		t.Fatal(err)
	}
	if p.config, err = clientcmd.BuildConfigFromFlags("", p.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	p.config.QPS = -1
	p.config.Timeout = 10 * time.Second // the API server may hang
	p.kube, p.meshery = kubernetes.NewForConfigOrDie(p.config), versioned.NewForConfigOrDie(p.config)
	go p.playKubelet(t.Context())
	return p
}

// playKubelet reports every pod as ready.
func (p *plane) playKubelet(ctx context.Context) {
	// Long since, for workloads that want their pods to be ready for a while.
	running := []byte(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	_ = wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		pods, err := p.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Pending"})
		if err != nil {
			return false, nil
		}
		for _, pod := range pods.Items {
			_, _ = p.kube.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, running, metav1.PatchOptions{}, "status")
		}
		return false, nil
	})
}

// try runs kubectl and returns all that it printed.
func (p *plane) try(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.Kubeconfig)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %v: %w\n%s", args, err, out)
	}
	return string(out), err
}

func (p *plane) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.try(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// install applies what users install, but not the operator's Deployment and the first resources.
func (p *plane) install(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(repository + "/manifests/[0-2]*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("manifests %v, %v", files, err)
	}
	for _, file := range files {
		p.run(t, "apply", "-f", file)
	}
	p.run(t, "wait", "--for=condition=Established", "crd/brokers.meshery.io", "crd/meshsyncs.meshery.io")
}

// newNamespace makes a namespace in which an operator may do what manifests/ lets it do in the namespace meshery.
func (p *plane) newNamespace(t *testing.T) string {
	t.Helper()
	created, err := p.kube.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "fault-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.copyPermissions(t.Context(), created.Name); err != nil {
		t.Fatal(err)
	}
	return created.Name
}

// copyPermissions makes the accounts of the namespace meshery again, and gives each the same permissions, there and in the cluster.
func (p *plane) copyPermissions(ctx context.Context, namespace string) error {
	core, rbac := p.kube.CoreV1(), p.kube.RbacV1()
	named := metav1.ObjectMeta{GenerateName: "fault-"}
	accounts, err := core.ServiceAccounts(meshery.Namespace).List(ctx, metav1.ListOptions{LabelSelector: ours})
	if err != nil {
		return err
	}
	for _, account := range accounts.Items {
		copied := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account.Name}}
		if _, err := core.ServiceAccounts(namespace).Create(ctx, copied, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	roles, err := rbac.Roles(meshery.Namespace).List(ctx, metav1.ListOptions{LabelSelector: ours})
	if err != nil {
		return err
	}
	for _, role := range roles.Items {
		copied := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: role.Name}, Rules: role.Rules}
		if _, err := rbac.Roles(namespace).Create(ctx, copied, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	bindings, err := rbac.RoleBindings(meshery.Namespace).List(ctx, metav1.ListOptions{LabelSelector: ours})
	if err != nil {
		return err
	}
	for _, binding := range bindings.Items {
		copied := &rbacv1.RoleBinding{ObjectMeta: named, RoleRef: binding.RoleRef, Subjects: inNamespace(namespace, binding.Subjects)}
		if _, err := rbac.RoleBindings(namespace).Create(ctx, copied, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	clusterBindings, err := rbac.ClusterRoleBindings().List(ctx, metav1.ListOptions{LabelSelector: ours})
	if err != nil {
		return err
	}
	for _, binding := range clusterBindings.Items {
		copied := &rbacv1.ClusterRoleBinding{ObjectMeta: named, RoleRef: binding.RoleRef, Subjects: inNamespace(namespace, binding.Subjects)}
		if _, err := rbac.ClusterRoleBindings().Create(ctx, copied, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// ours selects what manifests/ installs, and not what an operator makes.
const ours = meshery.LabelPartOf + "=" + meshery.PartOfMeshery + "," + meshery.LabelManagedBy + "!=" + meshery.OperatorName

func inNamespace(namespace string, subjects []rbacv1.Subject) []rbacv1.Subject {
	moved := slices.Clone(subjects)
	for i := range moved {
		moved[i].Namespace = namespace
	}
	return moved
}

// createResources makes a Broker and a MeshSync with the usual names.
func (p *plane) createResources(t *testing.T, namespace string) {
	t.Helper()
	api := p.meshery.MesheryV1alpha1()
	broker := &v1alpha1.Broker{ObjectMeta: metav1.ObjectMeta{Name: meshery.BrokerName}}
	if _, err := api.Brokers(namespace).Create(t.Context(), broker, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	meshSync := &v1alpha1.MeshSync{ObjectMeta: metav1.ObjectMeta{Name: meshery.MeshSyncName}}
	if _, err := api.MeshSyncs(namespace).Create(t.Context(), meshSync, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// edit is a change of both custom resources that shows in the objects made for them.
type edit struct{ size, verbosity int32 }

func anEdit(chance *rand.Rand, last edit) edit {
	next := edit{1 + chance.Int32N(3), chance.Int32N(6)}
	if next == last {
		next.verbosity++
	}
	return next
}

// apply edits both resources, and tries until the API server takes it.
func (e edit) apply(ctx context.Context, p *plane, namespace string) error {
	api := p.meshery.MesheryV1alpha1()
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		broker, err := api.Brokers(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		broker.Spec.Size = e.size
		if _, err := api.Brokers(namespace).Update(ctx, broker, metav1.UpdateOptions{}); err != nil {
			return err
		}
		meshSync, err := api.MeshSyncs(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		meshSync.Spec.Verbosity = &e.verbosity
		_, err = api.MeshSyncs(namespace).Update(ctx, meshSync, metav1.UpdateOptions{})
		return err
	})
}

// inForce complains while the objects are not as the edit wants, or a condition does not say so.
func (e edit) inForce(ctx context.Context, p *plane, namespace string) error {
	_, statefulSet, err := p.broker(ctx, namespace)
	if err != nil {
		return err
	}
	_, deployment, err := p.meshSync(ctx, namespace)
	if err != nil {
		return err
	}
	verbosity := ""
	for _, env := range deployment.Spec.Template.Spec.Containers[0].Env {
		if env.Name == meshery.EnvVerbosity {
			verbosity = env.Value
		}
	}
	if *statefulSet.Spec.Replicas != e.size || verbosity != strconv.Itoa(int(e.verbosity)) {
		return fmt.Errorf("%d servers and verbosity %q, want %+v", *statefulSet.Spec.Replicas, verbosity, e)
	}
	return p.well(ctx, namespace)
}

// well complains while a condition of either resource is not as it should be.
func (p *plane) well(ctx context.Context, namespace string) error {
	broker, _, err := p.broker(ctx, namespace)
	if err != nil {
		return err
	}
	meshSync, _, err := p.meshSync(ctx, namespace)
	if err != nil {
		return err
	}
	if err := allWell("Broker", broker.Generation, broker.Status.Conditions); err != nil {
		return err
	}
	return allWell("MeshSync", meshSync.Generation, meshSync.Status.Conditions)
}

func (p *plane) broker(ctx context.Context, namespace string) (*v1alpha1.Broker, *appsv1.StatefulSet, error) {
	broker, err := p.meshery.MesheryV1alpha1().Brokers(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	statefulSet, err := p.kube.AppsV1().StatefulSets(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
	return broker, statefulSet, err
}

func (p *plane) meshSync(ctx context.Context, namespace string) (*v1alpha1.MeshSync, *appsv1.Deployment, error) {
	meshSync, err := p.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	deployment, err := p.kube.AppsV1().Deployments(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
	return meshSync, deployment, err
}

// reported are the conditions that the operator reports. Others may be there.
var reported = []string{v1alpha1.ConditionReady, v1alpha1.ConditionProgressing, v1alpha1.ConditionDegraded, v1alpha1.ConditionWarning}

// allWell complains unless Ready is true, nothing is Progressing or Degraded, and every condition is about the newest spec.
func allWell(kind string, generation int64, conditions []metav1.Condition) error {
	for _, c := range conditions {
		if !slices.Contains(reported, c.Type) {
			continue
		}
		bad := c.Type == v1alpha1.ConditionProgressing || c.Type == v1alpha1.ConditionDegraded
		if c.ObservedGeneration != generation || bad && c.Status == metav1.ConditionTrue {
			return fmt.Errorf("%s of generation %d has condition %+v", kind, generation, c)
		}
	}
	if !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) {
		return fmt.Errorf("%s is not Ready: %+v", kind, conditions)
	}
	return nil
}

// eventually waits until check has nothing to complain of.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	await(t, what, 50*time.Millisecond, check)
}

func await(t *testing.T, what string, interval time.Duration, check func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), interval, patience, true, func(ctx context.Context) (bool, error) {
		err := check(ctx)
		if err == nil || ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, last)
	}
}

// settle makes an edit and waits until it is in force.
func (p *plane) settle(t *testing.T, namespace string, e edit) {
	t.Helper()
	eventually(t, "an edit is taken", func(ctx context.Context) error { return e.apply(ctx, p, namespace) })
	eventually(t, "an edit is in force", func(ctx context.Context) error { return e.inForce(ctx, p, namespace) })
}

// pass lets time go by in which nothing is to happen.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
