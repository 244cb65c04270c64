package operator

import (
	"net"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// brokerStatus says where clients connect and whether they can. live is what there is of the Broker's objects, applyErr what
// kept the others from being as wanted.
func brokerStatus(broker *v1alpha1.Broker, live []metav1.Object, applyErr error, options *Options) v1alpha1.BrokerStatus {
	return v1alpha1.BrokerStatus{
		Endpoint: v1alpha1.BrokerEndpoint{
			Internal: internalEndpoint(broker, options),
			External: externalEndpoint(broker, find[*corev1.Service](live, broker.Name)),
		},
		Conditions: []metav1.Condition{brokerReady(broker, find[*appsv1.StatefulSet](live, broker.Name), applyErr)},
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
	rollout := rollout{
		observed: statefulSet.Status.ObservedGeneration >= statefulSet.Generation,
		want:     broker.Spec.Size,
		pods:     statefulSet.Status.Replicas,
		updated:  statefulSet.Status.UpdatedReplicas,
		ready:    statefulSet.Status.ReadyReplicas,
	}
	if !rollout.done() {
		return ready(broker, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady, rollout.describe("NATS servers"))
	}
	return ready(broker, metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed, "Broker is running")
}
