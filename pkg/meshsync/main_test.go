package meshsync_test

import (
	"context"
	"fmt"
	"io"
	"maps"
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
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/test/consumer"
	"meshery.io/operator/test/controlplane"
	"meshery.io/operator/test/natsserver"
)

// controlPlane is one real API server for all tests of this package. Each test has namespaces of its own.
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
	controlPlane, err = controlplane.Start(context.Background(), controlplane.Options{Audit: true})
	if err != nil {
		return 1, err
	}
	defer func() {
		if stopErr := controlPlane.Stop(); err == nil {
			err = stopErr
		}
	}()
	return m.Run(), nil
}

var (
	namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	pods        = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	services    = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	secrets     = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	configMaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	crds        = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// cluster is what a test does to the cluster, as its administrator.
type cluster struct {
	t         *testing.T
	client    dynamic.Interface
	namespace string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", controlPlane.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 1000, 1000
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, client: client}
	created, err := client.Resource(namespaces).Create(t.Context(), object("{apiVersion: v1, kind: Namespace, metadata: {generateName: test-}}"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.namespace = created.GetName()
	return c
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
	asJSON, err := yaml.YAMLToJSON([]byte(patch))
	if err != nil {
		c.t.Fatal(err)
	}
	changed, err := c.in(resource).Patch(c.t.Context(), name, "application/merge-patch+json", asJSON, metav1.PatchOptions{})
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
	whitelist, err := yaml.YAMLToJSON([]byte("[" + strings.Join(entries, ", ") + "]"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.writeWatchListData(map[string]any{"whitelist": string(whitelist)})
}

func (c *cluster) writeWatchListData(data map[string]any) {
	c.t.Helper()
	configMap := object("{apiVersion: v1, kind: ConfigMap, metadata: {name: agent-watch-list}}")
	configMap.Object["data"] = data
	current, err := c.in(configMaps).Get(c.t.Context(), configMap.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = c.in(configMaps).Create(c.t.Context(), configMap, metav1.CreateOptions{})
	} else if err == nil {
		configMap.SetResourceVersion(current.GetResourceVersion())
		_, err = c.in(configMaps).Update(c.t.Context(), configMap, metav1.UpdateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// define makes a custom resource definition and returns its resource. Its name is the namespace's, so that tests do not meet.
func (c *cluster) define(kind string) schema.GroupVersionResource {
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
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, resource.Resource, resource.Group, strings.ToLower(kind), kind))
	c.t.Cleanup(func() {
		_ = c.client.Resource(crds).Delete(context.Background(), resource.GroupResource().String(), metav1.DeleteOptions{})
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

// startAgent runs an agent that publishes objects of the test's namespace, until the end of the test at the latest.
func startAgent(c *cluster, brokerURL string, change ...func(*meshsync.Options)) *agent {
	c.t.Helper()
	addr := freeAddr(c.t)
	options := meshsync.DefaultOptions()
	options.BrokerURL = brokerURL
	options.Kubeconfig = controlPlane.Kubeconfig
	options.Namespace, options.Name = c.namespace, "agent"
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
	server := natsserver.Start(t, natsserver.Options{Token: "s3cret/t@ken"})
	return newCluster(t), server, consumer.Connect(t, "nats://s3cret%2Ft%40ken@"+server.Addr)
}

// limitedKubeconfig is that of a user who may only get, list and watch these resources of a group.
func limitedKubeconfig(c *cluster, rules ...string) string {
	c.t.Helper()
	user := "limited-" + c.namespace
	rbac := func(resource, text string) {
		gvr := schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: resource}
		obj := object(text)
		obj.SetName(user)
		if _, err := c.client.Resource(gvr).Create(c.t.Context(), obj, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(func() { _ = c.client.Resource(gvr).Delete(context.Background(), user, metav1.DeleteOptions{}) })
	}
	rbac("clusterroles", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, rules: ["+strings.Join(rules, ", ")+"]}")
	rbac("clusterrolebindings", fmt.Sprintf(`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding,
		roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]}`, user))

	config, err := clientcmd.LoadFromFile(controlPlane.Kubeconfig)
	if err != nil {
		c.t.Fatal(err)
	}
	for name := range maps.Keys(config.AuthInfos) {
		config.AuthInfos[name].Impersonate = user
	}
	file := filepath.Join(c.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		c.t.Fatal(err)
	}
	return file
}

var (
	getOptions    = metav1.GetOptions{}
	createOptions = metav1.CreateOptions{}
	patchOptions  = metav1.PatchOptions{}
	deleteOptions = metav1.DeleteOptions{}
)
