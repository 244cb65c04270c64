package meshsync_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/test/natsserver"
)

var meshSyncs = schema.GroupVersionResource{Group: "meshery.io", Version: "v1alpha1", Resource: "meshsyncs"}

// createMeshSync makes the MeshSync that the test's agent works for.
func (c *cluster) createMeshSync() {
	c.t.Helper()
	c.create(meshSyncs, "{apiVersion: meshery.io/v1alpha1, kind: MeshSync, metadata: {name: "+agentName+"}}")
}

func (c *cluster) meshSync() *unstructured.Unstructured {
	c.t.Helper()
	obj, err := c.in(meshSyncs).Get(c.t.Context(), agentName, getOptions)
	if err != nil {
		c.t.Fatal(err)
	}
	return obj
}

// status is what the MeshSync says of itself.
func (c *cluster) status() v1alpha1.MeshSyncStatus {
	c.t.Helper()
	var meshSync v1alpha1.MeshSync
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(c.meshSync().Object, &meshSync); err != nil {
		c.t.Fatal(err)
	}
	return meshSync.Status
}

// statusWrites returns the agent's writes of status so far.
func (c *cluster) statusWrites() []audited {
	c.t.Helper()
	var writes []audited
	for _, one := range c.requests() {
		if one.ObjectRef.Resource == meshSyncs.Resource && one.Verb == "patch" {
			writes = append(writes, one)
		}
	}
	return writes
}

// said puts the conditions and the kinds of a status into words: "WatchListValid True Understood: …", "secrets.v1. Synced 2".
func said(status v1alpha1.MeshSyncStatus) []string {
	var lines []string
	for _, name := range []string{v1alpha1.ConditionWatchListValid, v1alpha1.ConditionDiscovered} {
		if condition := meta.FindStatusCondition(status.Conditions, name); condition != nil {
			lines = append(lines, fmt.Sprintf("%s %s %s: %s", name, condition.Status, condition.Reason, condition.Message))
		}
	}
	if d := status.Discovery; d != nil {
		lines = append(lines, fmt.Sprintf("generation %d, %d of %d kinds, %d objects", d.Generation, d.KindsSynced, d.KindsWanted, d.Objects))
	}
	for _, kind := range status.Resources {
		line := fmt.Sprintf("%s %s %d", kind.Resource, kind.State, kind.Objects)
		if kind.Message != "" {
			line += ": " + kind.Message
		}
		lines = append(lines, line)
	}
	return lines
}

