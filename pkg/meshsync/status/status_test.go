package status

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// truth is a status that differs by its list and its number of objects.
func truth(hash, discovered string, objects int64) *v1alpha1.MeshSyncStatus {
	return &v1alpha1.MeshSyncStatus{
		Discovery:  &v1alpha1.MeshSyncDiscoveryStatus{ObservedWatchListHash: hash, Objects: objects},
		Resources:  []v1alpha1.ResourceStatus{{Resource: "pods.v1.", Objects: objects}},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionDiscovered, Reason: discovered}},
	}
}

// play shows a pace the truth once a second, and returns at which seconds it was written.
func play(p *pace, seconds int, at func(second int) *v1alpha1.MeshSyncStatus) (written []int) {
	start := time.Unix(1000, 0)
	for second := range seconds {
		now, status := start.Add(time.Duration(second)*time.Second), at(second)
		if p.due(now, status) {
			p.wrote(now, status)
			written = append(written, second)
		}
	}
	return written
}

func TestPace(t *testing.T) {
	const syncing, all = v1alpha1.ReasonSyncing, v1alpha1.ReasonAllKinds
	tests := map[string]struct {
		seconds int
		at      func(second int) *v1alpha1.MeshSyncStatus
		want    []int
	}{
		"nothing changes: it is looked at again": {300, func(int) *v1alpha1.MeshSyncStatus { return truth("a", all, 1) }, []int{1, 121, 241}},
		"what syncs soon is written when it is": {60, func(s int) *v1alpha1.MeshSyncStatus {
			if s < 4 {
				return truth("a", syncing, int64(s))
			}
			return truth("a", all, 9)
		}, []int{5}},
		"what syncs for long is written while it does": {60, func(s int) *v1alpha1.MeshSyncStatus {
			if s < 30 {
				return truth("a", syncing, int64(s))
			}
			return truth("a", all, 30)
		}, []int{10, 31}},
		"numbers of objects alone wait for a minute":             {200, func(s int) *v1alpha1.MeshSyncStatus { return truth("a", all, int64(s)) }, []int{1, 61, 121, 181}},
		"what changes all the time is written every ten seconds": {42, func(s int) *v1alpha1.MeshSyncStatus { return truth(strconv.Itoa(s), all, 1) }, []int{10, 21, 32}},
		"an edit soon after a write waits for its turn": {30, func(s int) *v1alpha1.MeshSyncStatus {
			if s < 3 {
				return truth("a", all, 1)
			}
			return truth("b", all, 1)
		}, []int{1, 11}},
		"what changes and changes back is no change": {30, func(s int) *v1alpha1.MeshSyncStatus {
			if s == 5 {
				return truth("b", all, 1)
			}
			return truth("a", all, 1)
		}, []int{1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := play(&pace{}, test.seconds, test.at); fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("written at %v, want %v", got, test.want)
			}
		})
	}
}

func TestFailuresAreRetriedEverMoreRarely(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want []int
	}{
		"an API server that is away": {errors.New("connection refused"), []int{1, 11, 31, 71, 131, 191, 251}},
		"no permission":              {apierrors.NewForbidden(schema.GroupResource{}, "", nil), []int{1, 11, 31, 71, 151, 311, 611, 911}},
	} {
		t.Run(name, func(t *testing.T) {
			var p pace
			var tried []int
			for second := range test.want[len(test.want)-1] + 10 {
				now := time.Unix(1000+int64(second), 0)
				if p.due(now, truth("a", v1alpha1.ReasonAllKinds, 1)) {
					p.failed(t.Context(), now, test.err)
					tried = append(tried, second)
				}
			}
			if fmt.Sprint(tried) != fmt.Sprint(test.want) {
				t.Errorf("tried at %v, want %v", tried, test.want)
			}
		})
	}
}

