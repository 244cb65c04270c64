package operator

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// meshSyncStatus says where the agent publishes to and whether it does. live is what there is of the MeshSync's objects, pods are
// its pods, and applyErr is what kept anything from being as wanted.
func meshSyncStatus(meshSync *v1alpha1.MeshSync, broker target, live []metav1.Object, pods []*corev1.Pod, applyErr error, options *Options) v1alpha1.MeshSyncStatus {
	deployment := find[*appsv1.Deployment](live, meshSync.Name)
	rollout := deploymentRollout(meshSync, deployment)
	troubles := append(findingsOf(applyErr), podTroubles(pods)...)
	troubles = append(troubles, refusedPods(deployment)...)
	return v1alpha1.MeshSyncStatus{
		PublishingTo: publishingTo(meshSync, broker, deployment),
		Conditions: []metav1.Condition{
			meshSyncReady(meshSync, rollout, findingsOf(applyErr), troubles),
			rollout.progressing(meshSync, "agents"),
			degraded(meshSync, troubles),
			warning(meshSync, meshSyncWarnings(meshSync, options)),
		},
	}
}

// publishingTo stays while no broker is known and an agent is there, which then goes on as it is.
func publishingTo(meshSync *v1alpha1.MeshSync, broker target, deployment *appsv1.Deployment) string {
	if broker.url == "" && deployment != nil {
		return meshSync.Status.PublishingTo
	}
	return broker.address
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

func meshSyncWarnings(meshSync *v1alpha1.MeshSync, options *Options) []finding {
	return append(versionWarnings(meshSync, options), watchListWarnings(meshSync)...)
}
