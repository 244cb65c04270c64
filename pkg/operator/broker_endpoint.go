package operator

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// internalEndpoint is the client Service's DNS name.
func internalEndpoint(broker *v1alpha1.Broker, options *Options) string {
	return hostPort(broker.Name+"."+broker.Namespace+".svc."+options.ClusterDomain, meshery.PortClient)
}

// publishedEndpoint is the internal endpoint while the Service of that name is the Broker's own. Clients send the token there, so
// it is taken back when somebody else has the name, or may have it; an error that passes leaves what there is.
func publishedEndpoint(broker *v1alpha1.Broker, view *brokerView, options *Options) string {
	switch {
	case view.service != nil:
		return internalEndpoint(broker, options)
	case blockedBy(findingsOf(view.err), v1alpha1.ReasonConflict) != nil:
		return ""
	default:
		return broker.Status.Endpoint.Internal
	}
}

// externalEndpoint is where clients outside the cluster connect, and the condition that says which rule chose it, or why
// there is none.
func externalEndpoint(broker *v1alpha1.Broker, service *corev1.Service, node nodeAddress) (string, metav1.Condition) {
	there := func(endpoint, reason, message string) (string, metav1.Condition) {
		return endpoint, condition(broker, v1alpha1.ConditionExternalEndpoint, metav1.ConditionTrue, reason, message)
	}
	none := func(reason, message string) (string, metav1.Condition) {
		return "", condition(broker, v1alpha1.ConditionExternalEndpoint, metav1.ConditionFalse, reason, message)
	}
	if override := broker.Spec.Service.ExternalEndpointOverride; override != "" {
		return there(override, v1alpha1.ReasonOverride, "spec.service.externalEndpointOverride")
	}
	switch brokerServiceType(broker) {
	case corev1.ServiceTypeLoadBalancer:
		if address := loadBalancerAddress(service); address != "" {
			return there(hostPort(address, meshery.PortClient), v1alpha1.ReasonLoadBalancer, "The load balancer's address")
		}
		return none(v1alpha1.ReasonLoadBalancerPending, "No load balancer has given the Service an address yet. "+
			"In a cluster without load balancers set spec.service.type to NodePort or ClusterIP, or spec.service.externalEndpointOverride")
	case corev1.ServiceTypeNodePort:
		port := clientNodePort(service)
		switch {
		case node.host == "":
			return none(v1alpha1.ReasonNodeAddressUnknown, node.unknown)
		case port == 0:
			return none(v1alpha1.ReasonNodeAddressUnknown, "The Service has no node port yet")
		default:
			return there(hostPort(node.host, int(port)), v1alpha1.ReasonNodePort, "The address of a node and the Service's node port")
		}
	default:
		return none(v1alpha1.ReasonInClusterOnly, "A Service of type ClusterIP has no address outside the cluster")
	}
}

// loadBalancerAddress is the first that there is.
func loadBalancerAddress(service *corev1.Service) string {
	if service == nil || service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return ""
	}
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if address := cmp.Or(ingress.IP, ingress.Hostname); address != "" {
			return address
		}
	}
	return ""
}

func clientNodePort(service *corev1.Service) int32 {
	if service == nil || service.Spec.Type != corev1.ServiceTypeNodePort {
		return 0
	}
	for i := range service.Spec.Ports {
		if port := &service.Spec.Ports[i]; port.Name == meshery.PortClientName {
			return port.NodePort
		}
	}
	return 0
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// nodeAddress is where node ports answer, or why that is not known.
type nodeAddress struct{ host, unknown string }

const (
	// recheckNodes is how often the nodes are looked at again: they are not watched, because their status changes all the time.
	recheckNodes = time.Minute
	// mostNodes is how many are looked at: one that is ready is among them.
	mostNodes = 100
)

// findNode looks for a node's address when the Broker's endpoint needs one, and says when to look again. After an error there is
// something to report all the same.
func (c *brokerController) findNode(ctx context.Context, broker *v1alpha1.Broker) (nodeAddress, time.Duration, error) {
	if brokerServiceType(broker) != corev1.ServiceTypeNodePort || broker.Spec.Service.ExternalEndpointOverride != "" {
		return nodeAddress{}, 0, nil
	}
	nodes, err := c.clients.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: mostNodes})
	switch {
	case apierrors.IsForbidden(err):
		return nodeAddress{unknown: "The operator may not look for the address of a node: grant it list on nodes, or set spec.service.externalEndpointOverride"}, recheckNodes, nil
	case err != nil:
		err = fmt.Errorf("list nodes: %w", err)
		return nodeAddress{unknown: "The address of a node is not known: " + err.Error()}, 0, err
	}
	return addressOf(nodes.Items), recheckNodes, nil
}

// addressOf is the external address of the first ready node by name that has one, else the internal address of the first.
func addressOf(nodes []corev1.Node) nodeAddress {
	slices.SortFunc(nodes, func(a, b corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		for i := range nodes {
			for _, address := range nodes[i].Status.Addresses {
				if address.Type == kind && isReady(&nodes[i]) {
					return nodeAddress{host: address.Address}
				}
			}
		}
	}
	return nodeAddress{unknown: "No node is ready and has an address: see kubectl get nodes, or set spec.service.externalEndpointOverride"}
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
