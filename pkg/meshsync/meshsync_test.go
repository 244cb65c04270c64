package meshsync_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/test/consumer"
	"meshery.io/operator/test/natsserver"
)

func events(messages []consumer.Message) []string {
	var list []string
	for _, message := range messages {
		list = append(list, message.EventType)
	}
	return list
}

// sameJSON compares a part of an object with the text that was published of it.
func sameJSON(t *testing.T, what string, object any, published *consumer.Attribute) {
	t.Helper()
	if object == nil || published == nil {
		if object != nil || published != nil {
			t.Errorf("%s: object has %v, published is %v", what, object, published)
		}
		return
	}
	want, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal(want, &a) != nil || json.Unmarshal([]byte(published.Attribute), &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%s: published %s, want %s", what, published.Attribute, want)
	}
}

// sameObject compares what was published with what the API server has.
func sameObject(t *testing.T, obj *unstructured.Unstructured, published consumer.Object) {
	t.Helper()
	what := obj.GetKind() + "/" + obj.GetName()
	metadata := published.Metadata
	for name, pair := range map[string][2]any{
		"apiVersion":        {obj.GetAPIVersion(), published.APIVersion},
		"uid":               {string(obj.GetUID()), metadata.UID},
		"resourceVersion":   {obj.GetResourceVersion(), metadata.ResourceVersion},
		"generation":        {obj.GetGeneration(), metadata.Generation},
		"labels":            {len(obj.GetLabels()), len(metadata.Labels)},
		"annotations":       {len(obj.GetAnnotations()), len(metadata.Annotations)},
		"creationTimestamp": {obj.GetCreationTimestamp().UTC().Format(time.RFC3339), metadata.CreationTimestamp},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %s is %v, published %v", what, name, pair[0], pair[1])
		}
	}
	for _, label := range metadata.Labels {
		if obj.GetLabels()[label.Key] != label.Value {
			t.Errorf("%s: label %s is %q, published %q", what, label.Key, obj.GetLabels()[label.Key], label.Value)
		}
	}
	sameJSON(t, what+" spec", obj.Object["spec"], published.Spec)
	sameJSON(t, what+" status", obj.Object["status"], published.Status)
}

