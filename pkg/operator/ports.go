package operator

import (
	"context"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
)

// replacePorts makes the ports of an object what they are to be, when somebody has changed the number of one. Server-side apply
// knows ports by their numbers: it would put ours beside that one, under the same name, and the API server refuses two ports of
// one name. An object without ports is left alone.
func (a *applier) replacePorts(ctx context.Context, namespace string, object any) error {
	var spec map[string]any
	switch want := object.(type) {
	case *coreac.ServiceApplyConfiguration:
		spec = map[string]any{"ports": replacing(want.Spec.Ports)}
	case *appsac.StatefulSetApplyConfiguration:
		spec = map[string]any{"template": templatePorts(want.Spec.Template)}
	case *appsac.DeploymentApplyConfiguration:
		spec = map[string]any{"template": templatePorts(want.Spec.Template)}
	default:
		return nil
	}
	patch, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return err
	}
	core, apps := a.clients.kube.CoreV1(), a.clients.kube.AppsV1()
	options := metav1.PatchOptions{FieldManager: a.manager}
	switch want := object.(type) {
	case *coreac.ServiceApplyConfiguration:
		_, err = core.Services(namespace).Patch(ctx, *want.Name, types.StrategicMergePatchType, patch, options)
		a.metrics.wrote("Service", err)
	case *appsac.StatefulSetApplyConfiguration:
		_, err = apps.StatefulSets(namespace).Patch(ctx, *want.Name, types.StrategicMergePatchType, patch, options)
		a.metrics.wrote("StatefulSet", err)
	case *appsac.DeploymentApplyConfiguration:
		_, err = apps.Deployments(namespace).Patch(ctx, *want.Name, types.StrategicMergePatchType, patch, options)
		a.metrics.wrote("Deployment", err)
	}
	return err
}

// templatePorts replaces the ports of a pod template's containers.
func templatePorts(template *coreac.PodTemplateSpecApplyConfiguration) map[string]any {
	var containers []any
	for i := range template.Spec.Containers {
		container := &template.Spec.Containers[i]
		containers = append(containers, map[string]any{"name": container.Name, "ports": replacing(container.Ports)})
	}
	return map[string]any{"spec": map[string]any{"containers": containers}}
}

// replacing is a list of a strategic merge patch that takes the place of the one that is there.
func replacing[T any](list []T) []any {
	replaced := []any{map[string]any{"$patch": "replace"}}
	for i := range list {
		replaced = append(replaced, &list[i])
	}
	return replaced
}
