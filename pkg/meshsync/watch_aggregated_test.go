package meshsync_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
	"meshery.io/operator/test/consumer"
)

var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// aggregated is an API server of somebody else's, behind an APIService. It serves one object of one kind.
type aggregated struct {
	c        *cluster
	resource schema.GroupVersionResource
	addr     string
	server   *httptest.Server // nil while it is down
	version  string           // resource version of its object
}

// newAggregated registers a server that is down.
func newAggregated(c *cluster) *aggregated {
	c.t.Helper()
	a := &aggregated{c: c, addr: freeAddr(c.t), version: "1", resource: schema.GroupVersionResource{
		Group: "aggregated-" + c.namespace + ".example.com", Version: "v1", Resource: "things",
	}}
	_, port, _ := net.SplitHostPort(a.addr)
	// The name lets the API server find a process on this machine.
	c.create(services, "{apiVersion: v1, kind: Service, metadata: {name: aggregated}, spec: {type: ExternalName, externalName: localhost}}")
	registered := object(fmt.Sprintf(`{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.%[1]s}, spec: {group: %[1]s, version: v1,
		groupPriorityMinimum: 100, versionPriority: 10, insecureSkipTLSVerify: true, service: {namespace: %[2]s, name: aggregated, port: %[3]s}}}`,
		a.resource.Group, c.namespace, port))
	if _, err := c.client.Resource(apiServices).Create(c.t.Context(), registered, createOptions); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = c.client.Resource(apiServices).Delete(context.Background(), a.name(), deleteOptions)
		a.close()
	})
	return a
}

func (a *aggregated) name() string { return "v1." + a.resource.Group }

func (a *aggregated) start() {
	a.c.t.Helper()
	listener, err := net.Listen("tcp", a.addr)
	if err != nil {
		a.c.t.Fatal(err)
	}
	a.server = httptest.NewUnstartedServer(a)
	_ = a.server.Listener.Close()
	a.server.Listener = listener
	a.server.StartTLS()
	a.waitAvailable("True")
}

func (a *aggregated) stop() {
	a.c.t.Helper()
	a.close()
	a.waitAvailable("False")
}

func (a *aggregated) close() {
	if a.server != nil {
		a.server.CloseClientConnections()
		a.server.Close()
		a.server = nil
	}
}