// TestLifeOfObjects creates, changes and deletes objects of every shape and compares each message with the contract.
func TestLifeOfObjects(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	widgets := c.define("Widget")
	c.writeWatchList("{Resource: pods.v1.}", "{Resource: deployments.v1.apps}", "{Resource: configmaps.v1.}", "{Resource: secrets.v1.}",
		"{Resource: services.v1.}", "{Resource: widgets.v1."+widgets.Group+"}")
	startAgent(c, server.URL()).waitReady("")

	const canary = "canary-value"
	tests := []struct {
		resource      schema.GroupVersionResource
		create, patch string
		changed       func(consumer.Object) bool // the change was published
		check         func(*testing.T, consumer.Message)
	}{
		{
			resource: pods,
			create:   `{apiVersion: v1, kind: Pod, metadata: {name: x, labels: {b: "2", a: "1"}, finalizers: [example.com/wait]}, spec: {containers: [{name: c, image: nginx}]}}`,
			patch:    `{metadata: {labels: {c: "3"}, finalizers: null}}`,
			changed:  func(o consumer.Object) bool { return len(o.Metadata.Labels) == 3 },
			check: func(t *testing.T, m consumer.Message) {
				if m.EventType == "ADDED" && m.Object.Metadata.Finalizers != `["example.com/wait"]` {
					t.Errorf("finalizers are %q", m.Object.Metadata.Finalizers)
				}
			},
		},
		{
			resource: deployments,
			create: `{apiVersion: apps/v1, kind: Deployment, metadata: {name: x, labels: {resource.pattern.meshery.io/id: 11111111-2222-4333-8444-555555555555}},
				spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: nginx, args: ["<&>"]}]}}}}`,
			patch:   `{spec: {replicas: 0, minReadySeconds: 7}}`,
			changed: func(o consumer.Object) bool { return strings.Contains(o.Spec.Attribute, `"minReadySeconds":7`) },
			check: func(t *testing.T, m consumer.Message) {
				if id := m.Object.PatternResource; id == nil || *id != "11111111-2222-4333-8444-555555555555" {
					t.Errorf("pattern_resource is %v", id)
				}
			},
		},
		{
			resource: configMaps,
			create:   `{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {a: "1"}, binaryData: {b: AAEC}}`,
			patch:    `{data: {a: "2"}, immutable: true}`,
			changed:  func(o consumer.Object) bool { return o.Data == `{"a":"2"}` && o.Immutable == "true" },
			check: func(t *testing.T, m consumer.Message) {
				if m.Object.Spec != nil || m.Object.Status != nil || m.Object.BinaryData != `{"b":"AAEC"}` {
					t.Errorf("published %+v", m.Object)
				}
			},
		},
		{
			resource: secrets,
			create: `{apiVersion: v1, kind: Secret, metadata: {name: x, annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"stringData":{"p":"` + canary + `"}}'}},
				stringData: {p: ` + canary + `}}`,
			patch:   `{metadata: {labels: {a: b}}, stringData: {q: ` + canary + `}}`,
			changed: func(o consumer.Object) bool { return len(o.Metadata.Labels) == 1 },
			check: func(t *testing.T, m consumer.Message) {
				text, _ := json.Marshal(m)
				if strings.Contains(string(text), canary) || strings.Contains(string(text), "Y2FuYXJ5") || m.Object.Type != "Opaque" || !strings.Contains(m.Object.Data, `"p":"`) {
					t.Errorf("published %s", text)
				}
			},
		},
		{
			resource: services,
			create:   `{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{name: a, port: 80}, {name: b, port: 443}]}}`,
			patch:    `{metadata: {labels: {a: b}}}`,
			changed:  func(o consumer.Object) bool { return len(o.Metadata.Labels) == 1 },
			check: func(t *testing.T, m consumer.Message) {
				if m.EventType == "DELETED" {
					return // must carry none, which the consumer checks
				}
				var spec struct{ ClusterIP string }
				_ = json.Unmarshal([]byte(m.Object.Spec.Attribute), &spec)
				if want := []string{"https://" + spec.ClusterIP + ":443"}; m.Object.ComponentMetadata == nil || !slices.Equal(m.Object.ComponentMetadata.Capabilities.URLs, want) {
					t.Errorf("component_metadata is %+v, want %v", m.Object.ComponentMetadata, want)
				}
			},
		},
		{
			resource: widgets,
			create:   `{apiVersion: ` + widgets.Group + `/v1, kind: Widget, metadata: {name: x}, spec: {big: 9007199254740993, text: "é 世界 <>&"}}`,
			patch:    `{spec: {big: 9007199254740995}}`,
			changed:  func(o consumer.Object) bool { return strings.Contains(o.Spec.Attribute, `"big":9007199254740995`) },
			check:    func(*testing.T, consumer.Message) {},
		},
	}
	for _, test := range tests {
		t.Run(test.resource.Resource, func(t *testing.T) {
			created := c.create(test.resource, test.create)
			about := func() []consumer.Message { return got.About(created.GetKind(), c.namespace, "x") }
			got.WaitFor(t, "ADDED", func() bool { return len(about()) > 0 })
			if first := about()[0]; first.EventType != "ADDED" {
				t.Errorf("the first message is %s", first.EventType)
			} else if first.Object.Metadata.ResourceVersion == created.GetResourceVersion() {
				sameObject(t, created, first.Object)
			}

			changed := c.change(test.resource, "x", test.patch)
			got.WaitFor(t, "MODIFIED", func() bool { last := about(); return test.changed(last[len(last)-1].Object) })
			for _, message := range about() {
				if message.Object.Metadata.ResourceVersion == changed.GetResourceVersion() {
					sameObject(t, changed, message.Object)
				}
			}
			c.delete(test.resource, "x")
			got.WaitFor(t, "DELETED", func() bool { last := about(); return last[len(last)-1].EventType == "DELETED" })

			list := events(about())
			if slices.Index(list, "DELETED") != len(list)-1 || slices.Contains(list[1:], "ADDED") {
				t.Errorf("events are %v", list)
			}
			for _, message := range about() {
				test.check(t, message)
				if message.Object.Metadata.UID != string(created.GetUID()) {
					t.Errorf("%s of uid %s, want %s", message.EventType, message.Object.Metadata.UID, created.GetUID())
				}
			}
		})
	}
	kubeSystem, err := c.client.Resource(namespaces).Get(t.Context(), "kube-system", getOptions)
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range got.Messages() {
		if message.Object.ClusterID != string(kubeSystem.GetUID()) {
			t.Fatalf("cluster_id is %s, want %s", message.Object.ClusterID, kubeSystem.GetUID())
		}
		if message.Object.Metadata.Namespace != c.namespace {
			t.Errorf("%s of another namespace was published", message.Object.Kind)
		}
	}
}

