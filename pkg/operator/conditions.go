package operator

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// mostMessage is how long a condition's message may be, in bytes. The API server takes 32 KiB, a person less.
const mostMessage = 4 << 10

// shorten cuts a text to so many bytes.
func shorten(text string, most int) string {
	const more = " …"
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len(more)], "") + more
}

// condition is one without its transition time, which keepTransitionTimes fills in.
func condition(observed metav1.Object, kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{
		Type:               kind,
		Status:             status,
		ObservedGeneration: observed.GetGeneration(),
		Reason:             reason,
		Message:            shorten(message, mostMessage),
	}
}

func ready(observed metav1.Object, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return condition(observed, v1alpha1.ConditionReady, status, reason, message)
}

// finding is something to say of a resource, and its reason in a condition.
type finding struct{ reason, message string }

// complaint is a condition that is true while there are findings: under the reason of the first, with the messages of all.
func complaint(observed metav1.Object, kind string, findings []finding, none finding) metav1.Condition {
	if len(findings) == 0 {
		return condition(observed, kind, metav1.ConditionFalse, none.reason, none.message)
	}
	messages := make([]string, 0, len(findings))
	for _, finding := range findings {
		messages = append(messages, finding.message)
	}
	return condition(observed, kind, metav1.ConditionTrue, findings[0].reason, strings.Join(messages, "; "))
}

func degraded(observed metav1.Object, findings []finding) metav1.Condition {
	return complaint(observed, v1alpha1.ConditionDegraded, findings, finding{v1alpha1.ReasonAsExpected, "Everything is as the spec asks"})
}

func warning(observed metav1.Object, findings []finding) metav1.Condition {
	return complaint(observed, v1alpha1.ConditionWarning, findings, finding{v1alpha1.ReasonNoWarnings, "There is nothing to warn of"})
}

// findingsOf says why objects are not as wanted, each under its reason.
func findingsOf(err error) []finding {
	var findings []finding
	for _, err := range flatten(err) {
		reason := v1alpha1.ReasonApplyFailed
		if isForeign(err) {
			reason = v1alpha1.ReasonConflict
		}
		if waiting, ok := errors.AsType[*unavailable](err); ok {
			reason = waiting.reason
		}
		findings = append(findings, finding{reason, err.Error()})
	}
	return findings
}

// notApplied is a Ready condition that says why the objects are not as wanted.
func notApplied(observed metav1.Object, findings []finding) metav1.Condition {
	because := complaint(observed, "", findings, finding{})
	return ready(observed, metav1.ConditionFalse, because.Reason, because.Message)
}

// unavailable says why a resource cannot be as wanted now, and under which reason. An event ends it: the worker need not try
// again.
type unavailable struct{ reason, message string }

func (e *unavailable) Error() string { return e.message }

// rollout is how far a workload's pods are.
type rollout struct {
	observed                   bool // the workload's controller has seen its newest spec
	want, pods, updated, ready int32
}

func (r rollout) done() bool {
	return r.observed && r.pods == r.want && r.updated == r.want && r.ready == r.want
}

// progressing says whether pods are being started or replaced.
func (r rollout) progressing(observed metav1.Object, what string) metav1.Condition {
	if r.done() {
		return condition(observed, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonRolloutComplete, "All pods are as wanted")
	}
	return condition(observed, v1alpha1.ConditionProgressing, metav1.ConditionTrue, v1alpha1.ReasonRollingOut, r.describe(what))
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
