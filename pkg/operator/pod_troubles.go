package operator

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// failingToStart are the reasons for which a container waits that do not pass while everything stays as it is.
var failingToStart = []string{
	"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "ErrImagePull",
	"ImagePullBackOff", "InvalidImageName", "RunContainerError",
}

// podTroubles says what keeps pods from coming up, one finding per pod, in the order of their names.
func podTroubles(pods []*corev1.Pod) []finding {
	var troubles []finding
	for _, pod := range slices.SortedFunc(slices.Values(pods), func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) }) {
		if trouble := podTrouble(pod); trouble != "" && pod.DeletionTimestamp == nil {
			troubles = append(troubles, finding{v1alpha1.ReasonPodsFailing, "pod " + pod.Name + ": " + trouble})
		}
	}
	return troubles
}

func podTrouble(pod *corev1.Pod) string {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			text := "cannot be scheduled: " + c.Message
			if strings.Contains(c.Message, "PersistentVolumeClaim") {
				text += " See kubectl describe pvc -n " + pod.Namespace
			}
			return text
		}
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		waiting := status.State.Waiting
		if waiting == nil || !slices.Contains(failingToStart, waiting.Reason) {
			continue
		}
		text := waiting.Reason
		if waiting.Reason == "CrashLoopBackOff" {
			if ended := status.LastTerminationState.Terminated; ended != nil {
				text += fmt.Sprintf(", last ended with %s, exit code %d", ended.Reason, ended.ExitCode)
			}
			return text + fmt.Sprintf(": see kubectl logs -n %s %s -c %s --previous", pod.Namespace, pod.Name, status.Name)
		}
		if waiting.Message != "" {
			text += ": " + waiting.Message
		}
		return text
	}
	return ""
}

// withTroubles adds to a message what keeps pods from coming up.
func withTroubles(message string, troubles []finding) string {
	messages := []string{message}
	for _, trouble := range troubles {
		messages = append(messages, trouble.message)
	}
	return strings.Join(messages, "; ")
}
