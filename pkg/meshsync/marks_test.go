package meshsync_test

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/test/consumer"
)

// TestWhereServicesAreReached makes Services of every type. The same is told of them in messages, in replies and after a resync.
func TestWhereServicesAreReached(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	c.writeWatchList("{Resource: services.v1.}")
	for name, spec := range map[string]string{
		"clusterip":    "ports: [{name: a, port: 80}, {name: b, port: 9090}]",
		"port-443":     "ports: [{port: 443}]",
		"named-https":  "ports: [{name: https, port: 8443}]",
		"nodeport":     "type: NodePort, ports: [{port: 80}]",
		"headless":     "clusterIP: None, ports: [{port: 80}]",
		"externalname": "type: ExternalName, externalName: example.com",
		"pending":      "type: LoadBalancer, ports: [{port: 80}]",
		"balanced":     "type: LoadBalancer, ports: [{name: https, port: 8443}]",
	} {
		c.create(services, "{apiVersion: v1, kind: Service, metadata: {name: "+name+"}, spec: {"+spec+"}}")
	}
	startAgent(c, server.URL()).waitReady("")
	ingress := []byte(inJSON("{status: {loadBalancer: {ingress: [{hostname: lb.example.com}]}}}"))
	if _, err := c.in(services).Patch(t.Context(), "balanced", types.MergePatchType, ingress, patchOptions, "status"); err != nil {
		t.Fatal(err)
	}

	inside, nodePort := map[string]any{}, map[string]any{}
	for _, obj := range c.list(services) {
		spec := obj.Object["spec"].(map[string]any)
		inside[obj.GetName()] = spec["clusterIP"]
		if obj.GetName() == "nodeport" {
			nodePort = spec["ports"].([]any)[0].(map[string]any)
		}
	}
	want := map[string][]string{
		"clusterip":    {fmt.Sprintf("http://%s:9090", inside["clusterip"])},
		"port-443":     {fmt.Sprintf("https://%s:443", inside["port-443"])},
		"named-https":  {fmt.Sprintf("https://%s:8443", inside["named-https"])},
		"nodeport":     {fmt.Sprintf("http://localhost:%d", nodePort["nodePort"]), fmt.Sprintf("http://%s:80", inside["nodeport"])},
		"headless":     {},
		"externalname": {},
		"pending":      {fmt.Sprintf("http://%s:80", inside["pending"])},
		"balanced":     {"https://lb.example.com:8443", fmt.Sprintf("https://%s:8443", inside["balanced"])},
	}
	wrong := func(objects []consumer.Object) error {
		if len(objects) != len(want) {
			return fmt.Errorf("%d Services, want %d", len(objects), len(want))
		}
		for _, o := range objects {
			if o.ComponentMetadata == nil || !o.ComponentMetadata.Capabilities.Connection || !slices.Equal(o.ComponentMetadata.Capabilities.URLs, want[o.Metadata.Name]) {
				return fmt.Errorf("%s: %+v, want %v", o.Metadata.Name, o.ComponentMetadata, want[o.Metadata.Name])
			}
		}
		return nil
	}
	c.eventually("in messages", func() error { return wrong(got.State()) })
	got.Request(t, "informer-store", map[string]string{"Reply": consumer.StoreSubject})
	c.eventually("in the reply", func() error { return wrong(got.Store()) })
	mark := len(got.Messages())
	got.Request(t, "resync-discovery", nil)
	got.WaitFor(t, "everything once more", func() bool { return len(got.Messages()) >= mark+len(want) })
	if err := wrong(got.State()); err != nil {
		t.Errorf("after a resync: %v", err)
	}
	c.delete(services, "clusterip") // that a DELETED carries none is for the consumer to check
	got.WaitFor(t, "DELETED", func() bool { return slices.Contains(events(got.About("Service", c.namespace, "clusterip")), "DELETED") })
}