// waitAvailable touches the APIService until the API server has looked how it is, which it otherwise does more and more rarely.
func (a *aggregated) waitAvailable(want string) {
	a.c.t.Helper()
	client, n := a.c.client.Resource(apiServices), 0
	poll(a.c.t, func() error {
		n++
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"touched":"%s-%d"}}}`, want, n)
		obj, err := client.Patch(a.c.t.Context(), a.name(), "application/merge-patch+json", []byte(patch), patchOptions)
		if err != nil {
			return err
		}
		conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
		if text := fmt.Sprint(conditions); !strings.Contains(text, "status:"+want) {
			return fmt.Errorf("%s is %s", a.name(), text)
		}
		return nil
	})
}

// ServeHTTP answers what a watch asks: what is served, and a list that is streamed.
func (a *aggregated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	group := a.resource.Group
	say := func(value map[string]any) {
		_ = json.NewEncoder(w).Encode(value)
		w.(http.Flusher).Flush()
	}
	thing := map[string]any{"apiVersion": group + "/v1", "kind": "Thing", "metadata": map[string]any{
		"name": "x", "namespace": a.c.namespace, "uid": "7c0a1f5e-0000-4000-8000-000000000001", "resourceVersion": a.version,
		"creationTimestamp": "2026-01-01T00:00:00Z",
	}}
	switch r.URL.Path {
	case "/apis/" + group + "/v1":
		say(map[string]any{"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": group + "/v1", "resources": []any{map[string]any{
			"name": "things", "singularName": "thing", "kind": "Thing", "namespaced": true, "verbs": []string{"list", "watch"},
		}}})
	case "/apis/" + group + "/v1/namespaces/" + a.c.namespace + "/things":
		if r.URL.Query().Get("watch") == "" {
			say(map[string]any{"apiVersion": group + "/v1", "kind": "ThingList", "metadata": map[string]any{"resourceVersion": a.version}, "items": []any{thing}})
			return
		}
		w.WriteHeader(http.StatusOK)
		if stream, _ := strconv.ParseBool(r.URL.Query().Get("sendInitialEvents")); stream {
			say(map[string]any{"type": "ADDED", "object": thing})
		}
		say(map[string]any{"type": "BOOKMARK", "object": map[string]any{"apiVersion": group + "/v1", "kind": "Thing", "metadata": map[string]any{
			"resourceVersion": a.version, "annotations": map[string]any{"k8s.io/initial-events-end": "true"},
		}}})
		<-r.Context().Done()
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// TestAnAggregatedAPIThatIsDown has one that is down, comes up, goes down and comes up again while it is watched, with edits of the
// watch-list in between, and is removed.
func TestAnAggregatedAPIThatIsDown(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	other := newAggregated(c)
	widgets, gadgets := c.define("Widget"), c.define("Gadget")
	c.add(widgets, "Widget", "name: w")
	c.add(gadgets, "Gadget", "name: g")
	other.waitAvailable("False")
	c.createMeshSync()
	story := startStory(t, c, server.URL(), got, watchList{white: []string{entry(widgets), entry(other.resource)}})
	story.expect("the others", "ADDED Widget w")
	c.eventually("it is reported", func() error {
		for _, kind := range c.status().Resources {
			if kind.Resource == watchlist.Format(other.resource) && kind.State == v1alpha1.ResourceFailed && strings.Contains(kind.Message, "does not answer") {
				return nil
			}
		}
		return fmt.Errorf("status.resources is %+v", c.status().Resources)
	})

	other.start()
	began := time.Now()
	story.expect("it comes up", "ADDED Thing x")
	t.Logf("the aggregated API is up: its object %s later, %d discoveries in all", time.Since(began).Round(100*time.Millisecond), c.discoveryRequests())

	other.stop()
	story.list(entry(widgets), entry(other.resource), entry(gadgets))
	took := story.expect("an edit while it is down", "ADDED Gadget g")
	t.Logf("an edit while it is down: the first object after %s", took.Round(time.Millisecond))

	other.version = "2"
	other.start()
	story.expect("it comes up again", "MODIFIED Thing x")

	other.stop()
	story.list(entry(widgets), entry(other.resource), entry(c.kindName("Gizmo")))
	c.add(c.define("Gizmo"), "Gizmo", "name: z") // which makes the agent ask what is served
	story.expect("a kind that appears while it is down", "DELETED Gadget g (WatchListChanged)", "ADDED Gizmo z")
	story.list(entry(widgets))
	story.expect("kinds are removed while it is down", "DELETED Gizmo z (WatchListChanged)", "DELETED Thing x (WatchListChanged)")
	story.list(entry(widgets), entry(other.resource))
	other.start()
	story.expect("it is wanted again, and comes up", "ADDED Thing x")

	if err := c.client.Resource(apiServices).Delete(t.Context(), other.name(), deleteOptions); err != nil {
		t.Fatal(err)
	}
	c.define("Last") // as above
	story.expect("it is removed", "DELETED Thing x (NotServed)")
}

// TestAKindThatIsDownHoldsUpNoRequest asks for everything while one kind cannot be read.
func TestAKindThatIsDownHoldsUpNoRequest(t *testing.T) {
	t.Parallel()
	const patience = 30 * time.Second
	c, server, got := scene(t)
	other := newAggregated(c)
	other.start()
	widgets := c.define("Widget")
	c.add(widgets, "Widget", "name: w")
	story := startStory(t, c, server.URL(), got, watchList{white: []string{entry(widgets), entry(other.resource)}})
	story.expect("all kinds", "ADDED Widget w", "ADDED Thing x")
	other.stop()

	soon := func(what string, ask func(), came func() bool) {
		t.Helper()
		began := time.Now()
		ask()
		got.WaitFor(t, what, came)
		took := time.Since(began)
		t.Logf("%s: after %s", what, took.Round(100*time.Millisecond))
		if took > patience {
			t.Errorf("%s: not before %s", what, took)
		}
	}
	before := len(got.About("Widget", c.namespace, "w"))
	soon("a resync", func() { got.Request(t, "resync-discovery", nil) }, func() bool { return len(got.About("Widget", c.namespace, "w")) > before })
	for n := range 2 {
		before := len(got.Store())
		soon(fmt.Sprint("reply ", n), func() { got.Request(t, "informer-store", map[string]string{"Reply": consumer.StoreSubject}) },
			func() bool { return len(got.Store()) > before })
	}
}
