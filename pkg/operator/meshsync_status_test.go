package operator

import (
	"context"
	"errors"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	mesheryac "meshery.io/operator/pkg/generated/applyconfiguration/meshery/v1alpha1"
	"meshery.io/operator/pkg/generated/clientset/versioned"
	"meshery.io/operator/test/controlplane"
)

// reportAsAgent writes status as an agent does: with its own account and field manager.
func reportAsAgent(t *testing.T, namespace string, synced int32, objects int64) {
	t.Helper()
	agent, err := versioned.NewForConfig(as(t, namespace, meshery.MeshSyncName))
	if err != nil {
		t.Fatal(err)
	}
	now := metav1.Now().Rfc3339Copy()
	conditions := []metav1.Condition{
		{Type: v1alpha1.ConditionWatchListValid, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonWatchListUnderstood, Message: "m", LastTransitionTime: now},
		{Type: v1alpha1.ConditionDiscovered, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSyncing, Message: "m", LastTransitionTime: now},
		{Type: v1alpha1.ConditionPublishing, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAcknowledged, Message: "m", LastTransitionTime: now},
		{Type: v1alpha1.ConditionStateStored, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonStreamRefuses, Message: "m", LastTransitionTime: now},
	}
	status := mesheryac.MeshSyncStatus().
		WithDiscovery(mesheryac.MeshSyncDiscoveryStatus().WithKindsWanted(23).WithKindsSynced(synced).WithObjects(objects).WithGeneration(1)).
		WithResources(mesheryac.ResourceStatus().WithResource("pods.v1.").WithState(v1alpha1.ResourceForbidden).WithObjects(0).WithMessage("m")).
		WithPublishing(mesheryac.MeshSyncPublishingStatus().WithMode(v1alpha1.PublishingStream).WithStream("s").
			WithTrimmedObjects(mesheryac.TrimmedObject().WithResource("configmaps.v1.").WithNamespace("n").WithName("c").WithWithout("status"))).
		WithConditions(applyConditions(conditions)...)
	_, err = agent.MesheryV1alpha1().MeshSyncs(namespace).ApplyStatus(t.Context(), mesheryac.MeshSync(meshery.MeshSyncName, namespace).WithStatus(status),
		metav1.ApplyOptions{FieldManager: "meshsync", Force: true})
	if err != nil {
		t.Fatal(err)
	}
}

var agentsConditions = []string{v1alpha1.ConditionWatchListValid, v1alpha1.ConditionDiscovered, v1alpha1.ConditionPublishing, v1alpha1.ConditionStateStored}

// agentsPart is what of a status the agent writes.
func agentsPart(status v1alpha1.MeshSyncStatus) v1alpha1.MeshSyncStatus {
	part := v1alpha1.MeshSyncStatus{Discovery: status.Discovery, Resources: status.Resources, Publishing: status.Publishing}
	for _, condition := range status.Conditions {
		if slices.Contains(agentsConditions, condition.Type) {
			part.Conditions = append(part.Conditions, condition)
		}
	}
	return part
}

// Operator and agent write one status, each its own part: neither undoes what the other says, nor answers it.
func TestOperatorAndAgentShareTheStatus(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	newNamedMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.MeshSyncSpec{Broker: v1alpha1.MeshSyncBroker{Custom: v1alpha1.CustomBroker{URL: "nats://b"}}})
	measure, read := measured(t)
	stop := startOperator(t, namespace, measure)
	live := func() *v1alpha1.MeshSync {
		t.Helper()
		meshSync, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(t.Context(), meshery.MeshSyncName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return meshSync
	}
	wantPods := func(text string) {
		t.Helper()
		eventually(t, "the operator has seen "+text, func(context.Context) error {
			got := wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady).Message
			if !strings.Contains(got, text) {
				return errors.New(got)
			}
			return nil
		})
	}
	syncs := func(ctx context.Context) float64 {
		t.Helper()
		number, err := read(ctx, `meshery_operator_reconcile_total{controller="meshsync",result="success"}`)
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	wantPods("1 of 1 pods")
	wantIdle(t, read, 1)

	// The operator hears of it and writes nothing.
	before, operators, written := syncs(t.Context()), live().Status, len(mutations(t, namespace))
	reportAsAgent(t, namespace, 7, 1234)
	eventually(t, "the operator has looked at it", func(ctx context.Context) error {
		if syncs(ctx) == before {
			return errors.New("not yet")
		}
		return nil
	})
	wantIdle(t, read, 1)
	if writes := mutations(t, namespace)[written:]; len(writes) > 0 {
		t.Errorf("the operator answers the agent's status: %s", writes)
	}
	both := live().Status
	for _, condition := range operators.Conditions {
		if got := meta.FindStatusCondition(both.Conditions, condition.Type); got == nil || *got != condition {
			t.Errorf("the agent changed %s to %+v", condition.Type, got)
		}
	}
	agents := agentsPart(both)
	if agents.Discovery == nil || agents.Discovery.Objects != 1234 || len(agents.Resources) != 1 || agents.Publishing == nil || len(agents.Publishing.TrimmedObjects) != 1 || len(agents.Conditions) != len(agentsConditions) {
		t.Fatalf("the agent's status is not there: %+v", both)
	}

	// The operator changes its part, and the agent's stays. And the other way round.
	editMeshSync(t, namespace, meshery.MeshSyncName, `{"size":2}`)
	wantPods("2 of 2 pods")
	if got := agentsPart(live().Status); !reflect.DeepEqual(got, agents) {
		t.Errorf("the operator changed the agent's part:\n%+v\nwas\n%+v", got, agents)
	}
	reportAsAgent(t, namespace, 23, 4321)
	wantPods("2 of 2 pods")
	if got := agentsPart(live().Status); got.Discovery.KindsSynced != 23 || got.Discovery.Objects != 4321 {
		t.Errorf("the agent's part is %+v", got)
	}
	for _, entry := range live().ManagedFields {
		if entry.Subresource != "status" {
			continue
		}
		fields, foreign := entry.FieldsV1.GetRawString(), map[string][]string{
			meshSyncManager: append([]string{`"f:discovery"`, `"f:resources"`, `"f:publishing"`}, agentsConditions...),
			"meshsync":      {`"f:publishing-to"`, `\"` + v1alpha1.ConditionReady + `\"`, `\"` + v1alpha1.ConditionForbidden + `\"`},
		}[entry.Manager]
		if foreign == nil || slices.ContainsFunc(foreign, func(text string) bool { return strings.Contains(fields, text) }) {
			t.Errorf("%s owns %s", entry.Manager, fields)
		}
	}

	const columns = `NAME +READY +SIZE +KINDS +SYNCED +OBJECTS +PUBLISHING-TO +REASON +AGE\s+meshery-meshsync +False +2 +23 +23 +4321 +b:4222 +MeshSyncPodsNotReady +\S+`
	kubectl, err := controlplane.Binary(t.Context(), "kubectl")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), kubectl, "--kubeconfig", server.kubeconfig, "get", "meshsync", "-n", namespace).CombinedOutput()
	if err != nil || !regexp.MustCompile(columns).Match(out) {
		t.Errorf("kubectl get meshsync: %v\n%s", err, out)
	}
	wantNoWrites(t, namespace, stop)
	if got := agentsPart(live().Status); got.Discovery.Objects != 4321 {
		t.Errorf("after a restart of the operator the agent's part is %+v", got)
	}
}