// saysEventually waits until status says exactly this. NAMESPACE stands for the test's.
func (c *cluster) saysEventually(want ...string) {
	c.t.Helper()
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "NAMESPACE", c.namespace)
	}
	poll(c.t, func() error {
		if have := said(c.status()); !slices.Equal(have, want) {
			return fmt.Errorf("status says\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}

const (
	understood = "WatchListValid True Understood: Every entry of the watch-list is used"
	allSeen    = "Discovered True AllKinds: 2 of 2 kinds were seen"
)

// TestStatusTellsTheTruth has two Secrets and a Service in its namespace.
func TestStatusTellsTheTruth(t *testing.T) {
	t.Parallel()
	many := make([]string, 60)
	for i := range many {
		many[i] = fmt.Sprintf("{Resource: x%02d.v1.example.com}", i)
	}
	tests := map[string]struct {
		whitelist   string
		annotations map[string]string
		rules       []string // of an agent that may not read everything
		want        []string
	}{
		"all well": {
			whitelist: inJSON("[{Resource: secrets.v1.}, services.v1.]"),
			want: []string{understood, allSeen,
				"generation 7, 2 of 2 kinds, 3 objects", "secrets.v1. Synced 2", "services.v1. Synced 1"},
		},
		"other forms": {
			whitelist: inJSON("[Secret, {Resource: svc}]"),
			want: []string{"WatchListValid True NotCanonical: whitelist entry 1 (Secret): taken as secrets.v1., which is how it should be written; " +
				"whitelist entry 2 (svc): taken as services.v1., which is how it should be written", allSeen,
				"generation 7, 2 of 2 kinds, 3 objects", "secrets.v1. Synced 2", "services.v1. Synced 1"},
		},
		"a bad entry": {
			whitelist: inJSON("[{Resource: secrets.v1.}, {Resource: services.v1., Events: [CHANGED]}, {Resource: services.v1.}, svc]"),
			want: []string{`WatchListValid False EntriesSkipped: Not used: whitelist entry 2 (services.v1.): known events are ADDED, MODIFIED and DELETED, ` +
				`but not "CHANGED". Used, but should be written otherwise: ` +
				"whitelist entry 4 (svc): taken as services.v1., which is how it should be written", allSeen,
				"generation 7, 2 of 2 kinds, 3 objects", "secrets.v1. Synced 2", "services.v1. Synced 1"},
		},
		"the operator could not read the list": {
			whitelist:   inJSON("[{Resource: secrets.v1.}, services.v1.]"),
			annotations: map[string]string{meshery.AnnotationWatchListError: "whitelist is not a JSON array"},
			want: []string{"WatchListValid False Unreadable: whitelist is not a JSON array; the last good list stays in force", allSeen,
				"generation 0, 2 of 2 kinds, 3 objects", "secrets.v1. Synced 2", "services.v1. Synced 1"},
		},
		"no list that can be read": {
			whitelist: "nonsense",
			want: []string{"WatchListValid False Unreadable: read watch-list from ConfigMap NAMESPACE/agent-watch-list: whitelist is not a JSON array such as " +
				`[{"Resource":"pods.v1.","Events":["ADDED","DELETED"]}]: line 1: invalid character 'o' in literal null (expecting 'u'); nothing is watched`,
				"Discovered False Syncing: The watch-list has not been read yet", "generation 0, 0 of 0 kinds, 0 objects"},
		},
		"a kind that may not be read": {
			whitelist: inJSON("[{Resource: secrets.v1.}, services.v1.]"),
			rules:     []string{mayRead(services)},
			want: []string{understood, "Discovered True SomeKindsMissing: 1 of 2 kinds were seen; may not be read: secrets.v1.",
				"generation 7, 1 of 2 kinds, 1 objects", "secrets.v1. Forbidden 0: whitelist entry 1: may not list it in namespace NAMESPACE", "services.v1. Synced 1"},
		},
		"a kind that is not served": {
			whitelist: inJSON("[{Resource: secrets.v1.}, things.v1.example.com]"),
			want: []string{understood, "Discovered True SomeKindsMissing: 1 of 2 kinds were seen; not served: things.v1.example.com",
				"generation 7, 1 of 2 kinds, 2 objects", "things.v1.example.com NotServed 0: whitelist entry 2: not served (yet)", "secrets.v1. Synced 2"},
		},
		"a kind that cannot be listed like this": {
			whitelist: inJSON("[{Resource: secrets.v1.}, {Resource: services.v1., fieldSelector: spec.nothing=1}]"),
			want: []string{understood, "Discovered False KindsFailing: 1 of 2 kinds were seen; cannot be watched at the moment: services.v1.",
				"generation 7, 1 of 2 kinds, 2 objects", `services.v1. Failed 0: whitelist entry 2: field label not supported: spec.nothing`, "secrets.v1. Synced 2"},
		},
		"more kinds than are named": {
			whitelist: inJSON("[{Resource: secrets.v1.}, " + strings.Join(many, ", ") + "]"),
			want: append([]string{understood, "Discovered True SomeKindsMissing: 1 of 61 kinds were seen; not served: " + firstTwenty() + ", and 40 more",
				"generation 7, 1 of 61 kinds, 2 objects"}, firstFifty()...),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, server := newCluster(t), natsserver.Start(t, natsserver.Options{})
			c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: a}}")
			c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: b}}")
			c.create(services, "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}")
			c.createMeshSync()
			annotations := map[string]string{meshery.AnnotationGeneration: "7"}
			maps.Copy(annotations, test.annotations)
			c.writeConfigMap(map[string]string{"whitelist": test.whitelist}, annotations)
			startAgent(c, server.URL(), func(o *meshsync.Options) {
				if test.rules != nil {
					writeStatus := "{apiGroups: [meshery.io], resources: [meshsyncs, meshsyncs/status], verbs: [get, patch]}"
					o.Kubeconfig = limitedKubeconfig(c, append(test.rules, mayRead(configMaps), mayRead(namespaces), writeStatus)...)
				}
			})
			c.saysEventually(test.want...)
			for _, condition := range c.status().Conditions {
				if condition.ObservedGeneration != 7 || condition.LastTransitionTime.IsZero() {
					t.Errorf("condition is %+v", condition)
				}
			}
		})
	}
}

