package canary_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/generated/clientset/versioned"
	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/canary"
	"meshery.io/operator/pkg/meshsync/status"
	"meshery.io/operator/test/controlplane"
	"meshery.io/operator/test/natsserver"
)

var controlPlane *controlplane.ControlPlane

func TestMain(m *testing.M) {
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
	if err := installMeshSyncs(context.Background()); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func installMeshSyncs(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", controlPlane.Kubeconfig)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	text, err := os.ReadFile("../../../manifests/11-crd-meshsyncs.yaml")
	if err != nil {
		return err
	}
	var crd unstructured.Unstructured
	if err := yaml.Unmarshal(text, &crd.Object); err != nil {
		return err
	}
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	_, err = client.Resource(crds).Create(ctx, &crd, metav1.CreateOptions{})
	return err
}

const (
	meshSync = "watched"
	account  = "agent"
	subject  = "meshery.meshsync.canary.test"
	patience = 20 * time.Second
)

// place is a namespace with a MeshSync, and what its agent has.
type place struct {
	t         *testing.T
	kube      kubernetes.Interface
	meshery   versioned.Interface
	namespace string
	broker    *natsserver.Server
	options   canary.Options
	metrics   *prometheus.Registry
	silence   atomic.Bool // watches say nothing new
}

// newPlace makes one in which the agent may do with its object what the verbs say.
func newPlace(t *testing.T, verbs ...string) *place {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", controlPlane.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, kube: kubernetes.NewForConfigOrDie(config), meshery: versioned.NewForConfigOrDie(config), metrics: prometheus.NewRegistry()}
	created, err := p.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "canary-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.namespace = created.Name
	p.grant(verbs)
	p.createMeshSync()
	p.broker = natsserver.Start(t, natsserver.Options{Token: "token"})
	asAgent := rest.CopyConfig(config)
	asAgent.Impersonate.UserName = p.user()
	asAgent.Wrap(func(next http.RoundTripper) http.RoundTripper { return watches{next, &p.silence} })
	p.options = canary.Options{
		Bus: client{p.connect()}, Subject: subject, Client: dynamic.NewForConfigOrDie(asAgent), Namespace: p.namespace, MeshSync: meshSync,
		Owner:   status.Owner(versioned.NewForConfigOrDie(asAgent).MesheryV1alpha1(), p.namespace, meshSync),
		Leading: func() bool { return true }, Metrics: p.metrics, Interval: 10 * time.Millisecond,
	}
	return p
}

var everything = []string{"get", "list", "watch", "create", "patch"}

func (p *place) grant(verbs []string) {
	p.t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{meshery.CanaryConfigMap(meshSync)}, Verbs: verbs},
		{APIGroups: []string{meshery.GroupName}, Resources: []string{"meshsyncs"}, ResourceNames: []string{meshSync}, Verbs: []string{"get"}},
	}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: role.ObjectMeta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: p.namespace}},
	}
	_, err := p.kube.RbacV1().Roles(p.namespace).Create(p.t.Context(), role, metav1.CreateOptions{})
	if err == nil {
		_, err = p.kube.RbacV1().RoleBindings(p.namespace).Create(p.t.Context(), binding, metav1.CreateOptions{})
	}
	if err != nil {
		p.t.Fatal(err)
	}
	question := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: p.user(), ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: p.namespace, Group: meshery.GroupName, Resource: "meshsyncs", Name: meshSync, Verb: "get",
	}}}
	eventually(p.t, "the rights are in force", func() error {
		answer, err := p.kube.AuthorizationV1().SubjectAccessReviews().Create(p.t.Context(), question, metav1.CreateOptions{})
		if err == nil && !answer.Status.Allowed {
			err = errors.New("not allowed")
		}
		return err
	})
}

func (p *place) user() string { return "system:serviceaccount:" + p.namespace + ":" + account }

func (p *place) createMeshSync() {
	p.t.Helper()
	wanted := &v1alpha1.MeshSync{ObjectMeta: metav1.ObjectMeta{Name: meshSync}}
	eventually(p.t, "MeshSyncs are served", func() error {
		_, err := p.meshery.MesheryV1alpha1().MeshSyncs(p.namespace).Create(p.t.Context(), wanted, metav1.CreateOptions{})
		return err
	})
}

