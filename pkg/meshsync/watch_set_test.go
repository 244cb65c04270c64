package meshsync_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/test/consumer"
)

// editPatience is the most that may pass from an edit of the watch-list until the first object arrives.
const editPatience = 2 * time.Second

// TestWatchListEditedLive is not parallel: it measures.
func TestWatchListEditedLive(t *testing.T) {
	c, server, got := scene(t)
	widgets, gadgets := c.define("Widget"), c.define("Gadget")
	c.add(widgets, "Widget", "name: w1")
	c.add(gadgets, "Gadget", "name: g1")
	c.add(gadgets, "Gadget", "name: g2")
	story := startStory(t, c, server.URL(), got, watchList{white: []string{entry(widgets), "{Resource: pods.v1.}", "{Resource: deployments.v1.apps}"}})
	story.expect("the kinds on the list", "ADDED Widget w1")
	others := []string{entry(widgets), "{Resource: pods.v1.}", "{Resource: deployments.v1.apps}"}
	before := c.allWatchRequests()
	asked := func(what string, requests int) {
		t.Helper()
		after := c.await("requests to list or watch", c.allWatchRequests, before+requests)
		t.Logf("%s: %d requests to list or watch", what, after-before)
		if after-before != requests {
			t.Errorf("%s: %d requests to list or watch, want %d", what, after-before, requests)
		}
		before = after
	}

	t.Run("a kind added: one request, and only its objects arrive", func(t *testing.T) {
		rules, kinds := c.reviews()
		story.list(append(others, entry(gadgets))...)
		took := story.expect("the kind added", "ADDED Gadget g1", "ADDED Gadget g2")
		rulesAfter, kindsAfter := c.reviews()
		t.Logf("first object %s after the edit; %d reviews of rules, %d of kinds", took.Round(time.Millisecond), rulesAfter-rules, kindsAfter-kinds)
		if took > editPatience {
			t.Errorf("the first object came %s after the edit", took)
		}
		asked("a kind added", 1)
		if n := c.watchRequests(gadgets); n != 1 {
			t.Errorf("%d requests for the kind added", n)
		}
	})
	t.Run("other events for a kind: nothing is asked", func(t *testing.T) {
		story.list(append(others, entry(gadgets, "Events: [ADDED, DELETED]"))...)
		n := 0
		c.eventually("changes are not published any more", func() error {
			n++
			name := fmt.Sprint("e", n)
			about := func() []string { return events(got.About("Gadget", c.namespace, name)) }
			c.add(gadgets, "Gadget", "name: "+name)
			got.WaitFor(t, "ADDED", func() bool { return len(about()) > 0 })
			c.change(gadgets, name, "{spec: {a: 1}}")
			story.told()            // what comes after the change, mostly
			c.delete(gadgets, name) // what is published of one object is in order: nothing comes after this
			got.WaitFor(t, "DELETED", func() bool { return slices.Contains(about(), "DELETED") })
			if list := about(); !slices.Equal(list, []string{"ADDED", "DELETED"}) {
				return fmt.Errorf("events are %v", list)
			}
			return nil
		})
		story.told()
		asked("other events", 0)
	})
	t.Run("a kind removed: its objects are withdrawn", func(t *testing.T) {
		story.list(others...)
		took := story.expect("the kind removed", "DELETED Gadget g1 (WatchListChanged)", "DELETED Gadget g2 (WatchListChanged)")
		t.Logf("first DELETED %s after the edit", took.Round(time.Millisecond))
		if took > editPatience {
			t.Errorf("the first DELETED came %s after the edit", took)
		}
		c.delete(gadgets, "g2")
		if lines := story.told(); len(lines) > 0 {
			t.Errorf("told of a kind that is not on the list: %v", lines)
		}
		asked("a kind removed", 0)
	})
	t.Run("a list that cannot be read changes nothing", func(*testing.T) {
		c.writeConfigMap(map[string]string{"whitelist": `[{"Resource":`}, nil)
		c.add(widgets, "Widget", "name: w6")
		story.expect("the kind kept", "ADDED Widget w6")
	})
	t.Run("a bad entry does not mute the others", func(*testing.T) {
		story.list(append(others, "{Resource: nonsense}", entry(gadgets))...)
		story.expect("the good entry", "ADDED Gadget g1")
		asked("a kind added again", 1)
	})
}

// TestKeptOnRemoval removes a kind, and a namespace, with the option to say nothing of it.
func TestKeptOnRemoval(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	other := c.inNamespace(c.newNamespace())
	widgets, gadgets, gizmos := c.define("Widget"), c.define("Gadget"), c.define("Gizmo")
	c.add(widgets, "Widget", "name: w1")
	other.add(widgets, "Widget", "name: w2")
	c.add(gadgets, "Gadget", "name: g1")
	c.add(gizmos, "Gizmo", "name: z1")
	keep := func(entries ...string) watchList { return watchList{white: entries, discovery: "{onRemoval: Keep}"} }
	story := startStory(t, c, server.URL(), got, keep(entry(widgets), entry(gadgets)), everywhere)
	story.expect("the kinds on the list", "ADDED Widget w1", "ADDED Widget w2", "ADDED Gadget g1")

	// The kind added last is the sign that the edit is in force.
	story.edit(keep(entry(widgets, "namespaces: ["+c.namespace+"]"), entry(gizmos)))
	story.expect("a kind and a namespace removed", "ADDED Gizmo z1")
	story.edit(keep(entry(widgets), entry(gadgets)))
	story.expect("and back", "ADDED Widget w2", "ADDED Gadget g1")

	story.list(entry(widgets))
	story.expect("a kind removed without the option", "DELETED Gadget g1 (WatchListChanged)")
}

