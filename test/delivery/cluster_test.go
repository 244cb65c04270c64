package delivery

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/test/controlplane"
)

const (
	// patience is what everything gets done in once nothing fails any more. A watch whose server was away for long may wait for half a
	// minute before it is tried again.
	patience = 90 * time.Second
	// writers is how many objects are written at a time.
	writers = 16
	// requestPatience is how long the API server may take to answer. It may hang.
	requestPatience = 5 * time.Second
)

// namespaces have the objects. The first has the MeshSyncs, too.
var namespaces = []string{"delivery-a", "delivery-b"}

// agentUser is who the agents are at the API server.
const agentUser = "delivery-agent"

// Where things are at the API server.
const (
	definitions         = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	clusterRoles        = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
	clusterRoleBindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
)

// Those of MeshSyncs, and of ConfigMaps beside them.
var (
	meshSyncs  = "/apis/meshery.io/v1alpha1/namespaces/" + namespaces[0] + "/meshsyncs"
	configMaps = "/api/v1/namespaces/" + namespaces[0] + "/configmaps"
)

// cluster is an API server, and what its administrator does.
type cluster struct {
	*controlplane.ControlPlane
	admin *rest.RESTClient
	etcd  *http.Client
	id    string // as in messages
}

// startCluster starts an API server with everything that agents and objects need.
func startCluster(ctx context.Context) (_ *cluster, err error) {
	c := &cluster{}
	if c.ControlPlane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return nil, err
	}
	if err := c.prepare(ctx); err != nil {
		_ = c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *cluster) prepare(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.WarningHandler, config.Timeout = -1, rest.NoWarnings{}, requestPatience
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	if c.admin, err = rest.UnversionedRESTClientFor(config); err != nil {
		return err
	}
	if c.etcd, err = clientOfEtcd(c.Dir); err != nil {
		return err
	}
	definition, err := os.ReadFile("../../manifests/11-crd-meshsyncs.yaml")
	if err != nil {
		return err
	}
	if err := c.create(ctx, definitions, inJSON(string(definition))); err != nil {
		return err
	}
	for _, k := range kinds {
		if k.custom() {
			if err := c.create(ctx, definitions, k.definition()); err != nil {
				return err
			}
		}
	}
	for _, namespace := range namespaces {
		if err := c.create(ctx, "/api/v1/namespaces", inJSON("{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace+"}}")); err != nil {
			return err
		}
	}
	if err := c.create(ctx, clusterRoles, inJSON("{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: "+agentUser+"}}")); err != nil {
		return err
	}
	if err := c.permit(ctx, kinds); err != nil {
		return err
	}
	if err := c.create(ctx, clusterRoleBindings, inJSON(fmt.Sprintf(`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: %[1]s},
		roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]}`, agentUser))); err != nil {
		return err
	}
	c.id, err = c.uid(ctx, "/api/v1/namespaces/kube-system")
	return err
}

func (c *cluster) uid(ctx context.Context, path string) (string, error) {
	var found struct{ Metadata struct{ UID string } }
	err := c.get(ctx, path, &found)
	return found.Metadata.UID, err
}