func (p *place) connect() *nats.Conn {
	p.t.Helper()
	conn, err := nats.Connect(p.broker.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(conn.Close)
	return conn
}

func (p *place) object() (*corev1.ConfigMap, error) {
	return p.kube.CoreV1().ConfigMaps(p.namespace).Get(p.t.Context(), meshery.CanaryConfigMap(meshSync), metav1.GetOptions{})
}

// try fails the test unless it ends at the stage; none is the end of the way.
func (p *place) try(c *canary.Canary, stopsBefore canary.Stage) {
	p.t.Helper()
	steps, err := c.Try(p.t.Context())
	var failure *canary.Failure
	switch {
	case stopsBefore == "" && err != nil:
		p.t.Fatalf("after %v: %v", steps, err)
	case stopsBefore != "" && (!errors.As(err, &failure) || failure.Stage != stopsBefore):
		p.t.Fatalf("after %v: %v, want one that is not %s", steps, err, stopsBefore)
	}
	want := []canary.Stage{canary.Written, canary.Seen, canary.Acknowledged, canary.Echoed}
	var last time.Duration
	for i, step := range steps {
		if step.Stage != want[i] || step.After < last || step.After <= 0 {
			p.t.Errorf("steps are %v", steps)
		}
		last = step.After
	}
	if stopsBefore == "" && len(steps) != len(want) {
		p.t.Errorf("steps are %v", steps)
	}
}

// counted is how often a metric has counted something, by stage.
func (p *place) counted(name string, value func(*dto.Metric) float64) map[string]float64 {
	p.t.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if n := value(metric); family.GetName() == name && n > 0 {
				counted[metric.GetLabel()[0].GetValue()] = n
			}
		}
	}
	return counted
}

func (p *place) failures() map[string]float64 {
	return p.counted("meshery_meshsync_canary_failures_total", func(metric *dto.Metric) float64 { return metric.GetCounter().GetValue() })
}

// client is the agent's connection.
type client struct{ *nats.Conn }

func (c client) Deliver(ctx context.Context, messages ...bus.Message) error {
	for _, message := range messages {
		if err := c.Publish(message.Subject, message.Body); err != nil {
			return err
		}
	}
	return c.FlushWithContext(ctx)
}

func (c client) Subscribe(subject, queue string, handle func(body []byte)) (stop func(), err error) {
	subscription, err := c.QueueSubscribe(subject, queue, func(message *nats.Msg) { handle(message.Data) })
	return func() { _ = subscription.Unsubscribe() }, err
}

// another is a connection on which what arrives is somebody else's.
type another struct{ canary.Bus }

func (a another) Deliver(ctx context.Context, _ ...bus.Message) error {
	return a.Bus.Deliver(ctx, bus.Message{Subject: subject, Body: []byte("another's")})
}

// watches can be made to tell what is there, and then nothing.
type watches struct {
	http.RoundTripper
	silent *atomic.Bool
}

func (w watches) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.RoundTripper.RoundTrip(request)
	if err == nil && w.silent.Load() && request.URL.Query().Get("watch") != "" {
		response.Body = &oneEvent{response.Body, request.Context(), false}
	}
	return response, err
}

// oneEvent is the first line.
type oneEvent struct {
	io.ReadCloser
	ctx   context.Context
	ended bool
}

func (e *oneEvent) Read(into []byte) (int, error) {
	if e.ended {
		<-e.ctx.Done()
		return 0, e.ctx.Err()
	}
	n, err := e.ReadCloser.Read(into[:1])
	e.ended = n > 0 && into[0] == '\n'
	return n, err
}

func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = holds()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: not after %s: %v", what, patience, last)
	}
}

func TestAChangeArrives(t *testing.T) {
	t.Parallel()
	p := newPlace(t, everything...)
	heard := make(chan *nats.Msg, 100)
	if _, err := p.connect().ChanSubscribe("meshery.>", heard); err != nil {
		t.Fatal(err)
	}
	c := canary.New(p.options)
	var tokens []string
	for range 3 {
		p.try(c, "")
		object, err := p.object()
		if err != nil {
			t.Fatal(err)
		}
		owner, err := p.meshery.MesheryV1alpha1().MeshSyncs(p.namespace).Get(t.Context(), meshSync, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if refs := object.OwnerReferences; len(refs) != 1 || refs[0].UID != owner.UID || refs[0].Kind != "MeshSync" {
			t.Errorf("its owners are %v", refs)
		}
		if object.Labels[meshery.LabelInstance] != meshSync || object.Labels[meshery.LabelPartOf] != meshery.PartOfMeshery {
			t.Errorf("its labels are %v", object.Labels)
		}
		tokens = append(tokens, object.Data["token"])
		if message := <-heard; message.Subject != subject || string(message.Data) != object.Data["token"] || len(message.Header) > 0 {
			t.Errorf("%s %v %s is published, want %s", message.Subject, message.Header, message.Data, object.Data)
		}
	}
	if len(slices.Compact(slices.Sorted(slices.Values(tokens)))) != 3 {
		t.Errorf("tokens are %v", tokens)
	}
	got := p.counted("meshery_meshsync_canary_seconds", func(metric *dto.Metric) float64 { return float64(metric.GetHistogram().GetSampleCount()) })
	if text, _ := json.Marshal(got); string(text) != `{"acknowledged":3,"echoed":3,"seen":3,"written":3}` {
		t.Errorf("counted: %s", text)
	}
	if failures := p.failures(); len(failures) > 0 {
		t.Errorf("failures: %v", failures)
	}
}

func TestWhereItStopsIsSaid(t *testing.T) {
	t.Parallel()
	for stage, spoil := range map[canary.Stage]func(*place){
		canary.Seen:         func(p *place) { p.silence.Store(true) },
		canary.Acknowledged: func(p *place) { p.broker.Kill() },
		canary.Echoed:       func(p *place) { p.options.Bus = another{p.options.Bus} },
	} {
		t.Run(string(stage), func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, everything...)
			p.options.Patience = 2 * time.Second
			before := p.options
			before.Metrics = prometheus.NewRegistry()
			p.try(canary.New(before), "")
			spoil(p)
			p.try(canary.New(p.options), stage)
			if failures := p.failures(); len(failures) != 1 || failures[string(stage)] != 1 {
				t.Errorf("failures: %v", failures)
			}
		})
	}
	for stage, verbs := range map[canary.Stage][]string{
		canary.Written: {"get", "list", "watch"},
		canary.Seen:    {"get", "create", "patch"},
	} {
		t.Run("no right to be "+string(stage), func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, verbs...)
			c := canary.New(p.options)
			p.try(c, stage)
			if _, err := c.Try(t.Context()); !apierrors.IsForbidden(err) {
				t.Errorf("the reason is %v", err)
			}
		})
	}
}