func TestTransitionTimesAreKept(t *testing.T) {
	long := metav1.NewTime(time.Unix(1000, 0))
	before := &v1alpha1.MeshSyncStatus{Conditions: []metav1.Condition{{Type: "Discovered", Status: metav1.ConditionTrue, LastTransitionTime: long}}}
	same, other := metav1.Condition{Type: "Discovered", Status: metav1.ConditionTrue, Reason: "Another"}, metav1.Condition{Type: "Discovered", Status: metav1.ConditionFalse}
	keepTransitionTime(&same, before)
	keepTransitionTime(&other, before)
	if same.LastTransitionTime != long || !other.LastTransitionTime.After(long.Time) {
		t.Errorf("got %v and %v", same.LastTransitionTime, other.LastTransitionTime)
	}
}

func TestWorst(t *testing.T) {
	kinds := []v1alpha1.ResourceStatus{
		{Resource: "b", State: v1alpha1.ResourceSynced, Objects: 9}, {Resource: "a", State: v1alpha1.ResourceSynced},
		{Resource: "c", State: v1alpha1.ResourceNotServed}, {Resource: "d", State: v1alpha1.ResourceForbidden},
		{Resource: "e", State: v1alpha1.ResourceSyncing}, {Resource: "f", State: v1alpha1.ResourceFailed, Message: strings.Repeat("é", 500)},
	}
	for i := range 60 {
		kinds = append(kinds, v1alpha1.ResourceStatus{Resource: fmt.Sprintf("z%02d", i), State: v1alpha1.ResourceSynced})
	}
	got := worst(kinds)
	var order []string
	for _, kind := range got[:6] {
		order = append(order, kind.Resource)
	}
	if strings.Join(order, "") != "fdceab" || len(got) != maxKinds || got[maxKinds-1].Resource != "z43" {
		t.Errorf("got %d, first %s, last %s", len(got), order, got[len(got)-1].Resource)
	}
	if message := got[0].Message; len(message) > maxMessage+len("…") || !strings.HasSuffix(message, "é…") {
		t.Errorf("message is %q", message)
	}
	if kinds[0].Resource != "b" {
		t.Error("what was given has changed")
	}
}

// TestEssence: a change is the agent's own if what counts stays the same.
func TestEssence(t *testing.T) {
	const ready, discovered = "Ready", "Discovered"
	meshSync := func(name, version string, spec any, conditions ...string) []byte {
		all := []any{}
		for _, condition := range conditions {
			all = append(all, map[string]any{"type": condition, "message": version})
		}
		text, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"name": name, "namespace": "meshery", "resourceVersion": version, "managedFields": []string{version}},
			"spec":     spec,
			"status": map[string]any{
				"discovery": map[string]any{"objects": version}, "resources": []any{version}, "conditions": all, "publishing-to": "x",
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	kind := schema.GroupVersionResource{Group: "meshery.io", Version: "v1alpha1", Resource: "meshsyncs"}
	tests := map[string]struct {
		resource string
		old, new []byte
		want     bool
	}{
		"its own status":           {"meshsyncs", meshSync("own", "1", "s", discovered), meshSync("own", "2", "s", discovered), true},
		"its own first condition":  {"meshsyncs", meshSync("own", "1", "s"), meshSync("own", "2", "s", discovered), true},
		"the spec as well":         {"meshsyncs", meshSync("own", "1", "s", discovered), meshSync("own", "2", "t", discovered), false},
		"a condition of another's": {"meshsyncs", meshSync("own", "1", "s", ready), meshSync("own", "2", "s", ready), false},
		"another MeshSync":         {"meshsyncs", meshSync("other", "1", "s", discovered), meshSync("other", "2", "s", discovered), false},
		"what cannot be read":      {"meshsyncs", []byte("{"), []byte("{"), false},
		"another kind":             {"brokers", meshSync("own", "1", "s", discovered), meshSync("own", "2", "s", discovered), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			kind.Resource = test.resource
			essence := Essence("meshery", "own")(kind)
			got := essence != nil && essence(test.old) != nil && bytes.Equal(essence(test.old), essence(test.new))
			if got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
