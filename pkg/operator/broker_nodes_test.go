package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// newNode makes a node that is ready, until the end of the test or until Kubernetes misses its heartbeat after 40 s.
func newNode(t *testing.T, name string, addresses ...corev1.NodeAddress) {
	t.Helper()
	nodes := server.admin.kube.CoreV1().Nodes()
	if _, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nodes.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	now := metav1.Now()
	status, err := json.Marshal(map[string]any{"status": corev1.NodeStatus{
		Addresses:  addresses,
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: now, LastTransitionTime: now}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nodes.Patch(t.Context(), name, types.MergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

func touchBroker(t *testing.T, namespace, value string) {
	t.Helper()
	if _, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Patch(t.Context(), meshery.BrokerName, types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"touched":"`+value+`"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Nodes belong to all tests of this package: those that need them are steps of this one.
func TestNodePorts(t *testing.T) {
	t.Parallel()
	t.Run("without nodes there is no address", func(t *testing.T) {
		namespace := startBroker(t, "{service: {type: NodePort}}")
		wantBrokerCondition(t, namespace, v1alpha1.ConditionExternalEndpoint, metav1.ConditionFalse, v1alpha1.ReasonNodeAddressUnknown, "No node is ready")

		newNode(t, "a", corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "fd00::1"})
		touchBroker(t, namespace, "1") // instead of waiting for the minute to pass
		wantBrokerCondition(t, namespace, v1alpha1.ConditionExternalEndpoint, metav1.ConditionTrue, v1alpha1.ReasonNodePort)
		service, serviceErr := liveService(t.Context(), namespace)
		broker, brokerErr := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Get(t.Context(), meshery.BrokerName, metav1.GetOptions{})
		if err := errors.Join(serviceErr, brokerErr); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("[fd00::1]:%d", service.Spec.Ports[0].NodePort); broker.Status.Endpoint.External != want {
			t.Errorf("external endpoint %q, want %q", broker.Status.Endpoint.External, want)
		}
	})
	t.Run("who may not list nodes is told", func(t *testing.T) {
		namespace := newNamespace(t)
		forbidNodes(t, namespace)
		if err := create(t, "v1alpha1", "brokers", namespace, broker(meshery.BrokerName, "{service: {type: NodePort}}")); err != nil {
			t.Fatal(err)
		}
		startOperator(t, namespace)
		playKubelet(t, namespace)
		wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
		wantBrokerCondition(t, namespace, v1alpha1.ConditionExternalEndpoint, metav1.ConditionFalse, v1alpha1.ReasonNodeAddressUnknown,
			"grant it list on nodes", "externalEndpointOverride")
	})
	t.Run("a Broker with everything set costs no write when it is synced again", aSecondSyncOfEverythingWritesNothing)
}

// A list of nodes that fails is said in the condition, and tried again.
func TestNodesThatCannotBeListed(t *testing.T) {
	kube := fake.NewClientset()
	kube.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("etcd is slow")
	})
	controller := &brokerController{applier: applier{clients: clients{kube: kube}}}
	broker := newBroker(func(b *v1alpha1.Broker) { b.Spec.Service.Type = corev1.ServiceTypeNodePort })
	node, _, err := controller.findNode(t.Context(), broker)
	if err == nil || node.host != "" || !strings.Contains(node.unknown, "etcd is slow") {
		t.Errorf("got %+v, %v", node, err)
	}
}

// forbidNodes takes from a namespace's operator what lets it list nodes.
func forbidNodes(t *testing.T, namespace string) {
	t.Helper()
	rbac := server.admin.kube.RbacV1()
	bindings, err := rbac.ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role, err := rbac.ClusterRoles().Get(t.Context(), "meshery-operator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	poorer := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "no-nodes-"}}
	for _, rule := range role.Rules {
		if len(rule.Resources) != 1 || rule.Resources[0] != "nodes" {
			poorer.Rules = append(poorer.Rules, rule)
		}
	}
	if poorer, err = rbac.ClusterRoles().Create(t.Context(), poorer, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := range bindings.Items {
		binding := &bindings.Items[i]
		if binding.RoleRef.Name != role.Name || len(binding.Subjects) != 1 || binding.Subjects[0].Namespace != namespace {
			continue
		}
		replacement := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "op-"}, Subjects: binding.Subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: poorer.Name},
		}
		_, createErr := rbac.ClusterRoleBindings().Create(t.Context(), replacement, metav1.CreateOptions{})
		if err := errors.Join(createErr, rbac.ClusterRoleBindings().Delete(t.Context(), binding.Name, metav1.DeleteOptions{})); err != nil {
			t.Fatal(err)
		}
	}
}

const everything = `{size: 3, version: 2.15.2-alpine, service: {type: NodePort, annotations: {a: b}},
  jetstream: {maxStorage: 500Mi, storage: {size: 1024Mi, storageClassName: fast, retain: true}}, tls: {secretName: nats-tls},
  resources: {requests: {cpu: 1000m, memory: 1024Mi}, limits: {memory: 1Gi}}, nodeSelector: {a: b},
  tolerations: [{key: a, operator: Exists, effect: NoSchedule}, {operator: Exists}],
  affinity: {nodeAffinity: {}, podAffinity: {}, podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [
    {weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}}}]}},
  imagePullSecrets: [{name: p}], priorityClassName: high}`

func aSecondSyncOfEverythingWritesNothing(t *testing.T) {
	newNode(t, "b", corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "192.0.2.1"})
	namespace := newNamespace(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "nats-tls"}, Data: newCertificate(t, time.Now().AddDate(0, 0, 7), "elsewhere")}
	secret.Data["ca.crt"] = secret.Data["tls.crt"]
	if _, err := server.admin.kube.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := create(t, "v1alpha1", "brokers", namespace, broker(meshery.BrokerName, everything)); err != nil {
		t.Fatal(err)
	}
	stop := startOperator(t, namespace)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionExternalEndpoint, metav1.ConditionTrue, v1alpha1.ReasonNodePort)
	settled := func(ctx context.Context) error { // nobody creates the pods: there is no class "high"
		conditions, err := brokerConditions(namespace)(ctx)
		if err == nil && !strings.Contains(meta.FindStatusCondition(conditions, v1alpha1.ConditionReady).Message, "pods that are not there: 3") {
			err = fmt.Errorf("conditions %+v", conditions)
		}
		return err
	}
	eventually(t, "the StatefulSet's controller has looked at it", settled)
	stop()
	before := mutations(t, namespace)

	// The status says which generation was synced; a wanted change of the Service's annotation is its only other trace.
	startOperator(t, namespace)
	for i := range 3 {
		touchBroker(t, namespace, strconv.Itoa(i))
	}
	patchBroker(t, namespace, `{"service":{"annotations":{"a":"c"}}}`)
	eventually(t, "the second operator works", func(ctx context.Context) error {
		conditions, err := brokerConditions(namespace)(ctx)
		if err == nil && meta.FindStatusCondition(conditions, v1alpha1.ConditionReady).ObservedGeneration != 2 {
			err = fmt.Errorf("conditions %+v", conditions)
		}
		return err
	})
	for _, write := range mutations(t, namespace)[len(before):] {
		if !strings.Contains(write, "/services/meshery-broker?") && !strings.Contains(write, "/brokers/meshery-broker/status") {
			t.Errorf("needless write: %s", write)
		}
	}
}
