package operator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

func TestTransitions(t *testing.T) {
	is := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
	}
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	for name, test := range map[string]struct {
		before, after []metav1.Condition
		want          []string
	}{
		"a new resource that is not ready yet": {
			nil,
			[]metav1.Condition{is("Ready", no, "PodsNotReady", "m"), is("Degraded", no, "AsExpected", "m"), is("Warning", no, "NoWarnings", "m"), is("ExternalEndpoint", no, "LoadBalancerPending", "m")},
			[]string{"Normal PodsNotReady"},
		},
		"it becomes ready":                     {[]metav1.Condition{is("Ready", no, "PodsNotReady", "m")}, []metav1.Condition{is("Ready", yes, "Deployed", "m")}, []string{"Normal Deployed"}},
		"it stops being ready":                 {[]metav1.Condition{is("Ready", yes, "Deployed", "m")}, []metav1.Condition{is("Ready", no, "PodsNotReady", "m")}, []string{"Warning PodsNotReady"}},
		"nothing changed":                      {[]metav1.Condition{is("Ready", yes, "Deployed", "m")}, []metav1.Condition{is("Ready", yes, "Deployed", "m")}, nil},
		"only counts in the message changed":   {[]metav1.Condition{is("Ready", no, "PodsNotReady", "0 of 3")}, []metav1.Condition{is("Ready", no, "PodsNotReady", "1 of 3")}, nil},
		"another reason for not being ready":   {[]metav1.Condition{is("Ready", no, "PodsNotReady", "m")}, []metav1.Condition{is("Ready", no, "Conflict", "m")}, []string{"Normal Conflict"}},
		"something is wrong":                   {[]metav1.Condition{is("Degraded", no, "AsExpected", "m")}, []metav1.Condition{is("Degraded", yes, "Conflict", "m")}, []string{"Warning Conflict"}},
		"something is wrong from the start":    {nil, []metav1.Condition{is("Degraded", yes, "Conflict", "m")}, []string{"Warning Conflict"}},
		"something else is wrong":              {[]metav1.Condition{is("Degraded", yes, "PodsFailing", "m")}, []metav1.Condition{is("Degraded", yes, "Conflict", "m")}, []string{"Warning Conflict"}},
		"it is well again":                     {[]metav1.Condition{is("Degraded", yes, "Conflict", "m")}, []metav1.Condition{is("Degraded", no, "AsExpected", "m")}, []string{"Normal AsExpected"}},
		"a rollout begins":                     {[]metav1.Condition{is("Progressing", no, "RolloutComplete", "m")}, []metav1.Condition{is("Progressing", yes, "RollingOut", "m")}, []string{"Normal RollingOut"}},
		"a rollout goes on under another name": {[]metav1.Condition{is("Progressing", yes, "RollingOut", "m")}, []metav1.Condition{is("Progressing", yes, "Resizing", "m")}, nil},
		"an address appears":                   {[]metav1.Condition{is("ExternalEndpoint", no, "LoadBalancerPending", "m")}, []metav1.Condition{is("ExternalEndpoint", yes, "LoadBalancer", "m")}, []string{"Normal LoadBalancer"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, change := range transitions(test.before, test.after) {
				got = append(got, change.eventType+" "+change.reason)
				if change.note == "" {
					t.Errorf("%s has no note", change.reason)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// kubectl describe shows the transitions of a Broker, each once.
func TestTransitionsAreEvents(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	broker := createBroker(t, namespace)
	startOperator(t, namespace)
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
	eventually(t, "Events", func(ctx context.Context) error {
		events, err := server.admin.kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(broker.UID)})
		if err != nil {
			return err
		}
		var reasons []string
		for _, event := range events.Items {
			if event.InvolvedObject.Kind != "Broker" || event.InvolvedObject.Name != meshery.BrokerName || event.Count > 1 {
				t.Errorf("Event %+v", event)
			}
			reasons = append(reasons, event.Reason)
		}
		for _, want := range []string{v1alpha1.ReasonBrokerPodsNotReady, v1alpha1.ReasonBrokerDeployed, v1alpha1.ReasonRolloutComplete} {
			if !slices.Contains(reasons, want) {
				return fmt.Errorf("%s is not in %s", want, strings.Join(reasons, ", "))
			}
		}
		return nil
	})
}
