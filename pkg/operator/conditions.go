package operator

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// ready is a Ready condition without its transition time, which keepTransitionTimes fills in.
func ready(observed metav1.Object, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{
		Type:               v1alpha1.ConditionReady,
		Status:             status,
		ObservedGeneration: observed.GetGeneration(),
		Reason:             reason,
		Message:            message,
	}
}

// notApplied says why the objects are not as wanted.
func notApplied(observed metav1.Object, applyErr error) metav1.Condition {
	reason := v1alpha1.ReasonApplyFailed
	if _, ok := errors.AsType[*foreignError](applyErr); ok {
		reason = v1alpha1.ReasonConflict
	}
	return ready(observed, metav1.ConditionFalse, reason, applyErr.Error())
}

// rollout is how far a workload's pods are.
type rollout struct {
	observed                   bool // the workload's controller has seen its newest spec
	want, pods, updated, ready int32
}

func (r rollout) done() bool {
	return r.observed && r.pods == r.want && r.updated == r.want && r.ready == r.want
}

func (r rollout) describe(what string) string {
	if !r.observed {
		return "A change has not begun to roll out yet"
	}
	return fmt.Sprintf("%d of %d %s are ready, %d of %d pods are up to date", r.ready, r.want, what, r.updated, r.pods)
}

// keepTransitionTimes gives every wanted condition the time of its last change of status, which is now unless the present
// condition has the same status already.
func keepTransitionTimes(want, present []metav1.Condition, now metav1.Time) {
	for i := range want {
		want[i].LastTransitionTime = now
		if old := meta.FindStatusCondition(present, want[i].Type); old != nil && old.Status == want[i].Status {
			want[i].LastTransitionTime = old.LastTransitionTime
		}
	}
}

// sameConditions reports whether every wanted condition is present as it is. Conditions that others report do not count.
func sameConditions(want, present []metav1.Condition) bool {
	for i := range want {
		old := meta.FindStatusCondition(present, want[i].Type)
		if old == nil || !equality.Semantic.DeepEqual(*old, want[i]) {
			return false
		}
	}
	return true
}

func applyConditions(conditions []metav1.Condition) []*metaac.ConditionApplyConfiguration {
	applied := make([]*metaac.ConditionApplyConfiguration, 0, len(conditions))
	for _, c := range conditions {
		applied = append(applied, metaac.Condition().
			WithType(c.Type).
			WithStatus(c.Status).
			WithObservedGeneration(c.ObservedGeneration).
			WithLastTransitionTime(c.LastTransitionTime).
			WithReason(c.Reason).
			WithMessage(c.Message))
	}
	return applied
}
