package operator

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// transition is a change of a condition that is worth an Event.
type transition struct {
	eventType, reason, note string
}

// transitions compares the conditions before and after a sync. Messages that change say nothing new: counts in them move all the
// time while pods start.
func transitions(before, after []metav1.Condition) []transition {
	var changes []transition
	said := meta.FindStatusCondition(after, v1alpha1.ConditionDegraded)
	for _, now := range after {
		if now.Type == v1alpha1.ConditionReady && said != nil && said.Reason == now.Reason {
			continue // Degraded says the same
		}
		old := meta.FindStatusCondition(before, now.Type)
		if old == nil {
			old = &metav1.Condition{Status: metav1.ConditionFalse}
			if now.Type != v1alpha1.ConditionReady && now.Status == metav1.ConditionFalse {
				continue // it begins as it should be
			}
		}
		if old.Status == now.Status && (old.Reason == now.Reason || now.Type == v1alpha1.ConditionProgressing) {
			continue
		}
		changes = append(changes, transition{eventType(old, now), now.Reason, now.Message})
	}
	return changes
}

// eventType is Warning for what a person should look at.
func eventType(old *metav1.Condition, now metav1.Condition) string {
	bad := now.Status == metav1.ConditionTrue
	switch now.Type {
	case v1alpha1.ConditionReady:
		bad = old.Status == metav1.ConditionTrue && now.Status == metav1.ConditionFalse
	case v1alpha1.ConditionProgressing, v1alpha1.ConditionExternalEndpoint:
		bad = false
	}
	if bad {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

// mostNote is how long an Event's note may be, in bytes: the API server refuses longer ones.
const mostNote = 1024

// announce makes an Event of every transition. kubectl describe shows them.
func announce(recorder events.EventRecorder, regarding runtime.Object, before, after []metav1.Condition) {
	for _, change := range transitions(before, after) {
		recorder.Eventf(regarding, nil, change.eventType, change.reason, "Reconcile", "%s", shorten(change.note, mostNote))
	}
}
