package watchfaults

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/test/consumer"
	"meshery.io/operator/test/controlplane"
	"meshery.io/operator/test/natsserver"
)

// patience is what everything gets done in. An informer that has failed for long waits up to a minute before it tries again.
const patience = 2 * time.Minute

// An agent whose connection has been silent for a while asks whether it lives, and waits so long for the answer. The defaults are
// 30 s and 15 s.
const (
	idle           = 5 * time.Second
	ping           = 8 * time.Second
	deadConnection = idle + ping
)

var (
	rounds int // how many faults by chance
	seed   uint64
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	flag.Parse()
	if err := flag.Set("test.parallel", "32"); err != nil { // they wait more than they work
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
	for name, seconds := range map[string]time.Duration{"HTTP2_READ_IDLE_TIMEOUT_SECONDS": idle, "HTTP2_PING_TIMEOUT_SECONDS": ping} {
		if err := os.Setenv(name, strconv.Itoa(int(seconds.Seconds()))); err != nil {
			return 1, err
		}
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
func chance(t *testing.T, more ...string) *rand.Rand {
	hash := uint64(14695981039346656037)
	for _, letter := range []byte(t.Name() + strings.Join(more, "")) {
		hash = (hash ^ uint64(letter)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, hash))
}

var (
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets         = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	widgets         = schema.GroupVersionResource{Group: "watchfaults.example.com", Version: "v1", Resource: "widgets"}
	crds            = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// kind is a kind on the watch-list of every agent here.
type kind struct {
	schema.GroupVersionResource
	name     string
	selector string // of labels
	entry    string // of the watch-list
	body     string // of an object, besides its metadata
}

// watched are kinds of every sort that is watched in a way of its own.
var watched = []kind{
	{configMaps, "ConfigMap", "", `{"Resource":"configmaps.v1."}`, `data: {a: b}`},
	{widgets, "Widget", "", `{"Resource":"widgets.v1.watchfaults.example.com"}`, `spec: {a: b}`},
	{secrets, "Secret", "watched=yes", `{"Resource":"secrets.v1.","labelSelector":"watched=yes"}`, `data: {}`},
	{serviceAccounts, "ServiceAccount", "", `{"Resource":"serviceaccounts.v1.","depth":"inventory"}`, `{}`},
}

func resourcesOf(kinds []kind) []string {
	var resources []string
	for _, kind := range kinds {
		resources = append(resources, kind.Resource)
	}
	return resources
}

// stage is what several tests have in common: an API server, a broker, and somebody who listens.
type stage struct {
	plane  *controlplane.ControlPlane
	config *rest.Config
	admin  dynamic.Interface
	broker *natsserver.Server
	got    *consumer.Consumer
}

func newStage(t *testing.T, o controlplane.Options) *stage {
	t.Helper()
	plane, err := controlplane.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := &stage{plane: plane, broker: natsserver.Start(t, natsserver.Options{})}
	s.got = consumer.Connect(t, s.broker.URL())
	if s.config, err = clientcmd.BuildConfigFromFlags("", plane.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	s.config.QPS = -1
	s.config.Timeout = 10 * time.Second // of the administrator's requests: the API server may be away
	if s.admin, err = dynamic.NewForConfig(s.config); err != nil {
		t.Fatal(err)
	}
	s.create(t, s.admin.Resource(crds), definition("Widget", widgets.Group))
	return s
}

// definition of a custom kind.
func definition(kind, group string) string {
	singular := strings.ToLower(kind)
	return fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]ss.%[3]s}
spec:
  group: %[3]s
  scope: Namespaced
  names: {plural: %[1]ss, singular: %[1]s, kind: %[2]s, listKind: %[2]sList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, singular, kind, group)
}

func object(text string) *unstructured.Unstructured {
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		panic(err)
	}
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(asJSON); err != nil {
		panic(err)
	}
	return obj
}

// create makes an object. Right after a namespace or a definition was made the API server may refuse for a moment.
func (s *stage) create(t *testing.T, client dynamic.ResourceInterface, text string) *unstructured.Unstructured {
	t.Helper()
	var created *unstructured.Unstructured
	eventually(t, "create", func() (err error) {
		created, err = client.Create(t.Context(), object(text), metav1.CreateOptions{})
		return err
	})
	return created
}

// eventually waits until check has nothing to complain of.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	if err := poll(t.Context(), patience, check); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// poll is eventually for where there is no test to end.
func poll(ctx context.Context, patience time.Duration, check func() error) error {
	var last error
	_ = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	return last
}

// scene is one agent, in a namespace of its own, behind a proxy of its own.
type scene struct {
	*stage
	*proxy
	t         *testing.T
	namespace string
	agent     *agent
	churn     *churn
}

// newScene makes objects, and begins to change them. There is no agent yet.
func (s *stage) newScene(t *testing.T) *scene {
	t.Helper()
	created := s.create(t, s.admin.Resource(namespaces), "{apiVersion: v1, kind: Namespace, metadata: {generateName: fault-}}")
	c := &scene{stage: s, proxy: newProxy(t, s.config), t: t, namespace: created.GetName()}
	var entries []string
	for _, kind := range watched {
		entries = append(entries, kind.entry)
	}
	c.watchList(entries...)
	c.seed()
	c.churns()
	return c
}

func (c *scene) in(resource schema.GroupVersionResource) dynamic.ResourceInterface {
	return c.admin.Resource(resource).Namespace(c.namespace)
}

// watchList writes the agent's watch-list.
func (c *scene) watchList(entries ...string) {
	c.t.Helper()
	configMap := object("{apiVersion: v1, kind: ConfigMap, metadata: {name: agent-watch-list}}")
	configMap.Object["data"] = map[string]any{"whitelist": "[" + strings.Join(entries, ",") + "]"}
	eventually(c.t, "write the watch-list", func() error {
		_, err := c.in(configMaps).Apply(c.t.Context(), configMap.GetName(), configMap, metav1.ApplyOptions{FieldManager: "test", Force: true})
		return err
	})
}

// agent is a running agent.
type agent struct {
	t    *testing.T
	url  string
	stop func() (took time.Duration) // waits until Run has returned

	mu       sync.Mutex
	notReady []string // each reason once, since watchReadiness
}

// startAgent runs an agent until the end of the test at the latest.
func (c *scene) startAgent(change ...func(*meshsync.Options)) *agent {
	c.t.Helper()
	options := meshsync.DefaultOptions()
	options.BrokerURL = c.broker.URL()
	options.Kubeconfig = c.kubeconfig("")
	options.Namespace, options.Name = c.namespace, "agent"
	options.OutputNamespaces = []string{c.namespace}
	options.HTTPAddr = freeAddr(c.t)
	for _, apply := range change {
		apply(&options)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	// Whatever the agent starts has its label.
	go pprof.Do(ctx, pprof.Labels("agent", c.namespace), func(ctx context.Context) { done <- meshsync.Run(ctx, options) })
	a := &agent{t: c.t, url: "http://" + options.HTTPAddr}
	var once sync.Once
	var took time.Duration
	a.stop = func() time.Duration {
		once.Do(func() {
			began := time.Now()
			cancel()
			select {
			case err := <-done:
				if err != nil {
					c.t.Errorf("agent: %v", err)
				}
			case <-time.After(patience):
				c.t.Error("the agent does not end")
			}
			took = time.Since(began)
			if err := poll(context.Background(), slack, func() error { return left(c.namespace) }); err != nil {
				c.t.Error(err)
			}
		})
		return took
	}
	c.t.Cleanup(func() { a.stop() })
	c.agent = a
	return a
}

// left complains of what runs with the label of an agent.
func left(label string) error {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		return err
	}
	for running := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(running, strconv.Quote(label)) {
			return fmt.Errorf("the agent has left:\n%s", running)
		}
	}
	return nil
}

// kubeconfig names the proxy as the cluster, and a file with a token if one is given.
func (c *scene) kubeconfig(tokenFile string) string {
	c.t.Helper()
	cluster := &clientcmdapi.Cluster{Server: "https://" + c.addr, CertificateAuthorityData: c.authority.PEM}
	return c.writeKubeconfig(cluster, &clientcmdapi.AuthInfo{TokenFile: tokenFile})
}

func (c *scene) writeKubeconfig(cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) string {
	c.t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["test"], config.AuthInfos["agent"] = cluster, user
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "agent"}
	config.CurrentContext = "test"
	file := filepath.Join(c.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		c.t.Fatal(err)
	}
	return file
}