func firstTwenty() string {
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("x%02d.v1.example.com", i))
	}
	return strings.Join(names, ", ")
}

func firstFifty() []string {
	var lines []string
	for i := range 50 {
		lines = append(lines, fmt.Sprintf("x%02d.v1.example.com NotServed 0: whitelist entry %d: not served (yet)", i, i+2))
	}
	return lines
}

// TestStatusOfAnEditThatIsNotJSON breaks the watch-list while the agent runs, and mends it.
func TestStatusOfAnEditThatIsNotJSON(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	c.createMeshSync()
	list := watchList{white: []string{"{Resource: services.v1.}"}}
	startStory(t, c, server.URL(), got, list)
	seen := []string{"Discovered True AllKinds: 2 of 2 kinds were seen", "generation 0, 2 of 2 kinds, 0 objects", "secrets.v1. Synced 0", "services.v1. Synced 0"}
	c.saysEventually(append([]string{understood}, seen...)...)
	hash := c.status().Discovery.ObservedWatchListHash
	if len(hash) != 12 {
		t.Errorf("hash is %q", hash)
	}
	c.writeConfigMap(map[string]string{"whitelist": "["}, nil)
	c.saysEventually(append([]string{"WatchListValid False Unreadable: read watch-list from ConfigMap NAMESPACE/agent-watch-list: whitelist is not a JSON array such as " +
		`[{"Resource":"pods.v1.","Events":["ADDED","DELETED"]}]: line 1: unexpected end of JSON input; the last good list stays in force`}, seen...)...)
	c.create(services, "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}")
	got.WaitFor(t, "the last good list runs on", func() bool { return len(got.About("Service", c.namespace, "s")) > 0 })
	if now := c.status().Discovery.ObservedWatchListHash; now != hash {
		t.Errorf("the hash of the list in force was %s and is %s", hash, now)
	}
}

// TestADeletedListStaysInForce deletes the ConfigMap, as happens with its MeshSync and in the hands of people.
func TestADeletedListStaysInForce(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	c.createMeshSync()
	story := startStory(t, c, server.URL(), got, watchList{
		white: []string{"{Resource: services.v1.}"}, annotations: map[string]string{meshery.AnnotationGeneration: "7"},
	})
	seen := []string{"Discovered True AllKinds: 2 of 2 kinds were seen", "generation 7, 2 of 2 kinds, 0 objects", "secrets.v1. Synced 0", "services.v1. Synced 0"}
	c.saysEventually(append([]string{understood}, seen...)...)
	requests := c.allWatchRequests()
	c.delete(configMaps, "agent-watch-list")
	c.saysEventually(append([]string{"WatchListValid False Unreadable: ConfigMap NAMESPACE/agent-watch-list with the watch-list was deleted; the last good list stays in force"}, seen...)...)
	c.create(services, "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}")
	story.expect("the last list runs on", "ADDED Service s")
	if now := c.allWatchRequests(); now != requests {
		t.Errorf("%d requests to list or watch, and %d after it was deleted", requests, now)
	}
}

// TestStatusThatIsThereIsNotWrittenAgain has an agent that is started anew.
func TestStatusThatIsThereIsNotWrittenAgain(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	c.createMeshSync()
	story := startStory(t, c, server.URL(), got, watchList{white: []string{"{Resource: services.v1.}"}})
	c.saysEventually(understood, allSeen, "generation 0, 2 of 2 kinds, 0 objects", "secrets.v1. Synced 0", "services.v1. Synced 0")
	before := c.status()
	story.agent.stop()
	reads := func() int {
		return c.count(func(r audited) bool { return r.Verb == "get" && r.ObjectRef.Resource == meshSyncs.Resource })
	}
	looked := reads()
	startAgent(c, server.URL())
	c.eventually("the next agent has looked", func() error {
		if reads() == looked {
			return errors.New("it has not")
		}
		return nil
	})
	if writes := c.statusWrites(); len(writes) != 1 || !reflect.DeepEqual(c.status(), before) {
		t.Errorf("%d writes; status was %+v and is %+v", len(writes), before, c.status())
	}
}

