package operator

import (
	"context"
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// An object that says no more whose it is was somebody's before.
func TestAnObjectThatLosesItsOwnerIsNoticed(t *testing.T) {
	t.Parallel()
	for name, patch := range map[string]string{
		"without owner references":            `{"metadata":{"ownerReferences":null}}`,
		"without owner references and labels": `{"metadata":{"ownerReferences":null,"labels":null}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			newNamedMeshSync(t, namespace, "m", v1alpha1.MeshSyncSpec{Broker: v1alpha1.MeshSyncBroker{Custom: v1alpha1.CustomBroker{URL: "nats://b"}}})
			measure, read := measured(t)
			startOperator(t, namespace, measure)
			eventually(t, "nothing else enqueues the MeshSync any more", func(context.Context) error {
				got := wantMeshSync(t, namespace, "m", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady).Message
				if !strings.Contains(got, "1 of 1 pods") {
					return errors.New(got)
				}
				return nil
			})
			wantIdle(t, read, 1)
			list := meshery.WatchListConfigMap("m")
			_, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Patch(t.Context(), list, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got := wantMeshSync(t, namespace, "m", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConflict).Message
			if !strings.Contains(got, "ConfigMap "+list) {
				t.Errorf("message %q", got)
			}
		})
	}
}
