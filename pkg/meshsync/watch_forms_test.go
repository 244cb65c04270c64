package meshsync_test

import (
	"fmt"
	"strings"
	"testing"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/test/consumer"
)

// TestFormsOfEntries names kinds in every way there is but the canonical one, and leaves one out.
func TestFormsOfEntries(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	widgets, gadgets, gizmos := c.define("Widget"), c.define("Gadget"), c.define("Gizmo")
	c.add(widgets, "Widget", "name: w")
	c.add(gadgets, "Gadget", "name: g")
	c.add(gizmos, "Gizmo", "name: z")
	c.create(pods, "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: nginx}]}}")
	c.create(deployments, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {replicas: 0, selector: {matchLabels: {a: b}},
		template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: nginx}]}}}}`)
	c.create(cronJobs, `{apiVersion: batch/v1, kind: CronJob, metadata: {name: j}, spec: {suspend: true, schedule: "0 0 1 1 *",
		jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: nginx}]}}}}}}`)
	c.create(services, "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}")
	white := `[po, {Resource: Deployment.apps, Events: [ADDED]}, deployments, "*.%s", cronjobs.v1beta1.batch, {Resource: svc}, services.v1.]`
	c.writeConfigMap(map[string]string{"whitelist": inJSON(fmt.Sprintf(white, widgets.Group)), "blacklist": inJSON("[Gizmo." + gizmos.Group + ", services]")}, nil)
	agent := startAgent(c, server.URL())
	agent.waitReady("")
	want := []string{"ADDED Pod p", "ADDED Deployment d", "ADDED Widget w", "ADDED Gadget g", "ADDED CronJob j"}
	got.WaitFor(t, "what is named and not left out", func() bool { return len(added(got)) >= len(want) })
	if have := added(got); !sameStory(have, want) {
		t.Errorf("have %s\nwant %s", strings.Join(have, ", "), strings.Join(want, ", "))
	}
	agent.kinds("Synced", "5")
	for resource, requests := range map[string]int{"deployments": 1, "gizmos": 0, "services": 0} {
		if n := c.count(func(r audited) bool { return r.Verb == "watch" && r.ObjectRef.Resource == resource }); n != requests {
			t.Errorf("%d watches of %s, want %d", n, resource, requests)
		}
	}
}

// added returns what was told, as far as it is about new objects.
func added(got *consumer.Consumer) []string {
	var lines []string
	for _, message := range got.Messages() {
		if message.EventType == "ADDED" {
			lines = append(lines, line(message))
		}
	}
	return lines
}

// TestFieldSelectors watches what the API server selects by fields, and a kind of which it cannot.
func TestFieldSelectors(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: opaque}}")
	c.create(secrets, "{apiVersion: v1, kind: Secret, type: example.com/other, metadata: {name: other}}")
	pod := func(name, node string) {
		c.create(pods, fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {nodeName: %s, containers: [{name: c, image: nginx}]}}", name, node))
	}
	pod("here", "node-1")
	pod("there", "node-2")
	c.writeWatchList("{Resource: secrets.v1., fieldSelector: type=Opaque}", "{Resource: pods.v1., fieldSelector: spec.nodeName=node-1}",
		"{Resource: deployments.v1.apps, fieldSelector: spec.replicas=1}", "{Resource: configmaps.v1., fieldSelector: metadata.name=last}")
	agent := startAgent(c, server.URL())
	agent.waitReady("") // what is refused is reported, not waited for
	c.create(configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: last}}")
	got.WaitFor(t, "what comes last", func() bool { return len(got.About("ConfigMap", c.namespace, "last")) > 0 })
	if have, want := added(got), []string{"ADDED Secret opaque", "ADDED Pod here", "ADDED ConfigMap last"}; !sameStory(have, want) {
		t.Errorf("have %s\nwant %s", strings.Join(have, ", "), strings.Join(want, ", "))
	}
	agent.kinds("Synced", "3")
	agent.kinds("Failed", "1")
}

// TestOutputFlags limits what is published by the flags of the existing agent: not what has no namespace.
func TestOutputFlags(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	other := c.inNamespace(c.newNamespace())
	for _, in := range []*cluster{c, other} {
		in.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: x}}")
		in.create(services, "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 80}]}}")
		in.create(configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}")
	}
	c.writeWatchList("{Resource: secrets.v1.}", "{Resource: services.v1.}", "{Resource: configmaps.v1.}", "{Resource: namespaces.v1.}", "{Resource: storageclasses.v1.storage.k8s.io}")
	agent := startAgent(c, server.URL(), func(o *meshsync.Options) { o.OutputResources = []string{"secret", "Services", "namespaces"} })
	agent.waitReady("")
	agent.kinds("Synced", "3")
	for _, namespace := range []string{c.namespace, other.namespace, "kube-system"} {
		got.WaitFor(t, "a namespace", func() bool { return len(got.About("Namespace", "", namespace)) > 0 })
	}
	got.WaitFor(t, "what is in the namespace", func() bool {
		return len(got.About("Secret", c.namespace, "x")) > 0 && len(got.About("Service", c.namespace, "x")) > 0
	})
	for _, message := range got.Messages() {
		o := message.Object
		if o.Kind != "Namespace" && (o.Metadata.Namespace != c.namespace || o.Kind != "Secret" && o.Kind != "Service") {
			t.Errorf("published: %s in %s", line(message), o.Metadata.Namespace)
		}
	}
}
