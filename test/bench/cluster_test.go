package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/test/bench/replay"
	"meshery.io/operator/test/controlplane"
)

const (
	// namespace has all objects, and meshSync is the name of the one that the agent works for.
	namespace = "bench"
	meshSync  = "agent"
	// writers is how many requests are made at once.
	writers = 16
)

// watchedKinds are those of the default watch-list that Kubernetes serves by itself.
var watchedKinds = [...]string{
	"namespaces.v1.", "nodes.v1.", "pods.v1.", "services.v1.", "endpoints.v1.", "endpointslices.v1.discovery.k8s.io",
	"ingresses.v1.networking.k8s.io", "deployments.v1.apps", "statefulsets.v1.apps", "daemonsets.v1.apps", "replicasets.v1.apps",
	"replicationcontrollers.v1.", "cronjobs.v1.batch", "configmaps.v1.", "secrets.v1.", "persistentvolumes.v1.",
	"persistentvolumeclaims.v1.", "storageclasses.v1.storage.k8s.io", "volumeattachments.v1.storage.k8s.io",
	"clusterroles.v1.rbac.authorization.k8s.io", "apiservices.v1.apiregistration.k8s.io",
}

// addedKind is added live.
const addedKind = "leases.v1.coordination.k8s.io"

// cluster is a real API server with pods.
type cluster struct {
	t      *testing.T
	plane  *controlplane.ControlPlane
	client *rest.RESTClient
	pods   int
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Audit: true})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, plane: plane}
	t.Cleanup(c.stop)
	config, err := clientcmd.BuildConfigFromFlags("", plane.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	if c.client, err = rest.UnversionedRESTClientFor(config); err != nil {
		t.Fatal(err)
	}
	definition, err := os.ReadFile("../../manifests/11-crd-meshsyncs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", string(definition))
	c.create("/api/v1/namespaces", "{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace+"}}")
	c.create("/apis/meshery.io/v1alpha1/namespaces/"+namespace+"/meshsyncs", "{apiVersion: meshery.io/v1alpha1, kind: MeshSync, metadata: {name: "+meshSync+"}}")
	return c
}

func (c *cluster) stop() {
	if err := c.plane.Stop(); err != nil {
		c.t.Error(err)
	}
}

// create makes an object that is written in YAML. What it needs may not be there yet.
func (c *cluster) create(path, text string) {
	c.t.Helper()
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.post(c.t.Context(), path, body); err != nil {
		c.t.Fatalf("create %s: %v", path, err)
	}
}

func (c *cluster) post(ctx context.Context, path string, body []byte) error {
	return eventually(ctx, func() error {
		return c.client.Post().AbsPath(path).Param("fieldManager", "kube-controller-manager").SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	})
}