// TestDesignsAreMarked: an object says which Meshery design it was deployed from, be it told as a whole or by its metadata only.
func TestDesignsAreMarked(t *testing.T) {
	t.Parallel()
	const first, second, third = "11111111-2222-4333-8444-555555555555", "22222222-2222-4333-8444-555555555555", "33333333-2222-4333-8444-555555555555"
	want := map[string]string{"pattern": first, "design": second, "annotation": third, "upper-case": "aaaaaaaa-2222-4333-8444-555555555555",
		"all": first, "odd-first": second, "odd": "", "none": ""}
	c, server, got := scene(t)
	widgets := c.define("Widget")
	c.writeWatchList("{Resource: configmaps.v1., fieldSelector: metadata.name!="+agentName+"-watch-list}", entry(widgets, "depth: inventory"))
	for name, metadata := range map[string]string{
		"pattern":    "labels: {resource.pattern.meshery.io/id: " + first + "}",
		"design":     "labels: {design.meshery.io/id: " + second + "}",
		"annotation": "annotations: {designs.meshery.io: " + third + "}",
		"upper-case": "labels: {design.meshery.io/id: AAAAAAAA-2222-4333-8444-555555555555}",
		"all":        "labels: {design.meshery.io/id: " + second + ", resource.pattern.meshery.io/id: " + first + "}, annotations: {designs.meshery.io: " + third + "}",
		"odd-first":  "labels: {design.meshery.io/id: " + second + ", resource.pattern.meshery.io/id: mine}",
		"odd":        "labels: {design.meshery.io/id: '7'}, annotations: {designs.meshery.io: '" + first + " '}",
		"none":       "labels: {a: b}",
	} {
		c.create(configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: "+name+", "+metadata+"}}")
		c.add(widgets, "Widget", "name: "+name+", "+metadata, "spec: {a: 1}")
	}
	startAgent(c, server.URL()).waitReady("")
	wrong := func(objects []consumer.Object) error {
		found := map[string]int{}
		for _, o := range objects {
			id := ""
			if o.PatternResource != nil {
				id = *o.PatternResource
			}
			if name := o.Metadata.Name; name != "kube-root-ca.crt" {
				found[o.Kind]++
				if expected, known := want[name]; !known || id != expected {
					return fmt.Errorf("%s %s is of %q, want %q", o.Kind, name, id, expected)
				}
			}
		}
		if found["ConfigMap"] != len(want) || found["Widget"] != len(want) {
			return fmt.Errorf("%v, want %d of both", found, len(want))
		}
		return nil
	}
	c.eventually("in messages", func() error { return wrong(got.State()) })
	got.Request(t, "informer-store", map[string]string{"Reply": consumer.StoreSubject})
	c.eventually("in the reply", func() error { return wrong(got.Store()) })
	c.change(widgets, "none", "{metadata: {labels: {design.meshery.io/id: "+second+"}}}")
	want["none"] = second
	c.change(configMaps, "none", "{metadata: {labels: {design.meshery.io/id: "+second+"}}}")
	c.eventually("after a change", func() error { return wrong(got.State()) })
}

// TestInventoryOnly watches every shape of object by its metadata only, from the start on.
func TestInventoryOnly(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	widgets := c.define("Widget")
	kinds := []schema.GroupVersionResource{pods, configMaps, secrets, services, widgets}
	c.writeConfigMap(map[string]string{"whitelist": inJSON("[pods.v1., configmaps.v1., secrets.v1., services.v1., widgets.v1." + widgets.Group + "]"), "discovery": inJSON("{depth: inventory}")}, nil)
	const metadata = "metadata: {name: x, labels: {a: b}, annotations: {c: d}, finalizers: [example.com/wait]}, "
	c.create(pods, "{apiVersion: v1, kind: Pod, "+metadata+"spec: {containers: [{name: c, image: nginx}]}}")
	c.create(configMaps, "{apiVersion: v1, kind: ConfigMap, "+metadata+"immutable: true, data: {a: b}, binaryData: {b: AAEC}}")
	c.create(secrets, "{apiVersion: v1, kind: Secret, "+metadata+"stringData: {a: b}}")
	c.create(services, "{apiVersion: v1, kind: Service, "+metadata+"spec: {ports: [{port: 80}]}}")
	c.create(widgets, "{apiVersion: "+widgets.Group+"/v1, kind: Widget, "+metadata+"spec: {a: 1}, status: {b: 2}, data: {c: 3}}")
	startAgent(c, server.URL()).waitReady("")
	wrong := func(objects []consumer.Object) error {
		objects = slices.DeleteFunc(objects, func(o consumer.Object) bool { return o.Metadata.Name != "x" })
		if len(objects) != len(kinds) {
			return fmt.Errorf("%d objects, want %d", len(objects), len(kinds))
		}
		for _, o := range objects {
			m := o.Metadata
			if o.Spec != nil || o.Status != nil || o.Data+o.BinaryData+o.StringData+o.Immutable+o.Type != "" {
				return fmt.Errorf("more than metadata is told: %+v", o)
			}
			if len(m.Labels) != 1 || len(m.Annotations) != 1 || m.Finalizers != `["example.com/wait"]` || m.UID == "" || m.CreationTimestamp == "" || o.Kind == "PartialObjectMetadata" {
				return fmt.Errorf("metadata is missing: %+v", o)
			}
		}
		return nil
	}
	c.eventually("in messages", func() error { return wrong(got.State()) })
	got.Request(t, "informer-store", map[string]string{"Reply": consumer.StoreSubject})
	c.eventually("in the reply", func() error { return wrong(got.Store()) })
	mark := len(got.Messages())
	got.Request(t, "resync-discovery", nil)
	got.WaitFor(t, "everything once more", func() bool { return len(got.Messages()) >= mark+len(kinds) })
	for _, kind := range kinds {
		c.change(kind, "x", "{metadata: {finalizers: null, labels: {a: c}}}")
		c.delete(kind, "x")
	}
	got.WaitFor(t, "that all are gone", func() bool {
		return !slices.ContainsFunc(got.State(), func(o consumer.Object) bool { return o.Metadata.Name == "x" })
	})
	for _, message := range got.Messages() {
		if message.Object.Metadata.Name != "x" || message.EventType == "DELETED" {
			continue
		}
		if o := message.Object; o.Spec != nil || o.Data != "" || o.Type != "" {
			t.Errorf("%s of %s tells more than metadata", message.EventType, o.Kind)
		}
	}
}