// everywhere makes an agent publish objects of all namespaces.
func everywhere(o *meshsync.Options) { o.OutputNamespaces = nil }

// TestSelectionEditedLive changes which objects of a kind are watched: only the difference is told, for one request per new watch.
func TestSelectionEditedLive(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	b, third := c.inNamespace(c.newNamespace()), c.inNamespace(c.newNamespace())
	widgets := c.define("Widget")
	c.add(widgets, "Widget", "name: red, labels: {color: red}")
	c.add(widgets, "Widget", "name: blue, labels: {color: blue}")
	c.add(widgets, "Widget", "name: green, labels: {color: green}")
	b.add(widgets, "Widget", "name: b, labels: {color: green}")
	third.add(widgets, "Widget", "name: c, labels: {color: green}")
	in := func(namespaces string) string { return "namespaces: [" + namespaces + "]" }
	here := in(c.namespace)
	story := startStory(t, c, server.URL(), got, watchList{white: []string{entry(widgets, here, `labelSelector: "color in (red, green)"`)}}, everywhere)
	story.expect("what is selected", "ADDED Widget red", "ADDED Widget green")

	without := func(namespace string) string { return "{namespaces: {exclude: [" + namespace + "]}}" }
	for _, step := range []struct {
		what      string
		options   []string
		discovery string
		requests  int
		want      []string
	}{
		{"another label selector", []string{here, `labelSelector: "color in (blue, green)"`}, "", 1,
			[]string{"ADDED Widget blue", "DELETED Widget red (WatchListChanged)"}},
		{"no label selector", []string{here}, "", 1, []string{"ADDED Widget red"}},
		{"another namespace", []string{in(c.namespace + ", " + b.namespace)}, "", 1, []string{"ADDED Widget b"}},
		{"all namespaces", nil, "", 1, []string{"ADDED Widget c"}},
		{"all but one", nil, without(b.namespace), 1, []string{"DELETED Widget b (WatchListChanged)"}},
		{"all but another", nil, without(third.namespace), 1, []string{"ADDED Widget b", "DELETED Widget c (WatchListChanged)"}},
		{"two namespaces", []string{in(c.namespace + ", " + third.namespace)}, "", 2, []string{"ADDED Widget c", "DELETED Widget b (WatchListChanged)"}},
		{"one namespace", []string{here}, "", 0, []string{"DELETED Widget c (WatchListChanged)"}},
		{"a field selector", []string{here, "fieldSelector: metadata.name!=red"}, "", 1, []string{"DELETED Widget red (WatchListChanged)"}},
	} {
		before := c.watchRequests(widgets)
		story.edit(watchList{white: []string{entry(widgets, step.options...)}, discovery: step.discovery})
		story.expect(step.what, step.want...)
		n := c.await(step.what, func() int { return c.watchRequests(widgets) }, before+step.requests) - before
		t.Logf("%s: %d requests to list or watch the kind", step.what, n)
		if n != step.requests {
			t.Errorf("%s: %d requests to list or watch the kind, want %d", step.what, n, step.requests)
		}
	}
	c.delete(widgets, "green")
	story.expect("an object that is really deleted", "DELETED Widget green")
}

// TestDepthEditedLive switches a kind between whole objects and metadata.
func TestDepthEditedLive(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	widgets := c.define("Widget")
	c.add(widgets, "Widget", "name: a, labels: {color: red}", "spec: {size: 1}")
	c.add(widgets, "Widget", "name: b", "spec: {size: 1}")
	c.create(services, "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}")
	list := func(depth string) watchList {
		return watchList{white: []string{entry(widgets), "{Resource: services.v1., depth: full}"}, discovery: "{depth: " + depth + "}"}
	}
	story := startStory(t, c, server.URL(), got, list("full"))
	story.expect("whole objects", "ADDED Widget a", "ADDED Widget b", "ADDED Service s")
	last := func(kind, name string) consumer.Object {
		about := got.About(kind, c.namespace, name)
		return about[len(about)-1].Object
	}
	before := c.watchRequests(widgets)

	story.edit(list("inventory"))
	story.expect("metadata", "ADDED Widget a", "ADDED Widget b")
	for _, name := range []string{"a", "b"} {
		if o := last("Widget", name); o.Spec != nil || o.Status != nil || o.APIVersion != widgets.Group+"/v1" || o.Metadata.UID == "" {
			t.Errorf("published %+v", o)
		}
	}
	if o := last("Widget", "a"); len(o.Metadata.Labels) != 1 || o.Metadata.Labels[0].Value != "red" {
		t.Errorf("labels are %v", o.Metadata.Labels)
	}
	if o := last("Service", "s"); o.Spec == nil {
		t.Error("a kind whose entry says full lost its spec")
	}
	c.change(widgets, "a", "{spec: {size: 2}, metadata: {labels: {color: blue}}}")
	story.expect("a change", "MODIFIED Widget a")
	if o := last("Widget", "a"); o.Spec != nil || o.Metadata.Labels[0].Value != "blue" {
		t.Errorf("published %+v", o)
	}
	c.delete(widgets, "b")
	story.expect("a delete", "DELETED Widget b")

	story.edit(list("full"))
	story.expect("whole objects again", "ADDED Widget a")
	if o := last("Widget", "a"); o.Spec == nil || o.Spec.Attribute != `{"size":2}` {
		t.Errorf("published %+v", o)
	}
	n := c.await("requests", func() int { return c.watchRequests(widgets) }, before+2) - before
	t.Logf("to inventory and back: %d requests to list or watch the kind", n)
	if n != 2 || c.watchRequests(services) != 1 {
		t.Errorf("%d requests for the kind, %d for the other", n, c.watchRequests(services))
	}
}
