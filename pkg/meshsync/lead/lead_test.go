package lead_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/meshsync/lead"
	"meshery.io/operator/test/controlplane"
)

var controlPlane *controlplane.ControlPlane

// The test binary is also the program that one test stops.
const asAgent = "LEAD_TEST_NAMESPACE"

func TestMain(m *testing.M) {
	if namespace := os.Getenv(asAgent); namespace != "" {
		answerForStandingStill(namespace)
		return
	}
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	controlPlane, err = controlplane.Start(context.Background(), controlplane.Options{})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, controlPlane.Stop()) }()
	return m.Run(), nil
}

const (
	leaseName = "meshsync"
	account   = "agent"
	patience  = 20 * time.Second
)

func administrator(t *testing.T) kubernetes.Interface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", controlPlane.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newNamespace makes a namespace in which the agent's account has the rights that the operator grants it.
func newNamespace(t *testing.T) string {
	t.Helper()
	client := administrator(t)
	created, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "lead-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{coordination.GroupName}, Resources: []string{"leases"}, ResourceNames: []string{leaseName},
		Verbs: []string{"get", "create", "update", "patch"},
	}}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: role.ObjectMeta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: created.Name}},
	}
	if _, err = client.RbacV1().Roles(created.Name).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err = client.RbacV1().RoleBindings(created.Name).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return created.Name
}

// agentConfig is how an agent reaches the API server.
func agentConfig(kubeconfig, namespace string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.Impersonate.UserName = "system:serviceaccount:" + namespace + ":" + account
	return config, nil
}

// gate holds back an agent's requests while it is closed, until the agent gives up.
type gate struct {
	http.RoundTripper

	mu     sync.Mutex
	closed bool
}

func (g *gate) set(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
}

func (g *gate) RoundTrip(request *http.Request) (*http.Response, error) {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed {
		<-request.Context().Done()
		return nil, request.Context().Err()
	}
	return g.RoundTripper.RoundTrip(request)
}

// short are the times of a lease that is lost soon. A lease lasts whole seconds.
func short(o *lead.Options) {
	o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = 3*time.Second, 2*time.Second, 50*time.Millisecond
}

// agent is one of those that may lead.
type agent struct {
	*lead.Leader

	t       *testing.T
	gate    *gate
	metrics *prometheus.Registry
	stop    func() // and waits until it has
}

func startAgent(t *testing.T, namespace, identity string, change ...func(*lead.Options)) *agent {
	t.Helper()
	config, err := agentConfig(controlPlane.Kubeconfig, namespace)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, gate: &gate{}, metrics: prometheus.NewRegistry()}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		a.gate.RoundTripper = next
		return a.gate
	})
	client, err := coordinationv1.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	options := lead.Options{Client: client, Namespace: namespace, Name: leaseName, Identity: identity, Metrics: a.metrics}
	for _, change := range change {
		change(&options)
	}
	if a.Leader, err = lead.New(options); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	a.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(a.stop)
	return a
}

// leads returns the agent's term as soon as it has one.
func (a *agent) leads() *lead.Term {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	term, err := a.Wait(ctx)
	if err != nil {
		a.t.Fatalf("does not lead: %v", err)
	}
	return term
}

func (a *agent) standsBy() {
	a.t.Helper()
	a.waitFor("standing by", a.Standby())
}

func (a *agent) waitFor(what string, happened <-chan struct{}) {
	a.t.Helper()
	select {
	case <-happened:
	case <-time.After(patience):
		a.t.Fatalf("%s: not after %s", what, patience)
	}
}

// isOver waits until a term has ended and checks why.
func (a *agent) isOver(term *lead.Term, why string) {
	a.t.Helper()
	a.waitFor("the end of the term", term.Context().Done())
	if cause := context.Cause(term.Context()); !strings.Contains(cause.Error(), why) {
		a.t.Errorf("the term is over because %q, not %q", cause, why)
	}
	if term.Valid() {
		a.t.Error("it is over and valid")
	}
}

