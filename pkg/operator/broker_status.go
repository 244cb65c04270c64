package operator

import (
	"fmt"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// brokerView is what a sync has seen of a Broker.
type brokerView struct {
	service     *corev1.Service
	statefulSet *appsv1.StatefulSet
	pods        []*corev1.Pod
	node        nodeAddress
	kept        []finding // what stays other than the spec asks, though the broker works
	warnings    []finding
	err         error // what kept anything from being as wanted
}

// brokerStatus says where clients connect and whether they can.
func brokerStatus(broker *v1alpha1.Broker, view *brokerView, options *Options) v1alpha1.BrokerStatus {
	rollout := rolloutTo(broker.Spec.Size, view.statefulSet)
	notAsWanted := findingsOf(view.err)
	troubles := podTroubles(view.pods)
	external, externalCondition := externalEndpoint(broker, view.service, view.node)
	if blocked := blockedBy(notAsWanted, v1alpha1.ReasonConflict); blocked != nil && view.service == nil && external == "" {
		externalCondition = condition(broker, v1alpha1.ConditionExternalEndpoint, metav1.ConditionFalse, blocked.reason, "The Broker has no Service of its own: "+blocked.message)
	}
	return v1alpha1.BrokerStatus{
		Endpoint: v1alpha1.BrokerEndpoint{Internal: publishedEndpoint(broker, view, options), External: external},
		Conditions: []metav1.Condition{
			brokerReady(broker, rollout, notAsWanted, troubles),
			brokerProgressing(broker, rollout, view.pods, standstill(view.statefulSet, notAsWanted)),
			degraded(broker, slices.Concat(notAsWanted, troubles, view.kept)),
			warning(broker, slices.Concat(view.warnings, sizeWarnings(broker))),
			externalCondition,
		},
	}
}

func rolloutTo(size int32, statefulSet *appsv1.StatefulSet) rollout {
	if statefulSet == nil {
		return rollout{want: size}
	}
	return rollout{
		observed: statefulSet.Status.ObservedGeneration >= statefulSet.Generation,
		want:     size,
		pods:     statefulSet.Status.Replicas,
		updated:  statefulSet.Status.UpdatedReplicas,
		ready:    statefulSet.Status.ReadyReplicas,
	}
}

func brokerReady(broker *v1alpha1.Broker, rollout rollout, notAsWanted, troubles []finding) metav1.Condition {
	switch {
	case len(notAsWanted) > 0:
		return notApplied(broker, notAsWanted)
	case !rollout.done():
		return ready(broker, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady, withTroubles(describeServers(broker, rollout), troubles))
	default:
		return ready(broker, metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed, "Broker is running")
	}
}

// blockedBy is the first finding with one of the reasons, or nil.
func blockedBy(findings []finding, reasons ...string) *finding {
	for i := range findings {
		if slices.Contains(reasons, findings[i].reason) {
			return &findings[i]
		}
	}
	return nil
}

// standstill is what keeps the servers as they are, or nil while they are being changed to what they were last to be.
func standstill(statefulSet *appsv1.StatefulSet, notAsWanted []finding) *finding {
	blocked := blockedBy(notAsWanted, v1alpha1.ReasonConflict, v1alpha1.ReasonSecretInvalid)
	if blocked == nil || statefulSet == nil {
		return blocked
	}
	if !rolloutTo(*statefulSet.Spec.Replicas, statefulSet).done() {
		return nil
	}
	return blocked
}

// brokerProgressing says also what a change of size means for the messages that the broker keeps.
func brokerProgressing(broker *v1alpha1.Broker, rollout rollout, pods []*corev1.Pod, standstill *finding) metav1.Condition {
	if standstill != nil {
		return condition(broker, v1alpha1.ConditionProgressing, metav1.ConditionFalse, standstill.reason, "The servers stay as they are: "+standstill.message)
	}
	progressing := rollout.progressing(broker, "NATS servers")
	if rollout.done() {
		return progressing
	}
	progressing.Message = describeServers(broker, rollout)
	if resizing(broker, pods) {
		progressing.Reason = v1alpha1.ReasonResizing
		progressing.Message = fmt.Sprintf("The number of NATS servers changes to %d: %s", broker.Spec.Size, progressing.Message)
		if broker.Spec.EnabledJetStream() {
			progressing.Message += ". What JetStream holds is lost by that, and MeshSync publishes it again"
			if broker.Spec.JetStream.Storage != nil {
				progressing.Message += ". What the servers kept so far stays on their volumes, in another folder; when the size changes back, they begin with it"
			}
		}
	}
	return progressing
}

// resizing reports whether there is still a server of a cluster of another size.
func resizing(broker *v1alpha1.Broker, pods []*corev1.Pod) bool {
	return slices.ContainsFunc(pods, func(pod *corev1.Pod) bool {
		return pod.Annotations[annotationServers] != strconv.Itoa(int(broker.Spec.Size))
	})
}

// describeServers tells also of pods that are not even there: a StatefulSet's status does not say why, only its Events do.
func describeServers(broker *v1alpha1.Broker, rollout rollout) string {
	text := rollout.describe("NATS servers")
	if missing := rollout.want - rollout.pods; rollout.observed && missing > 0 {
		text += fmt.Sprintf("; pods that are not there: %d; if that lasts, a quota or an admission webhook may refuse them, see kubectl describe statefulset -n %s %s",
			missing, broker.Namespace, broker.Name)
	}
	return text
}

func sizeWarnings(broker *v1alpha1.Broker) []finding {
	size := broker.Spec.Size
	if size%2 != 0 {
		return nil
	}
	return []finding{{v1alpha1.ReasonEvenSize, fmt.Sprintf(
		"%d NATS servers need %d to agree and so survive no more failures than %d would: use an odd spec.size", size, size/2+1, size-1)}}
}