func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// client keeps no connection, which would be a goroutine more.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

// get returns the status and the body of a path of the agent's HTTP server; status 0 is no answer.
func (a *agent) get(path string) (int, string) {
	response, err := client.Get(a.url + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// ready complains while the agent is not ready.
func (a *agent) ready() error {
	if status, body := a.get("/readyz"); status != http.StatusOK {
		return fmt.Errorf("/readyz: %d %s", status, body)
	}
	return nil
}

// notReadyBecause complains while the agent does not say that it is not ready for a reason that contains these words.
func (a *agent) notReadyBecause(words ...string) error {
	status, body := a.get("/readyz")
	for _, word := range words {
		if status != http.StatusServiceUnavailable || !strings.Contains(body, word) {
			return fmt.Errorf("/readyz: want %q, have %d %s", words, status, body)
		}
	}
	return nil
}

func (a *agent) waitReady() {
	a.t.Helper()
	eventually(a.t, "the agent is ready", a.ready)
}

// watchReadiness notes from now on, until the end of the test, when the agent is not ready.
func (a *agent) watchReadiness() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	a.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	wg.Go(func() {
		_ = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(context.Context) (bool, error) {
			if status, reason := a.get("/readyz"); status == http.StatusServiceUnavailable {
				a.mu.Lock()
				defer a.mu.Unlock()
				if !slices.Contains(a.notReady, reason) {
					a.notReady = append(a.notReady, reason)
				}
			}
			return false, nil
		})
	})
}

func (a *agent) wasAlwaysReady() {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, reason := range a.notReady {
		a.t.Errorf("was not ready for a while: %s", reason)
	}
}

