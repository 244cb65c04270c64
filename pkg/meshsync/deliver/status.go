package deliver

import (
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync/bus"
)

// Describe adds to a MeshSync's status how messages reach the broker, and whether.
func (d *Delivery) Describe(status *v1alpha1.MeshSyncStatus) {
	var generation int64
	if len(status.Conditions) > 0 {
		generation = status.Conditions[0].ObservedGeneration
	}
	mode := d.Mode()
	publishing := &v1alpha1.MeshSyncPublishingStatus{Mode: v1alpha1.PublishingStream, Stream: mode.Stream, TrimmedObjects: d.trimmed.list()}
	if mode.Stream == "" {
		publishing.Mode = v1alpha1.PublishingCore
		publishing.Message = d.stateStored().Message
	}
	status.Publishing = publishing
	for _, condition := range []metav1.Condition{d.acknowledged(), d.stateStored()} {
		condition.ObservedGeneration = generation
		status.Conditions = append(status.Conditions, condition)
	}
}

func (d *Delivery) acknowledged() metav1.Condition {
	condition := metav1.Condition{
		Type: v1alpha1.ConditionPublishing, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotConnected,
	}
	if err := d.options.Conn.Ready(); err != nil {
		condition.Message = err.Error()
		return condition
	}
	if err := d.queue.Ready(); err != nil {
		condition.Reason, condition.Message = v1alpha1.ReasonNotAcknowledged, err.Error()
		return condition
	}
	condition.Status, condition.Reason, condition.Message = metav1.ConditionTrue, v1alpha1.ReasonAcknowledged, "The broker acknowledges what it is sent"
	return condition
}

func (d *Delivery) stateStored() metav1.Condition {
	const limits = "what is deleted while no agent runs cannot be known"
	condition := metav1.Condition{Type: v1alpha1.ConditionStateStored, Status: metav1.ConditionFalse}
	switch mode, refused := d.Mode(), d.queue.Refused(); {
	case mode.Stream == "" && (mode.Trouble == nil || errors.Is(mode.Trouble, bus.ErrNoStreams)):
		condition.Reason, condition.Message = v1alpha1.ReasonNoJetStream, "The broker offers no JetStream: "+limits
	case mode.Stream == "":
		condition.Reason, condition.Message = v1alpha1.ReasonStreamUnavailable, mode.Trouble.Error()+": "+limits
	case refused != nil:
		condition.Reason, condition.Message = v1alpha1.ReasonStreamRefuses, refused.Error()+"; will be tried again"
	default:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionTrue, v1alpha1.ReasonStored, "The state stream holds what was published"
	}
	return condition
}