func TestRecreatedObjectIsDeletedFirst(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	c.writeWatchList("{Resource: configmaps.v1.}")
	startAgent(c, server.URL()).waitReady("")
	const text = `{apiVersion: v1, kind: ConfigMap, metadata: {name: again}}`
	var uids []string
	for range 20 {
		uids = append(uids, string(c.create(configMaps, text).GetUID()))
		c.delete(configMaps, "again")
	}
	last := string(c.create(configMaps, text).GetUID())
	about := func() []consumer.Message { return got.About("ConfigMap", c.namespace, "again") }
	got.WaitFor(t, "the last one", func() bool { list := about(); return len(list) > 0 && list[len(list)-1].Object.Metadata.UID == last })
	alive := ""
	for _, message := range about() {
		uid := message.Object.Metadata.UID
		switch {
		case message.EventType == "DELETED":
			alive = ""
		case alive != "" && alive != uid:
			t.Errorf("%s of uid %s while %s was not reported as deleted", message.EventType, uid, alive)
		default:
			alive = uid
		}
		if uid != last && !slices.Contains(uids, uid) {
			t.Errorf("uid %s never was", uid)
		}
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	c.writeWatchList("{Resource: secrets.v1.}", "{Resource: services.v1.}")
	for i := range 11 {
		c.create(secrets, fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: s%d}, stringData: {a: canary}}", i))
	}
	c.create(services, "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 80}]}}")
	agent := startAgent(c, server.URL())
	agent.waitReady("")
	got.WaitFor(t, "all objects", func() bool { return len(got.State()) == 12 })

	t.Run("informer-store", func(t *testing.T) {
		got.Request(t, "informer-store", map[string]string{"Reply": consumer.StoreSubject})
		got.WaitFor(t, "the store", func() bool { return len(got.Store()) >= 12 })
		keys := func(objects []consumer.Object) []string {
			var list []string
			for _, object := range objects {
				list = append(list, object.Key()+object.Metadata.ResourceVersion)
			}
			slices.Sort(list)
			return list
		}
		if !slices.Equal(keys(got.Store()), keys(got.State())) {
			t.Errorf("the store has %d objects, the stream %d", len(got.Store()), len(got.State()))
		}
		for _, object := range got.Store() {
			if strings.Contains(object.Data, "Y2FuYXJ5") {
				t.Error("a secret value leaves the cluster")
			}
		}
	})
	t.Run("resync-discovery", func(t *testing.T) {
		mark := len(got.Messages())
		for range 3 {
			got.Request(t, "resync-discovery", nil)
		}
		got.WaitFor(t, "everything again", func() bool { return len(got.Messages()) >= mark+12 })
		for _, message := range got.Messages()[mark:] {
			if message.EventType != "ADDED" {
				t.Errorf("%s of %s", message.EventType, message.Object.Metadata.Name)
			}
		}
	})
	t.Run("odd requests", func(t *testing.T) {
		got.Request(t, "nonsense", nil)
		got.Request(t, "informer-store", "nonsense")
		got.Request(t, "exec-request", map[string]any{})
		c.eventually("they are counted", func() error {
			for series, want := range map[string]string{`{entity="",result="unknown"}`: "2", `{entity="informer-store",result="failed"}`: "1"} {
				if n := agent.metric("meshery_meshsync_requests_total" + series); n != want {
					return fmt.Errorf("%s is %q, want %s", series, n, want)
				}
			}
			return nil
		})
	})
}

