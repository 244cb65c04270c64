package operator

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyac "k8s.io/client-go/applyconfigurations/policy/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// disruptionSize is the smallest cluster that works on with one server less, and so may be disrupted by one at a time.
const disruptionSize = 3

// brokerObjects are the objects that make up a Broker, in the order in which they are best created. Its Secrets come first
// and apart, because they are created once and never changed (brokerSecrets). secrets are all that the servers read; nil, while
// one of them is missing or wrong, leaves the servers and their configuration as they are.
func brokerObjects(broker *v1alpha1.Broker, secrets []*corev1.Secret, options *Options) []any {
	objects := []any{brokerHeadlessService(broker), brokerService(broker)}
	if broker.Spec.Size >= disruptionSize {
		objects = append(objects, brokerDisruptionBudget(broker))
	}
	if secrets != nil {
		objects = append(objects, brokerConfigMap(broker), brokerStatefulSet(broker, secrets, options))
	}
	return objects
}

// brokerSelector tells the pods of one Broker from those of another. A StatefulSet's selector cannot be changed later.
func brokerSelector(broker *v1alpha1.Broker) map[string]string {
	return map[string]string{
		meshery.LabelApp:      meshery.AppBroker,
		meshery.LabelName:     meshery.NameNATS,
		meshery.LabelInstance: broker.Name,
	}
}

// brokerHeadlessService gives every server a DNS name, from before it is ready: servers must find each other to become so.
func brokerHeadlessService(broker *v1alpha1.Broker) *coreac.ServiceApplyConfiguration {
	return coreac.Service(meshery.HeadlessService(broker.Name), broker.Namespace).
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithOwnerReferences(ownerReference(broker, brokerKind)).
		WithSpec(coreac.ServiceSpec().
			WithClusterIP(corev1.ClusterIPNone).
			WithPublishNotReadyAddresses(true).
			WithSelector(brokerSelector(broker)).
			WithPorts(
				servicePort(meshery.PortClientName, meshery.PortClient),
				servicePort(portRoutesName, portRoutes),
				servicePort(meshery.PortMonitorName, meshery.PortMonitor),
			))
}

// brokerService is where clients connect. The monitoring port asks nobody for a token, so only a Service that ends inside the
// cluster carries it.
func brokerService(broker *v1alpha1.Broker) *coreac.ServiceApplyConfiguration {
	want := broker.Spec.Service
	serviceType := brokerServiceType(broker)
	spec := coreac.ServiceSpec().
		WithType(serviceType).
		WithSelector(brokerSelector(broker)).
		WithPorts(servicePort(meshery.PortClientName, meshery.PortClient))
	switch serviceType {
	case corev1.ServiceTypeClusterIP:
		spec.WithPorts(servicePort(meshery.PortMonitorName, meshery.PortMonitor))
	case corev1.ServiceTypeLoadBalancer:
		spec.LoadBalancerClass = want.LoadBalancerClass
		spec.WithLoadBalancerSourceRanges(want.LoadBalancerSourceRanges...)
	}
	return coreac.Service(broker.Name, broker.Namespace).
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithAnnotations(want.Annotations).
		WithOwnerReferences(ownerReference(broker, brokerKind)).
		WithSpec(spec)
}

// brokerServiceType repeats the schema's default for a Broker that was stored before there was one.
func brokerServiceType(broker *v1alpha1.Broker) corev1.ServiceType {
	if broker.Spec.Service.Type == "" {
		return corev1.ServiceTypeLoadBalancer
	}
	return broker.Spec.Service.Type
}

func servicePort(name string, port int32) *coreac.ServicePortApplyConfiguration {
	return coreac.ServicePort().
		WithName(name).
		WithProtocol(corev1.ProtocolTCP).
		WithPort(port).
		WithTargetPort(intstr.FromString(name))
}

// brokerDisruptionBudget keeps a majority while nodes are drained. A server that is not well protects nothing.
func brokerDisruptionBudget(broker *v1alpha1.Broker) *policyac.PodDisruptionBudgetApplyConfiguration {
	return policyac.PodDisruptionBudget(broker.Name, broker.Namespace).
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithOwnerReferences(ownerReference(broker, brokerKind)).
		WithSpec(policyac.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
			WithSelector(metaac.LabelSelector().WithMatchLabels(brokerSelector(broker))))
}
