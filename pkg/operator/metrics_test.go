package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/telemetry"
	"meshery.io/operator/test/metricsdoc"
)

func TestMetricsAreDocumented(t *testing.T) {
	registry := telemetry.NewRegistry("operator")
	m := newMetrics(registry)
	m.wrote("Service", nil)
	m.watchFailed("Service", errors.New("broken"))
	m.synced(controllerBroker, nil, time.Second)
	queue := newQueue("test", m.workqueue)
	queue.ShutDown()
	m.show(&caches{watched: []watched{}})
	metricsdoc.Check(t, "../../docs/metrics.md", "meshery_operator_", registry)
}

// The metrics of a running operator say what there is, by kind and not by name.
func TestMetricsTellWhatThereIs(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	addr, profiles := freeAddr(t), freeAddr(t)
	startOperator(t, namespace, func(o *Options) { o.MetricsAddr, o.PprofAddr = addr, profiles })
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)

	eventually(t, "metrics", func(ctx context.Context) error {
		_, body, err := fetch(ctx, "http://"+addr+"/metrics")
		if err != nil {
			return err
		}
		for _, want := range []string{
			`meshery_operator_resources{kind="Broker",ready="True"} 1`,
			`meshery_operator_resources{kind="Broker",ready="False"} 0`,
			`meshery_operator_resources{kind="MeshSync",ready="False"} 1`,
			`meshery_operator_informer_objects{kind="Deployment"} 1`,
			`meshery_operator_informer_objects{kind="CustomResourceDefinitionMetadata"} 1`,
			`meshery_operator_informer_objects{kind="SecretMetadata"} 0`,
			`meshery_operator_informer_synced{kind="ClusterRoleBinding"} 1`,
			`meshery_operator_object_writes_total{kind="StatefulSet",result="success"} `,
			`meshery_operator_reconcile_total{controller="meshsync",result="error"} 0`,
			`meshery_operator_workqueue_adds_total{name="broker"} `,
			`meshery_operator_leader 1`,
			`meshery_operator_build_info{`,
		} {
			if !strings.Contains(body, want) {
				return fmt.Errorf("no %s in\n%s", want, grep(body, "meshery_operator"))
			}
		}
		if strings.Contains(body, namespace) || strings.Contains(body, "meshery-meshsync") {
			t.Errorf("metrics hold names:\n%s", grep(body, "meshery"))
		}
		metricsdoc.CheckServed(t, "../../docs/metrics.md", "meshery_operator_", body)
		return nil
	})
	if code, _, err := fetch(t.Context(), "http://"+profiles+"/debug/pprof/heap"); err != nil || code != http.StatusOK {
		t.Errorf("profiles where they are asked for: %d, %v", code, err)
	}
	if code, _, err := fetch(t.Context(), "http://"+addr+"/debug/pprof/heap"); err != nil || code != http.StatusNotFound {
		t.Errorf("profiles beside metrics: %d, %v", code, err)
	}
}

// grep keeps the lines that contain a text and are no comments.
func grep(text, wanted string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, wanted) && !strings.HasPrefix(line, "#") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
