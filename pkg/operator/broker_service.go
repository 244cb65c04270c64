package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// clearService does to the client Service what must be done before it can be applied as wanted, so that the same object stays,
// with its cluster IP.
func (c *brokerController) clearService(ctx context.Context, broker *v1alpha1.Broker) error {
	live, err := c.caches.in(broker.Namespace).services.Services(broker.Namespace).Get(broker.Name)
	if err != nil || !metav1.IsControlledBy(live, broker) {
		return ignoreNotFound(err)
	}
	applied, err := coreac.ExtractService(live, c.manager)
	if err != nil {
		return fmt.Errorf("compare Service %s: %w", live.Name, err)
	}
	obstacles := serviceObstacles(live, applied, brokerService(broker))
	if len(obstacles) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": live.ResourceVersion}, // of this object as the cache shows it, or not at all
		"spec":     obstacles,
	})
	if err != nil {
		return fmt.Errorf("patch Service %s: %w", live.Name, err)
	}
	_, err = c.clients.kube.CoreV1().Services(live.Namespace).
		Patch(ctx, live.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: c.manager})
	c.metrics.wrote("Service", err)
	if err != nil {
		return fmt.Errorf("patch Service %s: %w", live.Name, err)
	}
	klog.FromContext(ctx).V(2).Info("Cleared Service", "object", klog.KObj(live))
	return nil
}

// serviceObstacles is a strategic merge patch of a Service's spec that server-side apply cannot do: it never removes what it did
// not apply, such as a port that was added by hand, and the API server changes a load balancer's class only together with the
// type, so the Service ends inside the cluster for a moment. applied is what the operator applied last.
func serviceObstacles(live *corev1.Service, applied, want *coreac.ServiceApplyConfiguration) map[string]any {
	spec := map[string]any{}
	if hasStrangePorts(live, applied, want) {
		spec["ports"] = replacing(want.Spec.Ports)
	}
	if live.Spec.Type == corev1.ServiceTypeLoadBalancer && *want.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		!equalPointers(live.Spec.LoadBalancerClass, want.Spec.LoadBalancerClass) {
		spec["type"] = corev1.ServiceTypeClusterIP
		spec["loadBalancerClass"] = nil
	}
	return spec
}

// hasStrangePorts finds ports that are not wanted and that applying will not remove.
func hasStrangePorts(live *corev1.Service, applied, want *coreac.ServiceApplyConfiguration) bool {
	return slices.ContainsFunc(live.Spec.Ports, func(port corev1.ServicePort) bool {
		return !hasPort(want, &port) && !hasPort(applied, &port)
	})
}

func hasPort(service *coreac.ServiceApplyConfiguration, port *corev1.ServicePort) bool {
	return service.Spec != nil && slices.ContainsFunc(service.Spec.Ports, func(candidate coreac.ServicePortApplyConfiguration) bool {
		return candidate.Port != nil && *candidate.Port == port.Port && candidate.Protocol != nil && *candidate.Protocol == port.Protocol
	})
}

func equalPointers[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
