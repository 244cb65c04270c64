package meshsync_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/test/consumer"
	"meshery.io/operator/test/controlplane"
	"meshery.io/operator/test/natsserver"
)

// controlPlane is one real API server for all tests of this package but those that need one of their own. Each test has namespaces of
// its own.
var controlPlane *controlplane.ControlPlane

// A test on the side of another is no reason to run slower: they wait more than they work.
const testsAtOnce = "6"

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	flag.Parse()
	if err := flag.Set("test.parallel", testsAtOnce); err != nil {
		return 1, err
	}
	controlPlane, err = controlplane.Start(context.Background(), controlplane.Options{Audit: true})
	if err != nil {
		return 1, err
	}
	defer func() {
		if stopErr := controlPlane.Stop(); err == nil {
			err = stopErr
		}
	}()
	if err := installMeshSyncs(controlPlane); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// installMeshSyncs makes an API server serve MeshSyncs.
func installMeshSyncs(plane *controlplane.ControlPlane) error {
	client, err := administrator(plane)
	if err != nil {
		return err
	}
	text, err := os.ReadFile("../../manifests/11-crd-meshsyncs.yaml")
	if err != nil {
		return err
	}
	_, err = client.Resource(crds).Create(context.Background(), object(string(text)), createOptions)
	return err
}

func administrator(plane *controlplane.ControlPlane) (dynamic.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", plane.Kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 1000, 1000
	return dynamic.NewForConfig(config)
}

// agentName is that of the MeshSync that each test's agent works for, in the test's namespace.
const agentName = "agent"

var (
	namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	pods        = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	services    = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	secrets     = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	configMaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	cronJobs    = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "cronjobs"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	crds        = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// cluster is what a test does to the cluster, as its administrator.
type cluster struct {
	t         *testing.T
	plane     *controlplane.ControlPlane
	client    dynamic.Interface
	namespace string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return newClusterOn(t, controlPlane)
}

func newClusterOn(t *testing.T, plane *controlplane.ControlPlane) *cluster {
	t.Helper()
	client, err := administrator(plane)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, plane: plane, client: client}
	c.namespace = c.newNamespace()
	return c
}

func (c *cluster) newNamespace() string {
	c.t.Helper()
	created, err := c.client.Resource(namespaces).Create(c.t.Context(), object("{apiVersion: v1, kind: Namespace, metadata: {generateName: test-}}"), createOptions)
	if err != nil {
		c.t.Fatal(err)
	}
	return created.GetName()
}

// inNamespace is the same cluster with another namespace to create objects in.
func (c *cluster) inNamespace(namespace string) *cluster {
	other := *c
	other.namespace = namespace
	return &other
}

func object(text string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON([]byte(inJSON(text))); err != nil {
		panic(err)
	}
	return obj
}

func (c *cluster) in(resource schema.GroupVersionResource) dynamic.ResourceInterface {
	if resource == crds {
		return c.client.Resource(resource)
	}
	return c.client.Resource(resource).Namespace(c.namespace)
}

// create makes an object. Right after a namespace or a definition was made the API server may refuse for a moment.
func (c *cluster) create(resource schema.GroupVersionResource, text string) *unstructured.Unstructured {
	c.t.Helper()
	var created *unstructured.Unstructured
	c.eventually("create "+resource.Resource, func() (err error) {
		created, err = c.in(resource).Create(c.t.Context(), object(text), metav1.CreateOptions{})
		return err
	})
	return created
}

// change applies a merge patch.
func (c *cluster) change(resource schema.GroupVersionResource, name, patch string) *unstructured.Unstructured {
	c.t.Helper()
	changed, err := c.in(resource).Patch(c.t.Context(), name, types.MergePatchType, []byte(inJSON(patch)), patchOptions)
	if err != nil {
		c.t.Fatal(err)
	}
	return changed
}

func (c *cluster) delete(resource schema.GroupVersionResource, name string) {
	c.t.Helper()
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
	if err := c.in(resource).Delete(c.t.Context(), name, now); err != nil && !apierrors.IsNotFound(err) {
		c.t.Fatal(err)
	}
}

