package operator

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// meshSyncView is what a sync has seen of a MeshSync.
type meshSyncView struct {
	deployment *appsv1.Deployment
	pods       []*corev1.Pod
	watchList  map[string]string // that the agent is to follow; nil: there is none
	granted    *access           // nil: it could not be granted, or not be said what
	recheck    time.Duration     // when to look again at what is to be granted
}

// meshSyncStatus says where the agent publishes to and whether it does. err is what kept anything from being as wanted.
func meshSyncStatus(meshSync *v1alpha1.MeshSync, broker target, view *meshSyncView, err error, options *Options) v1alpha1.MeshSyncStatus {
	rollout := deploymentRollout(meshSync, view.deployment)
	notAsWanted := findingsOf(err)
	troubles := slices.Concat(notAsWanted, podTroubles(view.pods), refusedPods(view.deployment))
	return v1alpha1.MeshSyncStatus{
		PublishingTo: publishingTo(meshSync, broker, view.deployment),
		Conditions: []metav1.Condition{
			meshSyncReady(meshSync, rollout, notAsWanted, troubles),
			rollout.progressing(meshSync, "agents"),
			degraded(meshSync, slices.DeleteFunc(troubles, passesByItself)),
			warning(meshSync, meshSyncWarnings(meshSync, options)),
			forbidden(meshSync, view.granted, options.MeshSyncClusterRole),
		},
	}
}

// passesByItself tells a Broker that is not ready yet, as in every first installation, from what a person must mend.
func passesByItself(trouble finding) bool { return trouble.reason == v1alpha1.ReasonBrokerNotReady }

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