// TestStatusHasItsOwnFields has the operator write what is its own.
func TestStatusHasItsOwnFields(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	c.createMeshSync()
	operators := object(`{apiVersion: meshery.io/v1alpha1, kind: MeshSync, metadata: {name: agent}, status: {publishing-to: "broker:4222", conditions: [
		{type: Ready, status: "True", reason: MeshSyncDeployed, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}]}}`)
	if _, err := c.in(meshSyncs).ApplyStatus(t.Context(), agentName, operators, metav1.ApplyOptions{FieldManager: "meshery-operator"}); err != nil {
		t.Fatal(err)
	}
	startStory(t, c, server.URL(), got, watchList{})
	c.eventually("the agent has written", func() error {
		if c.status().Discovery == nil {
			return fmt.Errorf("status is %+v", c.status())
		}
		return nil
	})
	if status := c.status(); status.PublishingTo != "broker:4222" || meta.FindStatusCondition(status.Conditions, "Ready") == nil || len(status.Conditions) != 5 {
		t.Errorf("status is %+v", status)
	}
	for _, managed := range c.meshSync().GetManagedFields() {
		if managed.Manager != "meshsync" {
			continue
		}
		if managed.Operation != metav1.ManagedFieldsOperationApply || managed.Subresource != "status" {
			t.Errorf("managed by %s of %q", managed.Operation, managed.Subresource)
		}
		want := []string{
			"status.conditions[Discovered]", "status.conditions[Publishing]", "status.conditions[StateStored]", "status.conditions[WatchListValid]",
			"status.discovery", "status.publishing", "status.resources",
		}
		if have := fieldsOf(t, managed.FieldsV1.GetRawBytes()); !slices.Equal(have, want) {
			t.Errorf("fields are %v, want %v", have, want)
		}
		return
	}
	t.Errorf("nothing is managed by the agent: %v", c.meshSync().GetManagedFields())
}

// fieldsOf names what of an object somebody manages, one level below status, and conditions by their type.
func fieldsOf(t *testing.T, raw []byte) []string {
	t.Helper()
	var owned map[string]map[string]json.RawMessage
	if err := json.Unmarshal(raw, &owned); err != nil {
		t.Fatal(err)
	}
	var names []string
	for top, fields := range owned {
		for field, below := range fields {
			name := strings.TrimPrefix(top, "f:") + "." + strings.TrimPrefix(field, "f:")
			if field != "f:conditions" {
				names = append(names, name)
				continue
			}
			var conditions map[string]json.RawMessage
			if err := json.Unmarshal(below, &conditions); err != nil {
				t.Fatal(err)
			}
			for condition := range conditions {
				names = append(names, name+"["+strings.TrimSuffix(strings.TrimPrefix(condition, `k:{"type":"`), `"}`)+"]")
			}
		}
	}
	slices.Sort(names)
	return names
}

// TestStatusIsWrittenSparingly edits the watch-list ten times in a row.
func TestStatusIsWrittenSparingly(t *testing.T) {
	t.Parallel()
	c, server, got := scene(t)
	widgets := c.define("Widget")
	c.add(widgets, "Widget", "name: w")
	c.createMeshSync()
	story := startStory(t, c, server.URL(), got, watchList{})
	c.saysEventually(understood, "Discovered True AllKinds: 1 of 1 kinds were seen", "generation 0, 1 of 1 kinds, 0 objects", "secrets.v1. Synced 0")
	began := time.Now()
	for i := 1; i <= 10; i++ {
		list := watchList{annotations: map[string]string{meshery.AnnotationGeneration: strconv.Itoa(i)}}
		if i%2 == 1 {
			list.white = []string{entry(widgets)}
			story.edit(list)
			story.expect("the kind added", "ADDED Widget w")
		} else {
			story.edit(list)
			story.expect("the kind removed", "DELETED Widget w (WatchListChanged)")
		}
	}
	took := time.Since(began)
	c.eventually("status is of the last edit", func() error {
		if d := c.status().Discovery; d.Generation != 10 {
			return fmt.Errorf("status.discovery is %+v", d)
		}
		return nil
	})
	writes := c.statusWrites()
	t.Logf("10 edits within %s: %d writes of status from the start until it is of the last edit, %s after that", took.Round(10*time.Millisecond),
		len(writes), time.Since(began.Add(took)).Round(100*time.Millisecond))
	if len(writes) > 2 {
		t.Errorf("%d writes of status", len(writes))
	}
	for i := 1; i < len(writes); i++ {
		if gap := writes[i].RequestReceivedTimestamp.Sub(writes[i-1].RequestReceivedTimestamp); gap < 9900*time.Millisecond {
			t.Errorf("two writes within %s", gap)
		}
	}
}
