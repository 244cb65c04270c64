package meshsync_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"

	"meshery.io/operator/pkg/watchlist"
	"meshery.io/operator/test/consumer"
	"meshery.io/operator/test/controlplane"
	"meshery.io/operator/test/natsserver"
)

const (
	definitions = 50
	// restPeriod is longer than the agent keeps still between two writes of status: if what it writes set off anything, that would
	// happen in this time.
	restPeriod = "15s"
	// churned definitions come, at 4 a second, and go again.
	churned = "60"
	// latest is how long after the last of them its kind may be missing. The API server itself takes a second or two to serve it; who
	// is not told of definitions looks every minute or two.
	latest = 5 * time.Second
)

// TestEverythingIsWatched runs on a control plane of its own, which serves every built-in kind in every version, and nobody else is at
// work. REST=60s and CHURN=200 make it longer.
func TestEverythingIsWatched(t *testing.T) {
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Audit: true, APIServerArgs: []string{
		"runtime-config=api/all=true", "feature-gates=AllAlpha=true,AllBeta=true", // some kinds need both
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := installMeshSyncs(plane); err != nil {
		t.Fatal(err)
	}
	t.Parallel() // only now: a busy machine takes too long to start an API server
	server := natsserver.Start(t, natsserver.Options{})
	c, got := newClusterOn(t, plane), consumer.Connect(t, server.URL())
	kinds := make([]schema.GroupVersionResource, definitions)
	for i := range kinds {
		kinds[i] = c.define(fmt.Sprintf("Kind%02d", i))
	}
	for i, resource := range kinds { // it takes the API server a second or two to serve them
		c.add(resource, fmt.Sprintf("Kind%02d", i), "name: x", "spec: {size: 1}")
	}
	c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: x}}")
	c.createMeshSync()
	c.writeConfigMap(map[string]string{"whitelist": "", "blacklist": `["secrets.v1.", {"Resource": "kind07s.v1.` + c.kindName("").Group + `"}]`}, nil)
	leftOut := []schema.GroupResource{secrets.GroupResource(), c.kindName("Kind07").GroupResource()}
	began := time.Now()
	agent := startAgent(c, server.URL(), everywhere)
	agent.waitReady("")
	t.Logf("ready after %s", time.Since(began).Round(100*time.Millisecond))

	e := everything{c, agent, got, leftOut}
	t.Run("every kind is synced", e.isSynced)
	t.Run("nothing is said at rest", e.isAtRest)
	t.Run("definitions come and go", e.followsDefinitions)
}

type everything struct {
	*cluster
	agent   *agent
	got     *consumer.Consumer
	leftOut []schema.GroupResource
}

// wanted is every kind that can be watched, but those that are left out, and those that documentation says are watched only when named.
func (e everything) wanted(t *testing.T) map[string]schema.GroupVersionResource {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", e.plane.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := client.ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	leftOut := append(slices.Clone(e.leftOut),
		schema.GroupResource{Resource: "events"}, schema.GroupResource{Group: "events.k8s.io", Resource: "events"},
		schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}, schema.GroupResource{Group: "coordination.k8s.io", Resource: "leasecandidates"},
		schema.GroupResource{Resource: "endpoints"}, // where endpointslices are watched
	)
	wanted := map[string]schema.GroupVersionResource{}
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "watch"}}, lists) {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range list.APIResources {
			if resource := version.WithResource(kind.Name); !slices.Contains(leftOut, resource.GroupResource()) {
				wanted[watchlist.Format(resource)] = resource
			}
		}
	}
	return wanted
}

// watched is every kind that the agent watches.
func (e everything) watched() []string {
	var list []string
	_, body := e.agent.get("/metrics")
	for line := range strings.SplitSeq(body, "\n") {
		if rest, ok := strings.CutPrefix(line, `meshery_meshsync_objects{resource="`); ok {
			resource, _, _ := strings.Cut(rest, `"`)
			list = append(list, resource)
		}
	}
	slices.Sort(list)
	return list
}

// watchesWanted is nil if exactly the wanted kinds are watched, all of them as a whole.
func (e everything) watchesWanted(t *testing.T) error {
	wanted := slices.Sorted(maps.Keys(e.wanted(t)))
	if have := e.watched(); !slices.Equal(have, wanted) {
		return fmt.Errorf("watched are %d kinds, wanted %d; too many: %v; missing: %v", len(have), len(wanted), without(have, wanted), without(wanted, have))
	}
	for state, want := range map[string]int{"Synced": len(wanted), "Syncing": 0, "Failed": 0, "Forbidden": 0, "NotServed": 0} {
		if n := e.agent.metric(`meshery_meshsync_watched_kinds{state="` + state + `"}`); n != strconv.Itoa(want) {
			return fmt.Errorf("%s kinds are %s, want %d", n, state, want)
		}
	}
	return nil
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(other, name) })
}

func (e everything) isSynced(t *testing.T) {
	wanted := e.wanted(t)
	t.Logf("%d kinds are wanted", len(wanted))
	poll(t, func() error { return e.watchesWanted(t) })
	poll(t, func() error { return e.consumerHasAll(wanted) })
	poll(t, func() error {
		status := e.status()
		if status.Discovery == nil || int(status.Discovery.KindsSynced) != len(wanted) || int(status.Discovery.KindsWanted) != len(wanted) {
			return fmt.Errorf("status.discovery is %+v, want %d kinds", status.Discovery, len(wanted))
		}
		return nil
	})
	t.Logf("%d objects in %d kinds", len(e.got.State()), kindsOf(e.got.State()))
}