func (a *agent) counts(want float64) {
	a.t.Helper()
	families, err := a.metrics.Gather()
	if err != nil {
		a.t.Fatal(err)
	}
	for _, family := range families {
		if got := family.GetMetric()[0].GetGauge().GetValue(); family.GetName() != "meshery_meshsync_leading" || got != want {
			a.t.Errorf("%s is %v, not %v", family.GetName(), got, want)
		}
	}
}

func TestAReleasedLeaseIsTakenOverSoon(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	one := startAgent(t, namespace, "one")
	term := one.leads()
	if term.Continued || !term.Valid() || !one.Leading() {
		t.Errorf("the first term: continued %v, valid %v, leading %v", term.Continued, term.Valid(), one.Leading())
	}
	one.counts(1)
	two := startAgent(t, namespace, "two")
	two.standsBy()
	if holder := two.Holder(); holder != "one" || two.Leading() {
		t.Errorf("the holder is %q, and two leads: %v", holder, two.Leading())
	}
	two.counts(0)

	one.stop()
	one.isOver(term, "context canceled")
	released := time.Now()
	next := two.leads()
	if took := time.Since(released); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
	if next.Continued {
		t.Error("a term after that of another agent is a continued one")
	}
	select {
	case <-one.Standby():
		t.Error("the first had stood by for somebody")
	default:
	}
}

func TestWhoCannotRenewIsOverBeforeAnotherLeads(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	one := startAgent(t, namespace, "one", short)
	term := one.leads()
	two := startAgent(t, namespace, "two", short)
	two.standsBy()

	one.gate.set(true)
	two.leads()
	if term.Valid() {
		t.Error("both lead")
	}
	one.isOver(term, "not renewed")
	one.counts(0)

	one.gate.set(false)
	one.standsBy()
	if holder := one.Holder(); holder != "two" {
		t.Errorf("the holder is %q", holder)
	}
	two.stop()
	if one.leads().Continued {
		t.Error("another agent has led meanwhile")
	}
}

func TestATermIsContinuedWhenNobodyElseHasLed(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	one := startAgent(t, namespace, "one", short)
	for _, leaseEnds := range []bool{false, true} {
		term := one.leads()
		one.gate.set(true)
		one.isOver(term, "not renewed")
		if leaseEnds {
			lease, err := administrator(t).CoordinationV1().Leases(namespace).Get(t.Context(), leaseName, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Until(lease.Spec.RenewTime.Add(time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second)))
		}
		one.gate.set(false)
		if !one.leads().Continued {
			t.Errorf("nobody else has led (the lease had ended: %v)", leaseEnds)
		}
	}
}

func TestALeaseThatIsTakenAwayIsLostAtOnce(t *testing.T) {
	t.Parallel()
	for _, holder := range []string{"somebody", ""} {
		t.Run("by "+holder, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			one := startAgent(t, namespace, "one", func(o *lead.Options) { o.RetryPeriod = 50 * time.Millisecond })
			term := one.leads()
			patch := fmt.Sprintf(`{"spec":{"holderIdentity":%q,"leaseDurationSeconds":1}}`, holder)
			leases := administrator(t).CoordinationV1().Leases(namespace)
			taken := time.Now()
			if _, err := leases.Patch(t.Context(), leaseName, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			one.isOver(term, "not ours")
			if took := time.Since(taken); took > 5*time.Second { // the deadline is at 10 s
				t.Errorf("it took %s", took)
			}
			if one.leads().Continued {
				t.Error("another agent may have led")
			}
		})
	}
}

