package operator

import (
	"errors"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

// unavailable says why a MeshSync cannot have an agent now, and under which reason.
type unavailable struct {
	reason, message string
}

func (e *unavailable) Error() string { return e.message }

// meshSyncStatus says where the agent publishes to and whether it does. live is what there is of the MeshSync's objects, applyErr
// what kept the others from being as wanted, an unavailable included.
func meshSyncStatus(meshSync *v1alpha1.MeshSync, broker target, live []metav1.Object, applyErr error) v1alpha1.MeshSyncStatus {
	return v1alpha1.MeshSyncStatus{
		PublishingTo: broker.address,
		Conditions:   []metav1.Condition{meshSyncReady(meshSync, find[*appsv1.Deployment](live, meshSync.Name), applyErr)},
	}
}

func meshSyncReady(meshSync *v1alpha1.MeshSync, deployment *appsv1.Deployment, applyErr error) metav1.Condition {
	var missing *unavailable
	switch {
	case errors.As(applyErr, &missing):
		return ready(meshSync, metav1.ConditionFalse, missing.reason, missing.message)
	case applyErr != nil:
		return notApplied(meshSync, applyErr)
	case deployment == nil:
		return ready(meshSync, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady, "The Deployment does not exist yet")
	}
	rollout := rollout{
		observed: deployment.Status.ObservedGeneration >= deployment.Generation,
		want:     meshSync.Spec.Size,
		pods:     deployment.Status.Replicas,
		updated:  deployment.Status.UpdatedReplicas,
		ready:    deployment.Status.AvailableReplicas,
	}
	if !rollout.done() {
		return ready(meshSync, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady, rollout.describe("agents"))
	}
	message := "MeshSync is publishing"
	if problems := watchListProblems(meshSync); len(problems) > 0 {
		message += "; the watch-list has entries that are skipped: " + strings.Join(problems, "; ")
	}
	return ready(meshSync, metav1.ConditionTrue, v1alpha1.ReasonMeshSyncDeployed, message)
}

// checkWatchList refuses a watch-list that cannot be read at all: the agent keeps the last good one.
func checkWatchList(meshSync *v1alpha1.MeshSync) error {
	if _, _, err := watchlist.Parse(meshSync.Spec.WatchList.Data); err != nil {
		return &unavailable{reason: v1alpha1.ReasonWatchListInvalid, message: "spec.watch-list: " + err.Error() + "; the last good list stays in force"}
	}
	return nil
}

func watchListProblems(meshSync *v1alpha1.MeshSync) []string {
	_, problems, err := watchlist.Parse(meshSync.Spec.WatchList.Data)
	if err != nil {
		return nil // checkWatchList's
	}
	texts := make([]string, 0, len(problems))
	for _, problem := range problems {
		texts = append(texts, problem.String())
	}
	return texts
}