// metric returns the sum of the series that begin so.
func (a *agent) metric(prefix string) float64 {
	_, body := a.get("/metrics")
	sum := 0.0
	for line := range strings.SplitSeq(body, "\n") {
		if strings.HasPrefix(line, prefix) {
			value, _ := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			sum += value
		}
	}
	return sum
}

var getOptions = metav1.GetOptions{}

// churn makes, changes and deletes objects of the watched kinds all the time.
type churn struct {
	stop func() // waits
}

const (
	churnPause = 50 * time.Millisecond
	churnNames = 8 // of each kind
	// untouched is an object of each kind that stays what it is.
	untouched = "untouched"
)

// seed makes objects, so that there is something to be seen first.
func (c *scene) seed() {
	c.t.Helper()
	for _, kind := range watched {
		for n := range churnNames / 2 {
			c.create(c.t, c.in(kind.GroupVersionResource), kind.object(fmt.Sprint("o", n), "yes"))
		}
		c.create(c.t, c.in(kind.GroupVersionResource), kind.object(untouched, "yes"))
	}
}

// churns begins to change objects, until settle or the end of the test.
func (c *scene) churns() {
	if c.churn != nil {
		c.churn.stop()
	}
	chance := chance(c.t, "churn")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	c.churn = &churn{func() {
		cancel()
		wg.Wait()
	}}
	c.t.Cleanup(c.churn.stop)
	wg.Go(func() {
		ticker := time.NewTicker(churnPause)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				c.act(ctx, chance)
			}
		}
	})
}

func (k kind) object(name, label string) string {
	text := fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: %s, labels: {watched: %q}}}", k.GroupVersion(), k.name, name, label)
	obj := object(text)
	body := map[string]any{}
	if err := yaml.Unmarshal([]byte(k.body), &body); err != nil {
		panic(err)
	}
	maps.Copy(obj.Object, body)
	asJSON, _ := obj.MarshalJSON()
	return string(asJSON)
}

// act does one thing to one object. What cannot be done now is not done.
func (c *scene) act(ctx context.Context, chance *rand.Rand) {
	kind := watched[chance.IntN(len(watched))]
	objects, name := c.in(kind.GroupVersionResource), fmt.Sprint("o", chance.IntN(churnNames))
	label := "yes"
	if chance.IntN(4) == 0 {
		label = "no"
	}
	create := func() { _, _ = objects.Create(ctx, object(kind.object(name, label)), metav1.CreateOptions{}) }
	remove := func() { _ = objects.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}) }
	switch chance.IntN(6) {
	case 0:
		remove()
	case 1:
		remove()
		create()
	case 2:
		create()
	default:
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"watched":%q,"n":"%d"}}}`, label, chance.IntN(1000))
		if _, err := objects.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); apierrors.IsNotFound(err) {
			create()
		}
	}
}

// settle ends the churn, makes a last object of every kind, and waits until the consumer knows exactly what is there.
func (c *scene) settle() {
	c.t.Helper()
	c.churn.stop()
	for _, kind := range watched {
		c.create(c.t, c.in(kind.GroupVersionResource), kind.object(fmt.Sprint("last-", time.Now().UnixNano()), "yes"))
	}
	c.agree()
}

// agree waits until the consumer knows exactly what is there.
func (c *scene) agree() {
	c.t.Helper()
	began := time.Now()
	eventually(c.t, "the consumer knows what is there", c.difference)
	c.t.Logf("the consumer knows exactly what is there, after %s", time.Since(began).Round(time.Millisecond))
	for _, kind := range watched {
		if messages := c.got.About(kind.name, c.namespace, untouched); len(messages) != 1 {
			c.t.Errorf("%d messages about a %s that nobody has touched", len(messages), kind.name)
		}
	}
}

// difference complains of what is missing, stale, or not there any more.
func (c *scene) difference() error {
	want, have := map[string]string{}, map[string]string{}
	for _, kind := range watched {
		found, err := c.in(kind.GroupVersionResource).List(c.t.Context(), metav1.ListOptions{LabelSelector: kind.selector})
		if err != nil {
			return err
		}
		for _, obj := range found.Items {
			if obj.GetName() == meshery.CanaryConfigMap("agent") {
				continue // of which agents say nothing
			}
			want[kind.name+"/"+obj.GetName()] = fmt.Sprintf("uid %s, version %s", obj.GetUID(), obj.GetResourceVersion())
		}
	}
	for _, obj := range c.got.State() {
		if obj.Metadata.Namespace == c.namespace {
			have[obj.Kind+"/"+obj.Metadata.Name] = fmt.Sprintf("uid %s, version %s", obj.Metadata.UID, obj.Metadata.ResourceVersion)
		}
	}
	var problems []error
	for name, state := range want {
		switch known, ok := have[name]; {
		case !ok:
			problems = append(problems, fmt.Errorf("%s is missing", name))
		case known != state:
			problems = append(problems, fmt.Errorf("%s is known as %s, and is %s", name, known, state))
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			problems = append(problems, fmt.Errorf("%s is not there any more", name))
		}
	}
	return errors.Join(problems...)
}
