package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// clearService does to the client Service what server-side apply cannot do, so that the same object stays, with its cluster IP.
// Apply never removes what it did not apply, such as a port that was added by hand; and the API server changes a load balancer's
// class only together with the type, so the Service ends inside the cluster for a moment.
func (c *brokerController) clearService(ctx context.Context, broker *v1alpha1.Broker) error {
	live := c.liveService(broker)
	if live == nil {
		return nil
	}
	applied, err := coreac.ExtractService(live, c.manager)
	if err != nil {
		return fmt.Errorf("compare Service %s: %w", live.Name, err)
	}
	want := brokerService(broker)
	spec := map[string]any{}
	if hasStrangePorts(live, applied, want) {
		spec["ports"] = replacing(want.Spec.Ports)
	}
	if hasStrangeClass(live, applied, want) && c.refusesClass(ctx, want) {
		spec["type"], spec["loadBalancerClass"] = corev1.ServiceTypeClusterIP, nil
	}
	if len(spec) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": live.ResourceVersion}, // of this object as the cache shows it, or not at all
		"spec":     spec,
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

// hasStrangeClass reports whether a load balancer's class is not the wanted one, and one is wanted or was applied: if neither, a
// cloud's webhook has chosen it.
func hasStrangeClass(live *corev1.Service, applied, want *coreac.ServiceApplyConfiguration) bool {
	return live.Spec.Type == corev1.ServiceTypeLoadBalancer && *want.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		!equalPointers(live.Spec.LoadBalancerClass, want.Spec.LoadBalancerClass) &&
		(want.Spec.LoadBalancerClass != nil || applied.Spec != nil && applied.Spec.LoadBalancerClass != nil)
}

// refusesClass asks the API server whether the class can only be changed by way of another type. It takes the Service as it is
// wanted when an admission webhook puts a class of its own there: that would be there again, however often it was cleared.
func (c *brokerController) refusesClass(ctx context.Context, want *coreac.ServiceApplyConfiguration) bool {
	_, err := c.clients.kube.CoreV1().Services(*want.Namespace).
		Apply(ctx, want, metav1.ApplyOptions{FieldManager: c.manager, Force: true, DryRun: []string{metav1.DryRunAll}})
	return apierrors.IsInvalid(err)
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