func TestADeletedLeaseIsMadeAgain(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	leases := administrator(t).CoordinationV1().Leases(namespace)
	// One that an agent without an owner has left.
	if _, err := leases.Create(t.Context(), &coordination.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	owner, err := administrator(t).CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	reference := metaac.OwnerReference().WithAPIVersion("v1").WithKind("ConfigMap").WithName(owner.Name).WithUID(owner.UID)
	one := startAgent(t, namespace, "one", short, func(o *lead.Options) {
		o.Owner = func(context.Context) *metaac.OwnerReferenceApplyConfiguration { return reference }
	})
	one.leads()
	ours := func(lease *coordination.Lease) {
		t.Helper()
		if refs := lease.OwnerReferences; len(refs) != 1 || refs[0].UID != owner.UID || lease.Labels[meshery.LabelInstance] != leaseName {
			t.Errorf("owners %v, labels %v", refs, lease.Labels)
		}
	}
	before, err := leases.Get(t.Context(), leaseName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ours(before)
	if err := leases.Delete(t.Context(), leaseName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	watching, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch, err := leases.Watch(watching, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		if lease, ok := event.Object.(*coordination.Lease); ok && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity == "one" && lease.UID != before.UID {
			ours(lease)
			return
		}
	}
	t.Error("it is not made again and taken")
}

func TestOneOfManyLeads(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	const many = 5
	won := make(chan string, many)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var agents []*agent
	for i := range many {
		identity := fmt.Sprint("agent-", i)
		a := startAgent(t, namespace, identity, short)
		agents = append(agents, a)
		go func() {
			if _, err := a.Wait(ctx); err == nil {
				won <- identity
			}
		}()
	}
	leader := <-won
	for i, a := range agents {
		if identity := fmt.Sprint("agent-", i); identity != leader {
			a.standsBy()
			if holder := a.Holder(); holder != leader {
				t.Errorf("%s leads, and %s holds the lease", leader, holder)
			}
		}
	}
	if len(won) > 0 {
		t.Errorf("%s leads, too", <-won)
	}
}

func TestWithoutOthersOneAlwaysLeads(t *testing.T) {
	t.Parallel()
	a := &agent{t: t, metrics: prometheus.NewRegistry()}
	a.Leader = lead.Always(a.metrics)
	a.counts(0)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	term := a.leads()
	if term.Continued || !term.Valid() {
		t.Errorf("continued %v, valid %v", term.Continued, term.Valid())
	}
	a.counts(1)
	cancel()
	running.Wait()
	a.isOver(term, "context canceled")
	a.counts(0)
}

// A program that stood still while another has led must not go on as if it still did, not even for the moment until it finds out.
func TestWhoStoodStillDoesNotLead(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	program := exec.CommandContext(t.Context(), os.Args[0])
	program.Env = append(os.Environ(), asAgent+"="+namespace, "KUBECONFIG="+controlPlane.Kubeconfig)
	program.Stderr = os.Stderr
	questions, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = questions.Close()
		_ = program.Wait()
	})
	answers := bufio.NewReader(output)
	says := func(want string) {
		t.Helper()
		if got, err := answers.ReadString('\n'); err != nil || got != want+"\n" {
			t.Fatalf("it says %q (%v), not %q", got, err, want)
		}
	}
	ask := func(question string) { _, _ = io.WriteString(questions, question+"\n") }
	says("leads, continued: false")
	ask("valid?")
	says("true")

	two := startAgent(t, namespace, "two", short)
	two.standsBy()
	if err := program.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	two.leads()
	ask("valid?")
	if err := program.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	says("false")
	two.stop()
	ask("next")
	says("leads, continued: false")
}

// answerForStandingStill is a program that leads and answers to each line it reads: "valid?" or "next", for the next term.
func answerForStandingStill(namespace string) {
	config, err := agentConfig(os.Getenv("KUBECONFIG"), namespace)
	if err != nil {
		panic(err)
	}
	options := lead.Options{
		Client: coordinationv1.NewForConfigOrDie(config), Namespace: namespace, Name: leaseName, Identity: "one", Metrics: prometheus.NewRegistry(),
	}
	short(&options)
	leader, err := lead.New(options)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { leader.Run(ctx) })
	defer running.Wait()
	defer cancel()
	var term *lead.Term
	next := func() {
		if term, err = leader.Wait(ctx); err != nil {
			panic(err)
		}
		fmt.Println("leads, continued:", term.Continued)
	}
	next()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case "valid?":
			fmt.Println(term.Valid())
		case "next":
			<-term.Context().Done()
			next()
		}
	}
}
