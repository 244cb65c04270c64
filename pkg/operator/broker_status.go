package operator

import (
	"fmt"
	"net"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// observedBroker is what there is of a Broker: nil for what does not exist (yet).
type observedBroker struct {
	statefulSet *appsv1.StatefulSet
	service     *corev1.Service
}

// brokerStatus says where clients connect and whether they can. applyErr is what kept the objects from being as wanted.
func brokerStatus(broker *v1alpha1.Broker, observed observedBroker, applyErr error, options *Options) v1alpha1.BrokerStatus {
	return v1alpha1.BrokerStatus{
		Endpoint: v1alpha1.BrokerEndpoint{
			Internal: internalEndpoint(broker, options),
			External: externalEndpoint(broker, observed.service),
		},
		Conditions: []metav1.Condition{brokerReady(broker, observed.statefulSet, applyErr)},
	}
}

// internalEndpoint is the client Service's DNS name: it holds from before the Service exists until after it was recreated.
func internalEndpoint(broker *v1alpha1.Broker, options *Options) string {
	return hostPort(broker.Name+"."+broker.Namespace+".svc."+options.ClusterDomain, meshery.PortClient)
}

// externalEndpoint is the override, else the load balancer's address, else empty.
func externalEndpoint(broker *v1alpha1.Broker, service *corev1.Service) string {
	if override := broker.Spec.Service.ExternalEndpointOverride; override != "" {
		return override
	}
	if service == nil || service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return ""
	}
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if ingress.IP != "" {
			return hostPort(ingress.IP, meshery.PortClient)
		}
		if ingress.Hostname != "" {
			return hostPort(ingress.Hostname, meshery.PortClient)
		}
	}
	return ""
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func brokerReady(broker *v1alpha1.Broker, statefulSet *appsv1.StatefulSet, applyErr error) metav1.Condition {
	switch {
	case applyErr != nil:
		return notApplied(broker, applyErr)
	case statefulSet == nil:
		return ready(broker, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady, "The StatefulSet does not exist yet")
	}
	want, status := broker.Spec.Size, statefulSet.Status
	rolledOut := status.ObservedGeneration >= statefulSet.Generation && status.UpdatedReplicas == want && status.Replicas == want
	if !rolledOut || status.ReadyReplicas != want {
		return ready(broker, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady,
			fmt.Sprintf("%d of %d NATS servers are ready, %d run the wanted version", status.ReadyReplicas, want, status.UpdatedReplicas))
	}
	return ready(broker, metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed, "Broker is running")
}
