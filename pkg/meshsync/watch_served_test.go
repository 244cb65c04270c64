package meshsync_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestKindThatAppearsLater(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	c.writeWatchList("{Resource: configmaps.v1.}", entry(c.kindName("Widget")))
	agent := startAgent(c, server.URL())
	agent.waitReady("") // the missing kind is reported, not waited for
	if n := agent.metric("meshery_meshsync_missing_kinds"); n != "1" {
		t.Errorf("missing_kinds is %q", n)
	}
	began := time.Now()
	widgets := c.define("Widget")
	c.add(widgets, "Widget", "name: x")
	created := time.Now()
	got.WaitFor(t, "an object of the new kind", func() bool { return len(got.About("Widget", c.namespace, "x")) > 0 })
	t.Logf("%s from the definition to the object's creation, %s more to its arrival; %d requests to list or watch the kind, %d discoveries in all",
		created.Sub(began).Round(time.Millisecond), time.Since(created).Round(time.Millisecond), c.watchRequests(widgets), c.discoveryRequests())
	c.eventually("nothing is missing", func() error {
		if n := agent.metric("meshery_meshsync_missing_kinds"); n != "0" {
			return fmt.Errorf("missing_kinds is %q", n)
		}
		return nil
	})
	if err := c.client.Resource(crds).Delete(t.Context(), widgets.GroupResource().String(), deleteOptions); err != nil {
		t.Fatal(err)
	}
	got.WaitFor(t, "DELETED with its kind", func() bool {
		return slices.Equal(events(got.About("Widget", c.namespace, "x")), []string{"ADDED", "DELETED"})
	})
	c.eventually("it is missing again", func() error {
		if n := agent.metric("meshery_meshsync_missing_kinds"); n != "1" {
			return fmt.Errorf("missing_kinds is %q", n)
		}
		return nil
	})
	agent.waitReady("")
}

// TestVersionsOfAKindChange follows a kind from v1beta1 to v1: named with its version as long as that is served, and named without one
// as soon as there is a better one. To a consumer an object is another one in another version.
func TestVersionsOfAKindChange(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	version := func(name, served, storage string) string {
		return fmt.Sprintf("{name: %s, served: %s, storage: %s, %s}", name, served, storage, anySchema)
	}
	widgets := c.defineVersions("Widget", version("v1beta1", "true", "true"))
	gadgets := c.defineVersions("Gadget", version("v1beta1", "true", "true"))
	widgets.Version, gadgets.Version = "v1beta1", "v1beta1"
	c.add(widgets, "Widget", "name: w")
	c.add(gadgets, "Gadget", "name: g")
	story := startStory(t, c, server.URL(), got, watchList{white: []string{entry(widgets), "gadgets." + gadgets.Group}})
	story.expect("the only version", "ADDED Widget w", "ADDED Gadget g")
	versions := func(kind, name string) []string {
		var list []string
		for _, message := range got.About(kind, c.namespace, name) {
			list = append(list, message.EventType+" "+message.Object.APIVersion)
		}
		slices.Sort(list)
		return list
	}
	both := func(kind, name string) {
		t.Helper()
		group := widgets.Group
		want := []string{"ADDED " + group + "/v1", "ADDED " + group + "/v1beta1", "DELETED " + group + "/v1beta1"}
		if have := versions(kind, name); !slices.Equal(have, want) {
			t.Errorf("have %v, want %v", have, want)
		}
	}

	for _, resource := range []string{widgets.GroupResource().String(), gadgets.GroupResource().String()} {
		c.change(crds, resource, "{spec: {versions: ["+version("v1beta1", "true", "false")+", "+version("v1", "true", "true")+"]}}")
	}
	story.expect("a better version", "DELETED Gadget g (WatchListChanged)", "ADDED Gadget g")
	both("Gadget", "g")

	began := time.Now()
	c.change(crds, widgets.GroupResource().String(), "{spec: {versions: ["+version("v1beta1", "false", "false")+", "+version("v1", "true", "true")+"]}}")
	story.expect("a version that is not served any more", "DELETED Widget w (NotServed)", "ADDED Widget w")
	t.Logf("a version that is not served any more: %s until the other one is there; %d requests to list or watch the kind in all",
		time.Since(began).Round(100*time.Millisecond), c.watchRequests(widgets))
	both("Widget", "w")
	story.agent.kinds("Synced", "3")
	widgets.Version = "v1"
	c.add(widgets, "Widget", "name: later")
	story.expect("a new object", "ADDED Widget later")
}
