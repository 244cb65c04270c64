package watchfaults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/test/controlplane"
)

// A kube-apiserver that dies comes back with empty caches, and may not know the versions that watches want to go on from. The agent
// talks to it without a proxy in between.
func apiServerDies(t *testing.T) {
	s := newStage(t, controlplane.Options{Audit: true})
	c := s.newScene(t)
	c.startAgent(func(o *meshsync.Options) { o.Kubeconfig = c.ownKubeconfig() })
	c.agent.waitReady()
	c.agent.watchReadiness()
	for round := range rounds {
		c.churns()
		before := c.auditSize()
		if err := c.plane.Signal("kube-apiserver", syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		died := time.Now()
		eventually(t, "the API server is back", func() error { return c.serves() })
		back := time.Now()
		c.settle()
		c.agent.waitReady()
		asked := c.audited(before)
		t.Logf("API server away for %s, all is known %s later; requests: %s",
			back.Sub(died).Round(time.Millisecond), time.Since(back).Round(time.Millisecond), asked)
		// Before it has read the roles the API server forbids everything.
		for _, kind := range watched {
			if n := asked[request{list, kind.Resource}] + asked[request{streamList, kind.Resource}] + asked[request{watch, kind.Resource}]; n > 8 {
				t.Errorf("%d requests for %s", n, kind.Resource)
			}
		}
		if round == 0 { // an informer that fails again and again waits for up to a minute
			c.agent.wasAlwaysReady()
		}
	}
	c.churn.stop()
	c.endsAtOnce()
}

// ownKubeconfig is that of an account of the agent's own, with rights of its own. Whose rights are roles is refused by an API server
// that has not read them yet.
func (c *scene) ownKubeconfig() string {
	c.t.Helper()
	rbac := func(resource, text string) {
		c.create(c.t, c.admin.Resource(schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: resource}), text)
	}
	rbac("clusterroles", `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: agent}, rules: [
		{apiGroups: ["", watchfaults.example.com, apiextensions.k8s.io], verbs: [get, list, watch],
		 resources: [namespaces, configmaps, secrets, serviceaccounts, widgets, customresourcedefinitions]},
		{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update, patch]}]}`)
	rbac("clusterrolebindings", fmt.Sprintf(`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: agent},
		roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: agent},
		subjects: [{kind: ServiceAccount, namespace: %s, name: default}]}`, c.namespace))
	var token string
	eventually(c.t, "a token", func() error {
		request := object("{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {name: default}, spec: {}}")
		made, err := c.in(serviceAccounts).Create(c.t.Context(), request, metav1.CreateOptions{}, "token")
		if err == nil {
			token, _, err = unstructured.NestedString(made.Object, "status", "token")
		}
		return err
	})
	return c.writeKubeconfig(&clientcmdapi.Cluster{Server: c.plane.Server, CertificateAuthority: c.plane.CA}, &clientcmdapi.AuthInfo{Token: token})
}

func (c *scene) serves() error {
	_, err := c.in(configMaps).Get(c.t.Context(), "kube-root-ca.crt", getOptions)
	return err
}

func (c *scene) auditSize() int64 {
	c.t.Helper()
	info, err := os.Stat(c.plane.AuditLog)
	if err != nil {
		c.t.Fatal(err)
	}
	return info.Size()
}

// audited counts the agent's requests that the API server has answered since its audit log was so long.
func (c *scene) audited(since int64) counts {
	c.t.Helper()
	file, err := os.Open(c.plane.AuditLog)
	if err != nil {
		c.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(since, io.SeekStart); err != nil {
		c.t.Fatal(err)
	}
	asked := counts{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event struct{ Stage, Verb, RequestURI, UserAgent string }
		if json.Unmarshal(lines.Bytes(), &event) != nil || !strings.HasPrefix(event.UserAgent, "meshsync/") {
			continue
		}
		if begins := event.Verb == "watch"; begins != (event.Stage == "ResponseStarted") || !begins && event.Stage != "ResponseComplete" {
			continue // a watch is logged when it begins, and anew when it ends
		}
		method := http.MethodGet
		if event.Verb == "create" || event.Verb == "patch" {
			method = event.Verb
		}
		r, err := http.NewRequestWithContext(c.t.Context(), method, event.RequestURI, http.NoBody)
		if err != nil {
			c.t.Fatal(err)
		}
		asked[requestOf(r)]++
	}
	return asked
}
