package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

func TestWhatABlockedBrokerSays(t *testing.T) {
	options := DefaultOptions()
	foreign := &foreignError{kind: "Service", name: "meshery-broker", owner: "Helm"}
	noSecret := &unavailable{v1alpha1.ReasonSecretInvalid, "Secret x has no key"}
	passing := errors.New("apply Service meshery-broker: the server is overloaded")
	ours := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	servers := func(replicas, ready int32) *appsv1.StatefulSet {
		return &appsv1.StatefulSet{
			Spec:   appsv1.StatefulSetSpec{Replicas: &replicas},
			Status: appsv1.StatefulSetStatus{Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: ready},
		}
	}
	const present, address = "present:4222", "meshery-broker.meshery.svc.cluster.local:4222"
	for name, test := range map[string]struct {
		view                            brokerView
		internal, progressing, external string
	}{
		"well":                             {brokerView{service: ours, statefulSet: servers(3, 3)}, address, "RolloutComplete", "LoadBalancerPending"},
		"servers start":                    {brokerView{service: ours, statefulSet: servers(3, 1)}, address, "RollingOut", "LoadBalancerPending"},
		"the Service is of others":         {brokerView{err: foreign}, "", "Conflict", "Conflict"},
		"it is of others by now":           {brokerView{err: foreign, statefulSet: servers(3, 3)}, "", "Conflict", "Conflict"},
		"an error that passes":             {brokerView{err: passing, statefulSet: servers(3, 3)}, present, "RolloutComplete", "LoadBalancerPending"},
		"another object is of others":      {brokerView{err: foreign, service: ours}, address, "Conflict", "LoadBalancerPending"},
		"a Secret is missing":              {brokerView{err: noSecret, service: ours}, address, "SecretInvalid", "LoadBalancerPending"},
		"a Secret is missing for a resize": {brokerView{err: noSecret, service: ours, statefulSet: servers(1, 1)}, address, "SecretInvalid", "LoadBalancerPending"},
		"servers come back meanwhile":      {brokerView{err: noSecret, service: ours, statefulSet: servers(3, 2)}, address, "RollingOut", "LoadBalancerPending"},
	} {
		t.Run(name, func(t *testing.T) {
			broker := newBroker(withSize(3))
			broker.Status.Endpoint.Internal = present
			got := brokerStatus(broker, &test.view, &options)
			reason := func(kind string) string { return meta.FindStatusCondition(got.Conditions, kind).Reason }
			if got.Endpoint.Internal != test.internal || reason(v1alpha1.ConditionProgressing) != test.progressing || reason(v1alpha1.ConditionExternalEndpoint) != test.external {
				t.Errorf("got %+v", got)
			}
			if progressing := meta.IsStatusConditionTrue(got.Conditions, v1alpha1.ConditionProgressing); progressing != (test.progressing == v1alpha1.ReasonRollingOut) {
				t.Errorf("Progressing is %t", progressing)
			}
		})
	}
}

// Agents send the token to the endpoint: it must not lead to a Service that somebody else made, or took.
func TestTheEndpointIsTheBrokersOwnService(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	services := server.admin.kube.CoreV1().Services(namespace)
	theirs := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: meshery.BrokerName}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 4222}}}}
	take := func() {
		t.Helper()
		if _, err := services.Create(t.Context(), theirs.DeepCopy(), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	endpoint := func(want string) {
		t.Helper()
		eventually(t, "internal endpoint "+want, func(ctx context.Context) error {
			broker, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
			if err == nil && !strings.HasPrefix(broker.Status.Endpoint.Internal, want) || want == "" && broker.Status.Endpoint.Internal != "" {
				err = fmt.Errorf("it is %q", broker.Status.Endpoint.Internal)
			}
			return err
		})
	}
	take()
	createBroker(t, namespace)
	stop := startOperator(t, namespace)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConflict, "Service meshery-broker belongs to")
	wantBrokerCondition(t, namespace, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonConflict)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionExternalEndpoint, metav1.ConditionFalse, v1alpha1.ReasonConflict)
	endpoint("")

	if err := services.Delete(t.Context(), meshery.BrokerName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	touchBroker(t, namespace, "1") // instead of waiting until the operator looks again
	endpoint(meshery.BrokerName + "." + namespace)
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)

	stop()
	if err := services.Delete(t.Context(), meshery.BrokerName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	take()
	startOperator(t, namespace)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConflict)
	endpoint("")
}
