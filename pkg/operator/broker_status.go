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

// brokerStatus says where clients connect and whether they can. live is what there is of the Broker's objects, pods are its
// pods, and applyErr is what kept anything from being as wanted.
func brokerStatus(broker *v1alpha1.Broker, live []metav1.Object, pods []*corev1.Pod, applyErr error, options *Options) v1alpha1.BrokerStatus {
	rollout := statefulSetRollout(broker, find[*appsv1.StatefulSet](live, broker.Name))
	troubles := append(findingsOf(applyErr), podTroubles(pods)...)
	external, externalCondition := externalEndpoint(broker, find[*corev1.Service](live, broker.Name))
	return v1alpha1.BrokerStatus{
		Endpoint: v1alpha1.BrokerEndpoint{Internal: internalEndpoint(broker, options), External: external},
		Conditions: []metav1.Condition{
			brokerReady(broker, rollout, findingsOf(applyErr), troubles),
			rollout.progressing(broker, "NATS servers"),
			degraded(broker, troubles),
			warning(broker, brokerWarnings(broker)),
			externalCondition,
		},
	}
}

// internalEndpoint is the client Service's DNS name: it holds from before the Service exists until after it was recreated.
func internalEndpoint(broker *v1alpha1.Broker, options *Options) string {
	return hostPort(broker.Name+"."+broker.Namespace+".svc."+options.ClusterDomain, meshery.PortClient)
}

// externalEndpoint is where clients outside the cluster connect, and the condition that says which rule chose it, or why
// there is none.
func externalEndpoint(broker *v1alpha1.Broker, service *corev1.Service) (string, metav1.Condition) {
	say := func(status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition(broker, v1alpha1.ConditionExternalEndpoint, status, reason, message)
	}
	if override := broker.Spec.Service.ExternalEndpointOverride; override != "" {
		return override, say(metav1.ConditionTrue, v1alpha1.ReasonOverride, "spec.service.externalEndpointOverride")
	}
	if brokerServiceType(broker) != corev1.ServiceTypeLoadBalancer {
		return "", say(metav1.ConditionFalse, v1alpha1.ReasonInClusterOnly, "A Service of this type has no address outside the cluster")
	}
	if service != nil && service.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			for _, address := range []string{ingress.IP, ingress.Hostname} {
				if address != "" {
					return hostPort(address, meshery.PortClient), say(metav1.ConditionTrue, v1alpha1.ReasonLoadBalancer, "The load balancer's address")
				}
			}
		}
	}
	return "", say(metav1.ConditionFalse, v1alpha1.ReasonLoadBalancerPending, "No load balancer has given the Service an address yet")
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func statefulSetRollout(broker *v1alpha1.Broker, statefulSet *appsv1.StatefulSet) rollout {
	if statefulSet == nil {
		return rollout{want: broker.Spec.Size}
	}
	return rollout{
		observed: statefulSet.Status.ObservedGeneration >= statefulSet.Generation,
		want:     broker.Spec.Size,
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
		return ready(broker, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady, withTroubles(rollout.describe("NATS servers")+rollout.missingPods(broker), troubles))
	default:
		return ready(broker, metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed, "Broker is running")
	}
}

func brokerWarnings(broker *v1alpha1.Broker) []finding {
	var findings []finding
	if size := broker.Spec.Size; size%2 == 0 {
		findings = append(findings, finding{v1alpha1.ReasonEvenSize, fmt.Sprintf(
			"%d NATS servers need %d to agree and so survive no more failures than %d would: use an odd spec.size", size, size/2+1, size-1)})
	}
	return findings
}