// TestBrokerOutage kills the broker and the way to it under changes, again and again. The consumer is back before the agent each
// time, as a plain subscriber must be to miss nothing; then it must end with exactly what is in the cluster.
func TestBrokerOutage(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	gate := natsserver.NewGate(t, server)
	c.writeWatchList("{Resource: secrets.v1.}", "{Resource: services.v1.}")
	agent := startAgent(c, gate.URL())
	agent.waitReady("")

	stop := churn(c)
	for range 3 {
		got.WaitFor(t, "some messages", moreMessages(got, 50))
		server.Kill()
		gate.Close()
		agent.waitReady("not connected to broker")
		server.Restart(t)
		got.WaitConnected(t)
		gate.Open()
		agent.waitReady("")
	}
	for range 5 {
		got.WaitFor(t, "some messages", moreMessages(got, 10))
		gate.Swallow()
		c.create(services, "{apiVersion: v1, kind: Service, metadata: {generateName: x}, spec: {ports: [{port: 80}]}}") // sent into the void
		gate.Close()
		gate.Open()
	}
	changes := stop()
	c.eventually("the consumer has what is in the cluster", func() error {
		return errors.Join(difference(c.list(secrets), got.State(), "Secret"), difference(c.list(services), got.State(), "Service"))
	})
	t.Logf("%d changes, %d messages", changes, len(got.Messages()))
	if n := agent.metric(`meshery_meshsync_changes_dropped_total{reason="too_large"}`); n != "0" {
		t.Errorf("dropped %q", n)
	}
}

// churn creates, changes, deletes and recreates Secrets as fast as the API server takes it, until stop is called, which returns the
// number of changes. Each Secret is left alone soon, so that a lost message is not made good by a later one.
func churn(c *cluster) (stop func() int) {
	ctx, cancel := context.WithCancel(c.t.Context())
	client, done := c.in(secrets), make(chan int)
	name := func(i int) string { return fmt.Sprint("s", i) }
	create := func(i int) {
		_, _ = client.Create(ctx, object("{apiVersion: v1, kind: Secret, metadata: {name: "+name(i)+"}}"), createOptions)
	}
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			create(n)
			_, _ = client.Patch(ctx, name(n-2), "application/merge-patch+json", []byte(`{"metadata":{"labels":{"changed":"yes"}}}`), patchOptions)
			switch n % 3 {
			case 0:
				_ = client.Delete(ctx, name(n-4), deleteOptions)
			case 1:
				_ = client.Delete(ctx, name(n-4), deleteOptions)
				create(n - 4)
			}
		}
		done <- n
	}()
	return func() int {
		cancel()
		return <-done
	}
}

func moreMessages(got *consumer.Consumer, n int) func() bool {
	mark := len(got.Messages())
	return func() bool { return len(got.Messages()) >= mark+n }
}

// difference says what a consumer's state lacks or has too much or too old.
func difference(cluster []unstructured.Unstructured, state []consumer.Object, kind string) error {
	versions := map[string]string{}
	for _, object := range state {
		if object.Kind == kind {
			versions[object.Metadata.Name] = object.Metadata.UID + "/" + object.Metadata.ResourceVersion
		}
	}
	for _, obj := range cluster {
		if want := string(obj.GetUID()) + "/" + obj.GetResourceVersion(); versions[obj.GetName()] != want {
			return fmt.Errorf("%s is %q, want %s", obj.GetName(), versions[obj.GetName()], want)
		}
		delete(versions, obj.GetName())
	}
	if len(versions) > 0 {
		return fmt.Errorf("ghosts: %v", versions)
	}
	return nil
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	c, server, _ := scene(t)
	server.Kill()
	c.writeConfigMap(map[string]string{"whitelist": "nonsense"}, nil)
	agent := startAgent(c, server.URL())
	agent.waitReady("not connected to broker nats://" + server.Addr)
	agent.waitReady("whitelist is not a JSON array")
	if status, _ := agent.get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d", status)
	}
	if _, body := agent.get("/readyz"); strings.Contains(body, "s3cret") {
		t.Errorf("/readyz shows the token: %s", body)
	}
	c.writeWatchList("{Resource: pods.v1.}")
	server.Restart(t)
	agent.waitReady("")
	server.Kill()
	agent.waitReady("not connected to broker")
	server.Restart(t)
	agent.waitReady("")
}

