package operator

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
)

// Server-side apply knows a port by its number, so one whose number was changed stands in the way of ours.
func TestAChangedPortNumberIsPutBack(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	core, apps := server.admin.kube.CoreV1(), server.admin.kube.AppsV1()
	options := metav1.PatchOptions{}

	headless := []byte(`[{"op":"replace","path":"/spec/ports/0/port","value":4333}]`)
	if _, err := core.Services(namespace).Patch(t.Context(), meshery.HeadlessService(meshery.BrokerName), types.JSONPatchType, headless, options); err != nil {
		t.Fatal(err)
	}
	container := []byte(`[{"op":"replace","path":"/spec/template/spec/containers/0/ports/0/containerPort","value":4333}]`)
	if _, err := apps.StatefulSets(namespace).Patch(t.Context(), meshery.BrokerName, types.JSONPatchType, container, options); err != nil {
		t.Fatal(err)
	}
	if _, err := apps.Deployments(namespace).Patch(t.Context(), meshery.MeshSyncName, types.JSONPatchType, container, options); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all ports are ours again", func(ctx context.Context) error {
		service, err := core.Services(namespace).Get(ctx, meshery.HeadlessService(meshery.BrokerName), metav1.GetOptions{})
		if err != nil {
			return err
		}
		servers, err := apps.StatefulSets(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		agent, err := apps.Deployments(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ports := service.Spec.Ports; len(ports) != 3 || ports[0].Port != meshery.PortClient {
			return fmt.Errorf("headless Service: %+v", ports)
		}
		for template, want := range map[*corev1.PodTemplateSpec][]int32{
			&servers.Spec.Template: {meshery.PortClient, portRoutes, meshery.PortMonitor}, &agent.Spec.Template: {meshery.PortAgent},
		} {
			ports := template.Spec.Containers[0].Ports
			if len(ports) != len(want) || ports[0].ContainerPort != want[0] {
				return fmt.Errorf("container %s: %+v, want %v", template.Spec.Containers[0].Name, ports, want)
			}
		}
		return nil
	})
}
