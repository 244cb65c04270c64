package meshsync_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync"
)

// mayRead is a rule.
func mayRead(resource schema.GroupVersionResource) string {
	return fmt.Sprintf("{apiGroups: [%q], resources: [%s], verbs: [get, list, watch]}", resource.Group, resource.Resource)
}

// kinds waits until so many kinds are in a state.
func (a *agent) kinds(state, want string) {
	a.t.Helper()
	poll(a.t, func() error {
		if n := a.metric(`meshery_meshsync_watched_kinds{state="` + state + `"}`); n != want {
			return fmt.Errorf("%q kinds are %s, want %s", n, state, want)
		}
		return nil
	})
}

// TestForbiddenKindDoesNotHoldUpTheOthers names kinds that the agent may not read: that is asked, not tried.
func TestForbiddenKindDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	c.writeWatchList("{Resource: secrets.v1.}", "{Resource: configmaps.v1.}", "{Resource: services.v1.}")
	kubeconfig := limitedKubeconfig(c, mayRead(configMaps), mayRead(namespaces))
	agent := startAgent(c, server.URL(), func(o *meshsync.Options) { o.Kubeconfig = kubeconfig })
	agent.waitReady("")
	c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: x}}")
	c.create(configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}")
	got.WaitFor(t, "what is permitted", func() bool { return len(got.About("ConfigMap", c.namespace, "x")) > 0 })
	agent.kinds("Forbidden", "2")
	agent.kinds("Synced", "1")
	rules, kinds := c.reviews()
	t.Logf("2 forbidden kinds: %d requests to list or watch them, %d reviews of rules, %d of kinds", c.watchRequests(secrets)+c.watchRequests(services), rules, kinds)
	if n := c.watchRequests(secrets) + c.watchRequests(services); n > 0 {
		t.Errorf("%d requests to list or watch what may not be read", n)
	}
	if kinds > 0 || rules == 0 {
		t.Errorf("%d reviews of rules, and %d of kinds although the rules tell all", rules, kinds)
	}
	if n := agent.metric(`meshery_meshsync_watch_errors_total{reason="Forbidden",resource="secrets.v1."}`); n != "" {
		t.Errorf("%s errors of a kind that is not tried", n)
	}
	if n := len(got.About("Secret", c.namespace, "x")); n > 0 {
		t.Errorf("%d messages about a Secret that may not be read", n)
	}
}

// TestRightsComeAndGo grants the right to read a kind while the agent runs, revokes it, and grants it again.
func TestRightsComeAndGo(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	widgets := c.define("Widget")
	c.add(widgets, "Widget", "name: a", "spec: {size: 1}")
	c.add(widgets, "Widget", "name: b", "spec: {size: 1}")
	c.add(widgets, "Widget", "name: c", "spec: {size: 1}")
	others := []string{mayRead(configMaps), mayRead(secrets), mayRead(namespaces), mayRead(crds)}
	kubeconfig := limitedKubeconfig(c, others...)
	story := startStory(t, c, server.URL(), got, watchList{white: []string{entry(widgets)}}, func(o *meshsync.Options) { o.Kubeconfig = kubeconfig })
	story.agent.kinds("Forbidden", "1")
	if lines := story.told(); len(lines) > 0 {
		t.Errorf("told of a kind that may not be read: %v", lines)
	}
	rulesBefore, kindsBefore := c.reviews()
	if n := c.watchRequests(widgets); n > 0 {
		t.Errorf("%d requests for a kind that may not be read", n)
	}

	began := time.Now()
	grant(c, append(others, mayRead(widgets))...)
	story.expect("the right is there", "ADDED Widget a", "ADDED Widget b", "ADDED Widget c")
	rules, kinds := c.reviews()
	t.Logf("granted: all objects %s after it; until then %d reviews of rules, %d of kinds", time.Since(began).Round(100*time.Millisecond), rules-rulesBefore, kinds-kindsBefore)
	story.agent.kinds("Synced", "2")

	story.revoke(widgets, others...)
	requests := c.watchRequests(widgets)
	t.Logf("revoked: %d requests to list or watch the kind since the first that was let in", requests-1)
	c.delete(widgets, "b")
	c.change(widgets, "c", "{spec: {size: 2}}")
	if lines := story.told(); len(lines) > 0 {
		t.Errorf("told when the right went: %v", lines)
	}

	began = time.Now()
	grant(c, append(others, mayRead(widgets))...)
	story.expect("the right is back: the difference", "DELETED Widget b", "MODIFIED Widget c")
	t.Logf("granted again: the difference %s after it, %d requests to list or watch the kind", time.Since(began).Round(100*time.Millisecond), c.watchRequests(widgets)-requests)
	story.agent.kinds("Synced", "2")
}

// TestEditsWhileAKindMayNotBeRead changes what is wanted of a kind between the loss of the right to read it and its return.
func TestEditsWhileAKindMayNotBeRead(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	widgets, gadgets := c.define("Widget"), c.define("Gadget")
	c.add(widgets, "Widget", "name: a, labels: {color: red}", "spec: {size: 1}")
	c.add(widgets, "Widget", "name: b", "spec: {size: 1}")
	c.add(gadgets, "Gadget", "name: g")
	others := []string{mayRead(gadgets), mayRead(secrets), mayRead(configMaps), mayRead(namespaces), mayRead(crds)}
	kubeconfig := limitedKubeconfig(c, append(others, mayRead(widgets))...)
	story := startStory(t, c, server.URL(), got, watchList{white: []string{entry(widgets)}}, func(o *meshsync.Options) { o.Kubeconfig = kubeconfig })
	story.expect("whole objects", "ADDED Widget a", "ADDED Widget b")

	story.revoke(widgets, others...)
	story.list(entry(widgets, "labelSelector: color=red", "depth: inventory"), entry(gadgets))
	story.expect("the edit is in force", "ADDED Gadget g")
	grant(c, append(others, mayRead(widgets))...)
	story.expect("what was told before is not what is wanted now", "ADDED Widget a", "DELETED Widget b (WatchListChanged)")
	if about := got.About("Widget", c.namespace, "a"); about[len(about)-1].Object.Spec != nil {
		t.Errorf("published %+v", about[len(about)-1].Object)
	}
}

// revoke leaves the agent only other rights than to read a custom kind, and waits until it has noticed.
func (s *story) revoke(resource schema.GroupVersionResource, others ...string) {
	s.t.Helper()
	before, _ := s.reviews()
	grant(s.cluster, others...)
	s.change(crds, resource.GroupResource().String(), "{spec: {names: {shortNames: [revoked]}}}") // which ends every watch of the kind
	s.eventually("it is asked, and not tried any more", func() error {
		if asked, _ := s.reviews(); asked == before {
			return errors.New("no review of its rules")
		}
		return nil
	})
	s.agent.kinds("Forbidden", "1")
}