func TestItIsWrittenByWhoLeadsAndLoggedWhenThatChanges(t *testing.T) {
	t.Parallel()
	p := newPlace(t, everything...)
	p.options.Patience = 2 * time.Second
	var leading atomic.Bool
	asked := make(chan struct{}, 1000)
	p.options.Leading = func() bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		return leading.Load()
	}
	tries := func() float64 {
		return p.counted("meshery_meshsync_canary_seconds", func(metric *dto.Metric) float64 { return float64(metric.GetHistogram().GetSampleCount()) })["echoed"]
	}
	log := &infos{}
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klog.New(log)))
	var running sync.WaitGroup
	c := canary.New(p.options)
	running.Go(func() { c.Run(ctx) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	for range 3 {
		<-asked
	}
	if _, err := p.object(); !apierrors.IsNotFound(err) {
		t.Errorf("it is written by who does not lead: %v", err)
	}
	leading.Store(true)
	atLeast := func(what string, count func() float64, n float64) {
		t.Helper()
		eventually(t, what, func() error {
			if got := count(); got < n {
				return fmt.Errorf("%v of %v", got, n)
			}
			return nil
		})
	}
	atLeast("tries", tries, 3)
	log.expect(t)
	p.broker.Kill()
	atLeast("failures", func() float64 { return p.failures()["acknowledged"] }, 3)
	log.expect(t, "Changes do not arrive")
	p.broker.Restart(t)
	atLeast("tries", tries, tries()+3)
	log.expect(t, "Changes do not arrive", "Changes arrive again")
}

// What an agent writes after its MeshSync was deleted is the garbage collector's, too.
func TestItGoesWithTheMeshSync(t *testing.T) {
	t.Parallel()
	p := newPlace(t, everything...)
	c := canary.New(p.options)
	p.try(c, "")
	meshSyncs := p.meshery.MesheryV1alpha1().MeshSyncs(p.namespace)
	owner, err := meshSyncs.Get(t.Context(), meshSync, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := meshSyncs.Delete(t.Context(), meshSync, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.try(c, "")
	object, err := p.object()
	if apierrors.IsNotFound(err) {
		return // collected already
	}
	if err != nil {
		t.Fatal(err)
	}
	if refs := object.OwnerReferences; len(refs) != 1 || refs[0].UID != owner.UID {
		t.Errorf("its owners are %v", refs)
	}
}

func TestWithoutAMeshSyncNothingIsWritten(t *testing.T) {
	t.Parallel()
	c := canary.New(canary.Options{Metrics: prometheus.NewRegistry()})
	c.Run(t.Context())
	if _, err := c.Try(t.Context()); err == nil {
		t.Error("it has arrived")
	}
}

// infos keeps what is logged.
type infos struct {
	mu   sync.Mutex
	said []string
}

func (i *infos) Init(klog.RuntimeInfo)          {}
func (i *infos) Enabled(int) bool               { return true }
func (i *infos) Error(error, string, ...any)    {}
func (i *infos) WithValues(...any) klog.LogSink { return i }
func (i *infos) WithName(string) klog.LogSink   { return i }

func (i *infos) Info(level int, message string, _ ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if level == 0 {
		i.said = append(i.said, message)
	}
}

func (i *infos) expect(t *testing.T, messages ...string) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if !slices.Equal(i.said, messages) {
		t.Errorf("logged: %s", strings.Join(i.said, "; "))
	}
}