func (c *cluster) get(ctx context.Context, path string, into any) error {
	body, err := c.admin.Get().AbsPath(path).Do(ctx).Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// create makes an object, when what it needs is there.
func (c *cluster) create(ctx context.Context, path string, object []byte) error {
	return eventually(ctx, "create "+path, func(ctx context.Context) error { return c.post(ctx, path, object) })
}

func (c *cluster) post(ctx context.Context, path string, object []byte) error {
	return c.admin.Post().AbsPath(path).SetHeader("Content-Type", "application/json").Body(object).Do(ctx).Error()
}

// patch applies a merge patch.
func (c *cluster) patch(ctx context.Context, path string, patch []byte) error {
	return c.admin.Patch(types.MergePatchType).AbsPath(path).Body(patch).Do(ctx).Error()
}

func (c *cluster) delete(ctx context.Context, path string) error {
	return c.admin.Delete().AbsPath(path).SetHeader("Content-Type", "application/json").
		Body([]byte(`{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"propagationPolicy":"Background"}`)).Do(ctx).Error()
}

// remove deletes an object for good, whether it is there or not.
func (c *cluster) remove(ctx context.Context, k kind, namespace, name string) error {
	path := k.path(namespace, name)
	err := c.delete(ctx, path)
	if k.held && err == nil || apierrors.IsConflict(err) {
		err = c.patch(ctx, path, []byte(`{"metadata":{"finalizers":null}}`))
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// eventually tries until there is no error, and returns the last one when patience ends.
func eventually(ctx context.Context, what string, try func(context.Context) error) error {
	return every(ctx, 50*time.Millisecond, what, try)
}

// every is eventually, at an interval.
func every(ctx context.Context, interval time.Duration, what string, try func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, interval, patience, true, func(ctx context.Context) (bool, error) {
		failure := try(ctx)
		if last == nil || ctx.Err() == nil { // what fails because time is up says nothing
			last = failure
		}
		return failure == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, cmp.Or(last, err))
	}
	return nil
}

// place is where an object of a kind can be.
type place struct {
	kind
	namespace, name string
}

func (p place) path() string { return p.kind.path(p.namespace, p.name) }

// places are so many of each kind, in turn in one namespace and the other.
func places(each int) []place {
	var all []place
	for _, k := range kinds {
		for n := range each {
			p := place{kind: k, name: fmt.Sprint("o", n)}
			if !k.cluster {
				p.namespace = namespaces[n%len(namespaces)]
			}
			all = append(all, p)
		}
	}
	return all
}

// forEach does something to many objects, some at a time.
func forEach(ctx context.Context, all []place, do func(ctx context.Context, p place) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, p := range all {
		group.Go(func() error {
			if err := do(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", p.path(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// fill makes the objects that are not there.
func (c *cluster) fill(ctx context.Context, all []place) error {
	return forEach(ctx, all, func(ctx context.Context, p place) error {
		return eventually(ctx, "create", func(ctx context.Context) error {
			err := c.post(ctx, p.kind.path(p.namespace, ""), p.object(p.name, 0))
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
	})
}

// state is what a consumer may know of an object. Its content is its spec or, for a ConfigMap, its data, byte for byte.
type state struct {
	Kind, Namespace, Name, Version, Content string
}

func (s state) String() string { return fmt.Sprintf("%s %s/%s", s.Kind, s.Namespace, s.Name) }

// states are those of objects, by uid.
type states map[string]state

// canary ends the name of an object that an agent changes to see how long that takes. It is no news to anybody.
const canary = "-canary"

// list asks the API server for everything of all kinds.
func (c *cluster) list(ctx context.Context) (states, error) {
	all := states{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for _, k := range kinds {
		group.Go(func() error {
			var list struct {
				Items []struct {
					Metadata struct{ Namespace, Name, UID, ResourceVersion string }
					Spec     json.RawMessage
					Data     json.RawMessage
				}
			}
			if err := c.get(ctx, k.path("", ""), &list); err != nil {
				return fmt.Errorf("list %s: %w", k.Resource, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, item := range list.Items {
				m, content := item.Metadata, item.Spec
				if k.name == "ConfigMap" {
					content = item.Data
				}
				if strings.HasSuffix(m.Name, canary) {
					continue
				}
				all[m.UID] = state{k.name, m.Namespace, m.Name, m.ResourceVersion, string(content)}
			}
			return nil
		})
	}
	return all, group.Wait()
}

// permit lets agents read these kinds, and do what else they must.
func (c *cluster) permit(ctx context.Context, readable []kind) error {
	rules := []string{
		`{apiGroups: [""], resources: [namespaces, configmaps], verbs: [get, list, watch]}`,
		`{apiGroups: [""], resources: [configmaps], verbs: [create, update, patch]}`,
		`{apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [get, list, watch]}`,
		`{apiGroups: [meshery.io], resources: [meshsyncs, meshsyncs/status], verbs: [get, list, watch, update, patch]}`,
		`{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update, patch]}`,
	}
	for _, k := range readable {
		rules = append(rules, fmt.Sprintf(`{apiGroups: [%q], resources: [%s], verbs: [get, list, watch]}`, k.Group, k.Resource))
	}
	return c.patch(ctx, clusterRoles+"/"+agentUser, inJSON("{rules: ["+strings.Join(rules, ", ")+"]}"))
}

// createMeshSync makes a MeshSync as the operator leaves it: with a watch-list in a ConfigMap.
func (c *cluster) createMeshSync(ctx context.Context, name string) error {
	if err := c.create(ctx, meshSyncs, inJSON("{apiVersion: meshery.io/v1alpha1, kind: MeshSync, metadata: {name: "+name+"}}")); err != nil {
		return err
	}
	return c.create(ctx, configMaps,
		fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"whitelist":%q}}`, meshery.WatchListConfigMap(name), watchListOf(kinds)))
}

func (c *cluster) deleteMeshSync(ctx context.Context, name string) error {
	if err := c.delete(ctx, meshSyncs+"/"+name); err != nil {
		return err
	}
	return c.delete(ctx, configMaps+"/"+meshery.WatchListConfigMap(name))
}

func watchListOf(kinds []kind) string {
	var entries []string
	for _, k := range kinds {
		entries = append(entries, k.entry())
	}
	return "[" + strings.Join(entries, ",") + "]"
}

// watch edits the watch-list of a MeshSync.
func (c *cluster) watch(ctx context.Context, name string, kinds []kind) error {
	return c.patch(ctx, configMaps+"/"+meshery.WatchListConfigMap(name),
		fmt.Appendf(nil, `{"data":{"whitelist":%q}}`, watchListOf(kinds)))
}

// kubeconfigFor is an agent's, which reaches the API server at an address.
func (c *cluster) kubeconfigFor(t *testing.T, addr string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, login := range config.AuthInfos {
		login.Impersonate = agentUser
	}
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + addr
	}
	return writeKubeconfig(t, config)
}

func writeKubeconfig(t *testing.T, config *clientcmdapi.Config) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func clientOfEtcd(dir string) (*http.Client, error) {
	pki := func(name string) string { return filepath.Join(dir, "pki", name) }
	authority, err := os.ReadFile(pki("etcd-ca.crt"))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(pki("etcd-client.crt"), pki("etcd-client.key"))
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	return &http.Client{Timeout: requestPatience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trusted, Certificates: []tls.Certificate{pair}},
	}}, nil
}

// compact lets etcd forget all old versions.
func (c *cluster) compact(ctx context.Context) error {
	var status struct{ Header struct{ Revision string } }
	if err := c.askEtcd(ctx, "/v3/maintenance/status", `{}`, &status); err != nil {
		return err
	}
	return c.askEtcd(ctx, "/v3/kv/compaction", fmt.Sprintf(`{"revision":%q}`, status.Header.Revision), &struct{}{})
}

func (c *cluster) askEtcd(ctx context.Context, path, body string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Etcd+path, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	response, err := c.etcd.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd %s: %s %s %w", path, response.Status, answer, err)
	}
	return json.Unmarshal(answer, into)
}

// signalAPIServer kills or pauses it. One that was killed is started again after a second.
func (c *cluster) signalAPIServer(signal syscall.Signal) error {
	return c.Signal("kube-apiserver", signal)
}
