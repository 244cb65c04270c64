package operator

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

// meshSyncStatus says where the agent publishes to and whether it does. live is what there is of the MeshSync's objects, pods are
// its pods, and applyErr is what kept anything from being as wanted.
func meshSyncStatus(meshSync *v1alpha1.MeshSync, broker target, live []metav1.Object, pods []*corev1.Pod, applyErr error) v1alpha1.MeshSyncStatus {
	rollout := deploymentRollout(meshSync, find[*appsv1.Deployment](live, meshSync.Name))
	troubles := append(findingsOf(applyErr), podTroubles(pods)...)
	troubles = append(troubles, refusedPods(find[*appsv1.Deployment](live, meshSync.Name))...)
	return v1alpha1.MeshSyncStatus{
		PublishingTo: broker.address,
		Conditions: []metav1.Condition{
			meshSyncReady(meshSync, rollout, findingsOf(applyErr), troubles),
			rollout.progressing(meshSync, "agents"),
			degraded(meshSync, troubles),
			warning(meshSync, meshSyncWarnings(meshSync)),
		},
	}
}

func deploymentRollout(meshSync *v1alpha1.MeshSync, deployment *appsv1.Deployment) rollout {
	if deployment == nil {
		return rollout{want: meshSync.Spec.Size}
	}
	return rollout{
		observed: deployment.Status.ObservedGeneration >= deployment.Generation,
		want:     meshSync.Spec.Size,
		pods:     deployment.Status.Replicas,
		updated:  deployment.Status.UpdatedReplicas,
		ready:    deployment.Status.AvailableReplicas,
	}
}

func meshSyncReady(meshSync *v1alpha1.MeshSync, rollout rollout, notAsWanted, troubles []finding) metav1.Condition {
	switch {
	case len(notAsWanted) > 0:
		return notApplied(meshSync, notAsWanted)
	case !rollout.done():
		return ready(meshSync, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady, withTroubles(rollout.describe("agents"), troubles))
	default:
		return ready(meshSync, metav1.ConditionTrue, v1alpha1.ReasonMeshSyncDeployed, "MeshSync is publishing")
	}
}

func meshSyncWarnings(meshSync *v1alpha1.MeshSync) []finding {
	var findings []finding
	if problems := watchListProblems(meshSync); len(problems) > 0 {
		findings = append(findings, finding{v1alpha1.ReasonWatchListEntries, "The watch-list has entries that are skipped: " + strings.Join(problems, "; ")})
	}
	return findings
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