func TestLargeObjectsAreCountedAndDoNotHoldUpTheRest(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t, natsserver.Options{MaxPayload: 4096})
	c, got := newCluster(t), consumer.Connect(t, server.URL())
	c.writeWatchList("{Resource: configmaps.v1.}")
	c.create(configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: large}, data: {a: "+strings.Repeat("x", 5000)+"}}")
	agent := startAgent(c, server.URL())
	agent.waitReady("")
	c.create(configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: small}}")
	got.WaitFor(t, "the small one", func() bool { return len(got.About("ConfigMap", c.namespace, "small")) > 0 })
	agent.waitIdle()
	large := got.About("ConfigMap", c.namespace, "large")
	if len(large) != 1 || large[0].Object.Data != "" || !slices.Equal(large[0].Object.ComponentMetadata.Trimmed, []string{"data"}) {
		t.Errorf("of the large one it was told: %+v", large)
	}
	if n := agent.metric("meshery_meshsync_changes_trimmed_total"); n != "1" {
		t.Errorf("trimmed %q", n)
	}
	got.Request(t, "informer-store", map[string]string{"Reply": consumer.StoreSubject})
	got.WaitFor(t, "the store without the large one", func() bool {
		return slices.ContainsFunc(got.Store(), func(o consumer.Object) bool { return o.Metadata.Name == "small" })
	})
	if err := agent.metric("meshery_meshsync_broker_disconnects_total"); err != "0" {
		t.Errorf("%s disconnects", err)
	}
}

// TestNothingIsLeftAtTheEnd stops an agent right after a change: it must be published, and nothing may keep running. It is not parallel:
// it counts goroutines.
func TestNothingIsLeftAtTheEnd(t *testing.T) {
	c, server, got := scene(t)
	c.writeWatchList("{Resource: secrets.v1.}", "{Resource: configmaps.v1.}", "{Resource: pods.v1.}")
	before := runtime.NumGoroutine()
	agent := startAgent(c, server.URL())
	agent.waitReady("")
	c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: x}}")
	got.WaitFor(t, "the object", func() bool { return len(got.About("Secret", c.namespace, "x")) > 0 })
	began := time.Now()
	agent.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	http.DefaultClient.CloseIdleConnections()
	c.eventually("goroutines end", func() error {
		if n := runtime.NumGoroutine(); n > before {
			buffer := make([]byte, 1<<20)
			return fmt.Errorf("%d goroutines, %d before:\n%s", n, before, buffer[:runtime.Stack(buffer, true)])
		}
		return nil
	})
}

// TestWhatWasSeenIsPublishedBeforeTheEnd stops an agent that still has some seconds' work to do.
func TestWhatWasSeenIsPublishedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	const secretsThere, perSecond = 500, 100
	c, server, got := scene(t)
	c.writeWatchList("{Resource: secrets.v1.}")
	for range secretsThere { // before the agent starts, so that it sees all of them at once, however long this takes
		c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {generateName: x}}")
	}
	agent := startAgent(c, server.URL(), func(o *meshsync.Options) { o.MessagesPerSecond = perSecond })
	c.eventually("the agent has seen them", func() error {
		if n := agent.metric(`meshery_meshsync_changes_seen_total{event="ADDED",resource="secrets.v1."}`); n != strconv.Itoa(secretsThere) {
			return fmt.Errorf("%q seen", n)
		}
		return nil
	})
	if n := agent.metric("meshery_meshsync_pending_objects"); n == "0" {
		t.Error("nothing was left to publish")
	}
	agent.stop()
	got.WaitFor(t, "all objects", func() bool { return len(got.State()) == secretsThere })
}