// eventually tries for a while.
func eventually(ctx context.Context, try func() error) error {
	const pause, patience = 50 * time.Millisecond, 30 * time.Second
	var last error
	err := wait.PollUntilContextTimeout(ctx, pause, patience, true, func(context.Context) (bool, error) {
		last = try()
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// createPods makes pods as a controller does, and reports them running as a kubelet does: together they are as large as real ones.
func (c *cluster) createPods(shape *replay.Shape, pods int) {
	c.t.Helper()
	c.pods = pods
	status, err := json.Marshal(map[string]any{"status": shape.Object.Object["status"]})
	if err != nil {
		c.t.Fatal(err)
	}
	group, ctx := errgroup.WithContext(c.t.Context())
	group.SetLimit(writers)
	for n := range pods {
		group.Go(func() error {
			body, err := json.Marshal(podOf(shape, n))
			if err != nil {
				return err
			}
			if err := c.post(ctx, podPath, body); err != nil {
				return err
			}
			return c.client.Patch(types.MergePatchType).AbsPath(podPath, replay.Name(n), "status").Param("fieldManager", "kubelet").Body(status).Do(ctx).Error()
		})
	}
	if err := group.Wait(); err != nil {
		c.t.Fatal(err)
	}
}

const podPath = "/api/v1/namespaces/" + namespace + "/pods"

// podOf is a pod without an owner: the garbage collector would look for it.
func podOf(shape *replay.Shape, n int) *unstructured.Unstructured {
	pod := shape.Object.DeepCopy()
	pod.SetName(replay.Name(n))
	pod.SetOwnerReferences(nil)
	annotations := pod.GetAnnotations()
	annotations[replay.SentAnnotation] = sentAt(time.Unix(0, 0))
	pod.SetAnnotations(annotations)
	return pod
}

func sentAt(now time.Time) string { return fmt.Sprintf("%s%019d", replay.SentPrefix, now.UnixNano()) }

// podSize is how large pods are as the API server sends them.
func (c *cluster) podSize() int {
	c.t.Helper()
	body, err := c.client.Get().AbsPath(podPath, replay.Name(0)).SetHeader("Accept", "application/json").Do(c.t.Context()).Raw()
	if err != nil {
		c.t.Fatal(err)
	}
	return len(body)
}

// changePods changes so many pods once each, so many in a second.
func (c *cluster) changePods(pods int, perSecond float64) {
	c.t.Helper()
	pace := rate.NewLimiter(rate.Limit(perSecond), 1)
	group, ctx := errgroup.WithContext(c.t.Context())
	group.SetLimit(writers)
	for _, n := range rand.Perm(pods) {
		if err := pace.Wait(ctx); err != nil {
			break
		}
		group.Go(func() error {
			patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, replay.SentAnnotation, sentAt(time.Now()))
			return c.client.Patch(types.MergePatchType).AbsPath(podPath, replay.Name(n)).Body([]byte(patch)).Do(ctx).Error()
		})
	}
	if err := group.Wait(); err != nil {
		c.t.Fatal(err)
	}
}

const configMapPath = "/api/v1/namespaces/" + namespace + "/configmaps"

// addKind writes a watch-list with one kind more than the default one.
func (c *cluster) addKind() {
	c.t.Helper()
	list, err := json.Marshal(append(watchedKinds[:], addedKind))
	if err != nil {
		c.t.Fatal(err)
	}
	configMap := corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: meshery.WatchListConfigMap(meshSync)},
		Data:       map[string]string{"whitelist": string(list)},
	}
	body, err := json.Marshal(configMap)
	if err != nil {
		c.t.Fatal(err)
	}
	c.create(configMapPath, string(body))
}

// removeWatchList makes the default list be in force for the next agent.
func (c *cluster) removeWatchList() {
	c.t.Helper()
	err := c.client.Delete().AbsPath(configMapPath, meshery.WatchListConfigMap(meshSync)).Do(c.t.Context()).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		c.t.Fatal(err)
	}
}

func (c *cluster) auditSize() int64 {
	c.t.Helper()
	info, err := os.Stat(c.plane.AuditLog)
	if err != nil {
		c.t.Fatal(err)
	}
	return info.Size()
}

// requestsOfAgent counts by verb what the agent has asked since the audit log was so long.
func (c *cluster) requestsOfAgent(since int64) map[string]int {
	c.t.Helper()
	file, err := os.Open(c.plane.AuditLog)
	if err != nil {
		c.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(since, io.SeekStart); err != nil {
		c.t.Fatal(err)
	}
	asked := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event struct {
			Stage, Verb, UserAgent string
			ResponseStatus         struct{ Code int }
		}
		if json.Unmarshal(lines.Bytes(), &event) != nil || !strings.HasPrefix(event.UserAgent, "meshsync/") {
			continue
		}
		begun := (event.Stage == "ResponseStarted") == (event.Verb == "watch") // of a watch there is a line for each end of it
		if begun && event.ResponseStatus.Code != http.StatusTooManyRequests {
			asked[event.Verb]++
		}
	}
	return asked
}