func (c *cluster) get(resource schema.GroupVersionResource, name string) *unstructured.Unstructured {
	c.t.Helper()
	obj, err := c.in(resource).Get(c.t.Context(), name, getOptions)
	if err != nil {
		c.t.Fatal(err)
	}
	return obj
}

func (c *cluster) list(resource schema.GroupVersionResource) []unstructured.Unstructured {
	c.t.Helper()
	list, err := c.in(resource).List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return list.Items
}

func (c *cluster) eventually(what string, try func() error) {
	c.t.Helper()
	poll(c.t, func() error {
		if err := try(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}

// poll tries until there is no error, and fails the test with the last one after a while.
func poll(t *testing.T, try func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, consumer.Patience, true, func(context.Context) (bool, error) {
		last = try()
		return last == nil, nil
	})
	if err != nil {
		t.Fatal(last)
	}
}

// writeWatchList writes the ConfigMap that the operator would write. Each entry is a line such as
// {Resource: pods.v1., Events: [ADDED]}.
func (c *cluster) writeWatchList(entries ...string) {
	c.t.Helper()
	c.writeConfigMap(map[string]string{"whitelist": inJSON("[" + strings.Join(entries, ", ") + "]")}, nil)
}

func (c *cluster) writeConfigMap(data, annotations map[string]string) {
	c.t.Helper()
	configMap := object("{apiVersion: v1, kind: ConfigMap}")
	configMap.SetName(meshery.WatchListConfigMap(agentName))
	configMap.SetAnnotations(annotations)
	_ = unstructured.SetNestedStringMap(configMap.Object, data, "data")
	current, err := c.in(configMaps).Get(c.t.Context(), configMap.GetName(), getOptions)
	if apierrors.IsNotFound(err) {
		_, err = c.in(configMaps).Create(c.t.Context(), configMap, createOptions)
	} else if err == nil {
		configMap.SetResourceVersion(current.GetResourceVersion())
		_, err = c.in(configMaps).Update(c.t.Context(), configMap, updateOptions)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// inJSON is what is written in YAML, on one line as a rule.
func inJSON(text string) string {
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		panic(err)
	}
	return string(asJSON)
}

// define makes a custom resource definition and returns its resource, in version v1. Its group is the namespace's, so that tests do not
// meet.
func (c *cluster) define(kind string) schema.GroupVersionResource {
	c.t.Helper()
	return c.defineVersions(kind, "{name: v1, served: true, storage: true, "+anySchema+"}")
}

const anySchema = "subresources: {status: {}}, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}"

func (c *cluster) defineVersions(kind string, versions ...string) schema.GroupVersionResource {
	c.t.Helper()
	resource := c.kindName(kind)
	c.create(crds, fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.%[2]s}
spec:
  group: %[2]s
  scope: Namespaced
  names: {plural: %[1]s, singular: %[3]s, kind: %[4]s, listKind: %[4]sList}
  versions: [%[5]s]
`, resource.Resource, resource.Group, strings.ToLower(kind), kind, strings.Join(versions, ", ")))
	c.t.Cleanup(func() {
		_ = c.client.Resource(crds).Delete(context.Background(), resource.GroupResource().String(), deleteOptions)
	})
	return resource
}

func (c *cluster) kindName(kind string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: c.namespace + ".example.com", Version: "v1", Resource: strings.ToLower(kind) + "s"}
}

// agent is a running agent.
type agent struct {
	t    *testing.T
	url  string // of its HTTP server
	stop func() // waits until Run has returned
}

// startAgent runs an agent that publishes objects of the test's namespace, until the end of the test at the latest. It has a name of its
// own at the API server, and may read everything.
func startAgent(c *cluster, brokerURL string, change ...func(*meshsync.Options)) *agent {
	c.t.Helper()
	addr := freeAddr(c.t)
	options := meshsync.DefaultOptions()
	options.BrokerURL = brokerURL
	options.Kubeconfig = c.kubeconfigOf("system:masters")
	options.Namespace, options.Name = c.namespace, agentName
	options.OutputNamespaces = []string{c.namespace}
	options.HTTPAddr = addr
	options.ReconnectWait = 50 * time.Millisecond
	for _, apply := range change {
		apply(&options)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- meshsync.Run(ctx, options) }()
	a := &agent{t: c.t, url: "http://" + addr}
	stopped := false
	a.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				c.t.Errorf("agent: %v", err)
			}
		case <-time.After(30 * time.Second):
			c.t.Error("agent does not stop")
		}
	}
	c.t.Cleanup(a.stop)
	return a
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

// get returns the status and the body of a path of the agent's HTTP server; status 0 is no answer.
func (a *agent) get(path string) (int, string) {
	response, err := http.Get(a.url + path)
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

// waitReady waits until /readyz answers 200, or 503 with a reason that contains what is wanted.
func (a *agent) waitReady(reason string) {
	a.t.Helper()
	want := http.StatusOK
	if reason != "" {
		want = http.StatusServiceUnavailable
	}
	poll(a.t, func() error {
		status, body := a.get("/readyz")
		if status != want || !strings.Contains(body, reason) {
			return fmt.Errorf("/readyz: want %d %q, have %d %s", want, reason, status, body)
		}
		return nil
	})
}

// waitIdle waits until the agent has published all that it has seen.
func (a *agent) waitIdle() {
	a.t.Helper()
	poll(a.t, func() error {
		if n := a.metric("meshery_meshsync_pending_objects"); n != "0" {
			return fmt.Errorf("%q objects are owed", n)
		}
		return nil
	})
}

// metric returns the value of a series, such as meshery_meshsync_requests_total{entity="",result="malformed"}.
func (a *agent) metric(series string) string {
	a.t.Helper()
	_, body := a.get("/metrics")
	for line := range strings.SplitSeq(body, "\n") {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return value
		}
	}
	return ""
}

// scene is what most tests need: a broker, a consumer, a namespace.
func scene(t *testing.T) (*cluster, *natsserver.Server, *consumer.Consumer) {
	t.Helper()
	server := natsserver.Start(t, natsserver.Options{Token: "s3cret/t@ken", JetStream: true})
	return newCluster(t), server, consumer.Connect(t, "nats://s3cret%2Ft%40ken@"+server.Addr)
}

// user is the name of the test's agent at the API server.
func (c *cluster) user() string { return "agent-" + c.namespace }

// kubeconfigOf is that of the test's agent, as a member of groups.
func (c *cluster) kubeconfigOf(groups ...string) string {
	c.t.Helper()
	config, err := clientcmd.LoadFromFile(c.plane.Kubeconfig)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, login := range config.AuthInfos {
		login.Impersonate, login.ImpersonateGroups = c.user(), groups
	}
	file := filepath.Join(c.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		c.t.Fatal(err)
	}
	return file
}

var (
	clusterRoles        = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
	clusterRoleBindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
)

// limitedKubeconfig is that of an agent that may only do what these rules say, and see who it is. grant changes the rules.
func limitedKubeconfig(c *cluster, rules ...string) string {
	c.t.Helper()
	for resource, text := range map[schema.GroupVersionResource]string{
		clusterRoles: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole}",
		clusterRoleBindings: fmt.Sprintf(`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding,
			roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]}`, c.user()),
	} {
		obj := object(text)
		obj.SetName(c.user())
		if _, err := c.client.Resource(resource).Create(c.t.Context(), obj, createOptions); err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(func() { _ = c.client.Resource(resource).Delete(context.Background(), c.user(), deleteOptions) })
	}
	grant(c, rules...)
	return c.kubeconfigOf()
}

// grant gives the agent of a limitedKubeconfig exactly these rights.
func grant(c *cluster, rules ...string) {
	c.t.Helper()
	rules = append(rules, "{apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: ["+agentName+"], verbs: [get, update, patch]}",
		"{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}")
	patch := []byte(inJSON("{rules: [" + strings.Join(rules, ", ") + "]}"))
	if _, err := c.client.Resource(clusterRoles).Patch(c.t.Context(), c.user(), types.MergePatchType, patch, patchOptions); err != nil {
		c.t.Fatal(err)
	}
}

var (
	getOptions    = metav1.GetOptions{}
	createOptions = metav1.CreateOptions{}
	updateOptions = metav1.UpdateOptions{}
	patchOptions  = metav1.PatchOptions{}
	deleteOptions = metav1.DeleteOptions{}
)