func kindsOf(objects []consumer.Object) int {
	kinds := map[string]bool{}
	for _, object := range objects {
		kinds[object.APIVersion+object.Kind] = true
	}
	return len(kinds)
}

// consumerHasAll is nil if the consumer has exactly the objects that there are, as they are.
func (e everything) consumerHasAll(wanted map[string]schema.GroupVersionResource) error {
	have := map[string]string{}
	for _, object := range e.got.State() {
		have[object.APIVersion+" "+object.Metadata.UID] = object.Metadata.ResourceVersion
	}
	for name, resource := range wanted {
		list, err := e.client.Resource(resource).List(e.t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, obj := range list.Items {
			key := obj.GetAPIVersion() + " " + string(obj.GetUID())
			if version, ok := have[key]; !ok || version != obj.GetResourceVersion() && obj.GetKind() != "MeshSync" { // its own status is not told
				return fmt.Errorf("%s %s/%s is %q, want %s", name, obj.GetNamespace(), obj.GetName(), version, obj.GetResourceVersion())
			}
			delete(have, key)
		}
	}
	if len(have) > 0 {
		return fmt.Errorf("ghosts: %v", have)
	}
	return nil
}

// isAtRest watches the consumer while leases are renewed and Events come, as they do in every cluster, and while the agent writes its
// status.
func (e everything) isAtRest(t *testing.T) {
	period, err := time.ParseDuration(fromEnvironment("REST", restPeriod))
	if err != nil {
		t.Fatal(err)
	}
	leases := schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	e.create(leases, "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: x}, spec: {leaseDurationSeconds: 1}}")
	writes := e.statusWrites()
	mark := len(e.got.Messages())
	over, tick := time.After(period), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
			e.change(leases, "x", fmt.Sprintf("{spec: {leaseTransitions: %d}}", n))
			e.create(schema.GroupVersionResource{Version: "v1", Resource: "events"}, fmt.Sprintf("{apiVersion: v1, kind: Event, metadata: {name: e%d}, involvedObject: {kind: Pod, namespace: %s, name: x}}", n, e.namespace))
			continue
		case <-over:
		}
		t.Logf("%s at rest: %d leases renewed, as many Events, %d writes of status, %d messages", period, n, len(e.statusWrites())-len(writes), len(e.got.Messages())-mark)
		break
	}
	for _, message := range e.got.Messages()[mark:] {
		t.Errorf("told at rest: %s", line(message))
	}
	if list := events(e.got.About("MeshSync", e.namespace, agentName)); len(e.statusWrites()) == 0 || !slices.Equal(list, []string{"ADDED"}) {
		t.Errorf("%d writes of status, told of the MeshSync: %v", len(e.statusWrites()), list)
	}
}

// followsDefinitions creates and deletes definitions all the time. Some stay.
func (e everything) followsDefinitions(t *testing.T) {
	number, err := strconv.Atoi(fromEnvironment("CHURN", churned))
	if err != nil {
		t.Fatal(err)
	}
	const lifetime, staying = 10, 8 // a definition goes when so many others have come; each 8th stays
	ctx, client := t.Context(), e.client.Resource(crds)
	before, requests, began := e.discoveryRequests(), e.allWatchRequests(), time.Now()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for i := range number + lifetime {
		<-tick.C
		if i < number {
			e.define(fmt.Sprintf("Churned%03d", i))
		}
		if old := i - lifetime; old >= 0 && old%staying != 0 {
			if err := client.Delete(ctx, e.kindName(fmt.Sprintf("Churned%03d", old)).GroupResource().String(), deleteOptions); err != nil {
				t.Fatal(err)
			}
		}
	}
	took, asked := time.Since(began), e.discoveryRequests()-before
	t.Logf("%d definitions came and %d went within %s: %d discoveries", number, number-(number+staying-1)/staying, took.Round(100*time.Millisecond), asked)
	if most := int(1.2*took.Seconds()) + 3; asked > most {
		t.Errorf("%d discoveries in %s, want %d at most", asked, took, most)
	}
	ended := time.Now()
	poll(t, func() error { return e.watchesWanted(t) })
	late := time.Since(ended)
	if late > latest {
		t.Errorf("exactly the wanted kinds are watched %s after the last definition", late)
	}
	t.Logf("exactly the wanted kinds are watched %s later, %d discoveries and %d requests to list or watch in all",
		late.Round(100*time.Millisecond), e.discoveryRequests()-before, e.allWatchRequests()-requests)
	e.watchedOnce(t)
}

// watchedOnce fails the test if a wanted kind was watched more than once since the start.
func (e everything) watchedOnce(t *testing.T) {
	t.Helper()
	watches := map[schema.GroupResource]int{}
	for _, one := range e.requests() {
		// Who asks as soon as a definition is there is told to come back in a second.
		if one.Verb == "watch" && one.ObjectRef.Name == "" && one.ResponseStatus.Code != http.StatusTooManyRequests {
			watches[schema.GroupResource{Group: one.ObjectRef.APIGroup, Resource: one.ObjectRef.Resource}]++
		}
	}
	watches[crds.GroupResource()]-- // how the agent learns of definitions
	for name, resource := range e.wanted(t) {
		if n := watches[resource.GroupResource()]; n != 1 {
			t.Errorf("%d watches of %s", n, name)
		}
	}
}

func fromEnvironment(name, otherwise string) string {
	if text := os.Getenv(name); text != "" {
		return text
	}
	return otherwise
}
