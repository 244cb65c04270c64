package operator

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
)

func TestAPortNumberChangedByHandIsPutBack(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	for _, name := range []string{meshery.BrokerName, meshery.HeadlessService(meshery.BrokerName)} {
		services := server.admin.kube.CoreV1().Services(namespace)
		patch := []byte(`[{"op":"replace","path":"/spec/ports/0/port","value":5000}]`)
		if _, err := services.Patch(t.Context(), name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" has its port again", func(ctx context.Context) error {
			service, err := services.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if port := service.Spec.Ports[0]; port.Port != meshery.PortClient || port.Name != meshery.PortClientName {
				return fmt.Errorf("ports are %+v", service.Spec.Ports)
			}
			return nil
		})
	}
}