func TestStopsAtOnceWithoutABroker(t *testing.T) {
	t.Parallel()
	c, server, _ := scene(t)
	c.writeWatchList("{Resource: secrets.v1.}")
	agent := startAgent(c, server.URL())
	agent.waitReady("")
	server.Kill()
	agent.waitReady("not connected to broker")
	c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: x}}")
	c.eventually("the agent has seen it", func() error {
		if n := agent.metric("meshery_meshsync_pending_objects"); n != "1" {
			return fmt.Errorf("%q pending", n)
		}
		return nil
	})
	began := time.Now()
	agent.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

// TestRefusedPublishIsOwed has a broker that takes nothing on the core subject until it is set up right.
func TestRefusedPublishIsOwed(t *testing.T) {
	t.Parallel()
	const core = "meshery.meshsync.core"
	server := natsserver.Start(t, natsserver.Options{DenyPublish: core})
	c, got, gate := newCluster(t), consumer.Connect(t, server.URL()), natsserver.NewGate(t, server)
	c.writeWatchList("{Resource: secrets.v1.}")
	c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: x}}")
	agent := startAgent(c, gate.URL())
	agent.waitReady(`publishing is held up: not confirmed by the broker: nats: permissions violation: Permissions Violation for Publish to "` + core)
	if n := agent.metric(`meshery_meshsync_changes_published_total{event="ADDED"}`); n != "0" {
		t.Errorf("%q published", n)
	}
	gate.Close()
	server.Kill()
	server.Configure(t, natsserver.Options{})
	server.Restart(t)
	got.WaitConnected(t)
	gate.Open()
	agent.waitReady("")
	got.WaitFor(t, "the object", func() bool { return len(got.About("Secret", c.namespace, "x")) == 1 })
}

func TestStopAfter(t *testing.T) {
	t.Parallel()
	c, server, _ := scene(t)
	options := meshsync.DefaultOptions()
	options.BrokerURL, options.Kubeconfig, options.HTTPAddr = server.URL(), controlPlane.Kubeconfig, freeAddr(t)
	options.OutputNamespaces, options.StopAfter = []string{c.namespace}, 2*time.Second
	if err := meshsync.Run(t.Context(), options); err != nil {
		t.Error(err)
	}
}

func TestPortInUseIsAnError(t *testing.T) {
	t.Parallel()
	_, server, _ := scene(t)
	options := meshsync.DefaultOptions()
	options.BrokerURL, options.Kubeconfig, options.HTTPAddr = server.URL(), controlPlane.Kubeconfig, server.Addr
	if err := meshsync.Run(t.Context(), options); err == nil || !strings.Contains(err.Error(), "--http-addr="+server.Addr) {
		t.Errorf("got %v, want the flag", err)
	}
}

func TestFileOutput(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: canary}}")
	c.create(services, "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 80}]}}")
	list := filepath.Join(t.TempDir(), "list.yaml")
	if err := os.WriteFile(list, []byte("whitelist:\n- Resource: secrets.v1.\n- Resource: services.v1.\n- namespaces.v1.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	options := meshsync.DefaultOptions()
	options.Output, options.Kubeconfig, options.WatchListFile = meshsync.OutputFile, controlPlane.Kubeconfig, list
	options.OutputFile = filepath.Join(t.TempDir(), "out.yaml")
	options.OutputNamespaces, options.OutputResources = []string{c.namespace}, []string{"secret", "services", "Namespaces"}
	if err := meshsync.Run(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(options.OutputFile)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for document := range strings.SplitSeq(strings.TrimPrefix(string(text), "---\n"), "\n---\n") {
		obj := object(document)
		kinds[obj.GetKind()]++
		if len(obj.GetManagedFields()) > 0 || obj.GetKind() != "Namespace" && obj.GetNamespace() != c.namespace {
			t.Errorf("written: %s", document)
		}
	}
	if kinds["Secret"] != 1 || kinds["Service"] != 1 || kinds["Namespace"] < 4 {
		t.Errorf("written: %v", kinds)
	}
	if strings.Contains(string(text), "Y2FuYXJ5") || !strings.Contains(string(text), "UkVEQUNURUQ=") {
		t.Errorf("secret values are not redacted: %s", text)
	}
}
