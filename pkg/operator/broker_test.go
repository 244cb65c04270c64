package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// startBroker runs an operator for a new namespace with a Broker whose servers run.
func startBroker(t *testing.T, spec string) (namespace string) {
	t.Helper()
	namespace = newNamespace(t)
	if err := create(t, "v1alpha1", "brokers", namespace, broker(meshery.BrokerName, spec)); err != nil {
		t.Fatal(err)
	}
	startOperator(t, namespace)
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
	return namespace
}

func patchBroker(t *testing.T, namespace, spec string) {
	t.Helper()
	patch := []byte(`{"spec":` + spec + `}`)
	if _, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).
		Patch(t.Context(), meshery.BrokerName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// wantBrokerCondition waits for a condition whose message says all of the texts.
func wantBrokerCondition(t *testing.T, namespace, kind string, status metav1.ConditionStatus, reason string, says ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s=%s %s", kind, status, reason), func(ctx context.Context) error {
		conditions, err := brokerConditions(namespace)(ctx)
		if err != nil {
			return err
		}
		got := meta.FindStatusCondition(conditions, kind)
		if got == nil || got.Status != status || got.Reason != reason {
			return fmt.Errorf("it is %+v", got)
		}
		for _, text := range says {
			if !strings.Contains(got.Message, text) {
				return fmt.Errorf("message %q does not say %q", got.Message, text)
			}
		}
		return nil
	})
}

func liveStatefulSet(ctx context.Context, namespace string) (*appsv1.StatefulSet, error) {
	return server.admin.kube.AppsV1().StatefulSets(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
}

func liveService(ctx context.Context, namespace string) (*corev1.Service, error) {
	return server.admin.kube.CoreV1().Services(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
}

// eventuallyServers waits until the StatefulSet is as check wants it.
func eventuallyServers(t *testing.T, namespace, what string, check func(*appsv1.StatefulSet) bool) *appsv1.StatefulSet {
	t.Helper()
	var found *appsv1.StatefulSet
	eventually(t, what, func(ctx context.Context) error {
		live, err := liveStatefulSet(ctx, namespace)
		if err == nil && !check(live) {
			err = fmt.Errorf("StatefulSet is %+v", live.Spec)
		}
		found = live
		return err
	})
	return found
}

// Every field of spec.service takes effect on the Service that is there, and goes from it again.
func TestTheServiceIsLive(t *testing.T) {
	t.Parallel()
	namespace := startBroker(t, "{}")
	before, err := liveService(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	servers, err := liveStatefulSet(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	ports := func(s *corev1.Service) string {
		var names []string
		for i := range s.Spec.Ports {
			names = append(names, s.Spec.Ports[i].Name)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	class := func(s *corev1.Service) string {
		if s.Spec.LoadBalancerClass == nil {
			return ""
		}
		return *s.Spec.LoadBalancerClass
	}
	for _, step := range []struct {
		spec string
		want func(*corev1.Service) bool
	}{
		{`{"service":{"type":"ClusterIP"}}`, func(s *corev1.Service) bool {
			return s.Spec.Type == "ClusterIP" && ports(s) == "client monitor" && s.Spec.Ports[0].NodePort == 0
		}},
		{`{"service":{"type":"NodePort"}}`, func(s *corev1.Service) bool {
			return s.Spec.Type == "NodePort" && ports(s) == "client" && s.Spec.Ports[0].NodePort != 0
		}},
		{`{"service":{"type":"LoadBalancer","loadBalancerClass":"example.com/a"}}`, func(s *corev1.Service) bool {
			return s.Spec.Type == "LoadBalancer" && ports(s) == "client" && class(s) == "example.com/a"
		}},
		{`{"service":{"loadBalancerClass":"example.com/b"}}`, func(s *corev1.Service) bool { return s.Spec.Type == "LoadBalancer" && class(s) == "example.com/b" }},
		{`{"service":{"loadBalancerClass":null}}`, func(s *corev1.Service) bool { return s.Spec.Type == "LoadBalancer" && class(s) == "" }},
		{`{"service":{"loadBalancerSourceRanges":["192.0.2.0/24","2001:db8::/32"]}}`, func(s *corev1.Service) bool { return len(s.Spec.LoadBalancerSourceRanges) == 2 }},
		{`{"service":{"loadBalancerSourceRanges":["192.0.2.0/24"]}}`, func(s *corev1.Service) bool { return len(s.Spec.LoadBalancerSourceRanges) == 1 }},
		{`{"service":{"loadBalancerSourceRanges":null}}`, func(s *corev1.Service) bool { return len(s.Spec.LoadBalancerSourceRanges) == 0 }},
		{`{"service":{"annotations":{"a":"1","b":"2"}}}`, func(s *corev1.Service) bool { return s.Annotations["a"] == "1" && s.Annotations["b"] == "2" }},
		{`{"service":{"annotations":{"a":"3","b":null}}}`, func(s *corev1.Service) bool { _, b := s.Annotations["b"]; return s.Annotations["a"] == "3" && !b }},
		{`{"service":{"annotations":null}}`, func(s *corev1.Service) bool { _, a := s.Annotations["a"]; return !a }},
		{`{"service":{"type":"ClusterIP"}}`, func(s *corev1.Service) bool { return s.Spec.Type == "ClusterIP" && ports(s) == "client monitor" }},
		{`{"service":null}`, func(s *corev1.Service) bool { return s.Spec.Type == "LoadBalancer" && ports(s) == "client" }},
	} {
		patchBroker(t, namespace, step.spec)
		eventually(t, step.spec, func(ctx context.Context) error {
			live, err := liveService(ctx, namespace)
			if err == nil && !step.want(live) {
				err = fmt.Errorf("Service has annotations %v, spec %+v", live.Annotations, live.Spec)
			}
			return err
		})
	}

	patchBroker(t, namespace, `{"service":{"externalEndpointOverride":"nats.example.com:443"}}`)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionExternalEndpoint, metav1.ConditionTrue, v1alpha1.ReasonOverride)
	patchBroker(t, namespace, `{"service":{"externalEndpointOverride":null}}`)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionExternalEndpoint, metav1.ConditionFalse, v1alpha1.ReasonLoadBalancerPending)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)

	after, serviceErr := liveService(t.Context(), namespace)
	serversAfter, serversErr := liveStatefulSet(t.Context(), namespace)
	if err := errors.Join(serviceErr, serversErr); err != nil {
		t.Fatal(err)
	}
	if after.UID != before.UID || after.Spec.ClusterIP != before.Spec.ClusterIP {
		t.Errorf("Service %s at %s became %s at %s", before.UID, before.Spec.ClusterIP, after.UID, after.Spec.ClusterIP)
	}
	if serversAfter.UID != servers.UID || serversAfter.Generation != servers.Generation {
		t.Error("the servers were touched by a change of the Service")
	}
}

// The monitor port asks nobody for a token: on a load balancer it must not stay, whoever put it there.
func TestPortsOfOthersAreRemoved(t *testing.T) {
	t.Parallel()
	namespace := startBroker(t, "{}")
	services := server.admin.kube.CoreV1().Services(namespace)
	before, err := liveService(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]string{
		"one is added":                 `[{"op":"add","path":"/spec/ports/-","value":{"name":"monitor","port":8222,"targetPort":8222}}]`,
		"ours gets another number":     `[{"op":"replace","path":"/spec/ports/0/port","value":4333}]`,
		"ours gets another protocol":   `[{"op":"replace","path":"/spec/ports/0/protocol","value":"UDP"}]`,
		"ours gets another name":       `[{"op":"replace","path":"/spec/ports/0/name","value":"x"}]`,
		"ours leads somewhere else":    `[{"op":"replace","path":"/spec/ports/0/targetPort","value":8222}]`,
		"two are added, under ours":    `[{"op":"add","path":"/spec/ports/-","value":{"name":"a","port":1}},{"op":"add","path":"/spec/ports/-","value":{"name":"b","port":4222,"protocol":"UDP"}}]`,
		"ours is replaced by somebody": `[{"op":"replace","path":"/spec/ports","value":[{"name":"client","port":8222,"targetPort":8222}]}]`,
	} {
		if _, err := services.Patch(t.Context(), meshery.BrokerName, types.JSONPatchType, []byte(edit), metav1.PatchOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		eventually(t, name, func(ctx context.Context) error {
			live, err := liveService(ctx, namespace)
			if err != nil {
				return err
			}
			if ports := live.Spec.Ports; len(ports) != 1 || ports[0].Name != "client" || ports[0].Port != 4222 || ports[0].Protocol != corev1.ProtocolTCP || ports[0].TargetPort.String() != "client" {
				return fmt.Errorf("ports are %+v", ports)
			}
			return nil
		})
	}
	after, err := liveService(t.Context(), namespace)
	if err != nil || after.UID != before.UID {
		t.Errorf("Service %s became %s, %v", before.UID, after.UID, err)
	}
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
}

func TestALateLoadBalancerIsInStatusAtOnce(t *testing.T) {
	t.Parallel()
	namespace := startBroker(t, "{}")
	wantBrokerCondition(t, namespace, v1alpha1.ConditionExternalEndpoint, metav1.ConditionFalse, v1alpha1.ReasonLoadBalancerPending, "NodePort")
	for _, address := range []struct{ ingress, want string }{
		{`{"hostname":"lb.example.com"}`, "lb.example.com:4222"}, {`{"ip":"2001:db8::7"}`, "[2001:db8::7]:4222"}, {`{"ip":"192.0.2.7"}`, "192.0.2.7:4222"},
	} {
		given := time.Now()
		if _, err := server.admin.kube.CoreV1().Services(namespace).Patch(t.Context(), meshery.BrokerName, types.MergePatchType,
			[]byte(`{"status":{"loadBalancer":{"ingress":[`+address.ingress+`]}}}`), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		eventually(t, address.want, func(ctx context.Context) error {
			broker, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
			if err == nil && broker.Status.Endpoint.External != address.want {
				err = fmt.Errorf("external endpoint is %q", broker.Status.Endpoint.External)
			}
			return err
		})
		if took := time.Since(given); took > atOnce {
			t.Errorf("%s was in status after %v", address.want, took)
		}
	}
	wantBrokerCondition(t, namespace, v1alpha1.ConditionExternalEndpoint, metav1.ConditionTrue, v1alpha1.ReasonLoadBalancer)
}

// playKubeletOf reports all the Broker's pods as ready.
func playKubeletOf(t *testing.T, namespace string) {
	t.Helper()
	pods, err := server.admin.kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + meshery.AppBroker})
	if err != nil {
		t.Fatal(err)
	}
	running := fmt.Appendf(nil, `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":%q}]}}`, time.Now().UTC().Format(time.RFC3339))
	for _, pod := range pods.Items {
		if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
			continue
		}
		_, err := server.admin.kube.CoreV1().Pods(namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType, running, metav1.PatchOptions{}, "status")
		if ignoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
}

// wantRoutesSecret waits until the password of the routes is there, or gone, while the Broker's pods are played ready.
func wantRoutesSecret(t *testing.T, namespace string, want bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("a password of the routes: %t", want), func(ctx context.Context) error {
		playKubeletOf(t, namespace)
		_, err := server.admin.kube.CoreV1().Secrets(namespace).Get(ctx, routesSecret(meshery.BrokerName), metav1.GetOptions{})
		if ignoreNotFound(err) != nil {
			return err
		}
		if (err == nil) != want {
			return fmt.Errorf("it is there: %t", err == nil)
		}
		return nil
	})
}

func TestSizeAndVersionAreLive(t *testing.T) {
	t.Parallel()
	namespace := startBroker(t, "{}")
	before, err := liveStatefulSet(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	budgets := server.admin.kube.PolicyV1().PodDisruptionBudgets(namespace)
	budget := func(want bool) {
		t.Helper()
		eventually(t, fmt.Sprintf("a disruption budget: %t", want), func(ctx context.Context) error {
			_, err := budgets.Get(ctx, meshery.BrokerName, metav1.GetOptions{})
			if want || ignoreNotFound(err) != nil {
				return err
			}
			if err == nil {
				return errors.New("it is there")
			}
			return nil
		})
	}

	patchBroker(t, namespace, `{"size":3}`)
	eventuallyServers(t, namespace, "three servers", func(s *appsv1.StatefulSet) bool {
		pod := &s.Spec.Template.Spec
		return *s.Spec.Replicas == 3 && pod.Containers[0].Lifecycle != nil && len(pod.TopologySpreadConstraints) == 2
	})
	budget(true)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionProgressing, metav1.ConditionTrue, v1alpha1.ReasonResizing, "changes to 3", "MeshSync publishes it again")
	eventually(t, "the third server ends the resize", func(ctx context.Context) error {
		playKubeletOf(t, namespace)
		conditions, err := brokerConditions(namespace)(ctx)
		if err == nil && !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) {
			err = fmt.Errorf("conditions are %+v", conditions)
		}
		return err
	})
	wantBrokerCondition(t, namespace, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonRolloutComplete)

	patchBroker(t, namespace, `{"size":2,"version":"9.9.9"}`)
	eventuallyServers(t, namespace, "two servers of another version", func(s *appsv1.StatefulSet) bool {
		return *s.Spec.Replicas == 2 && strings.HasSuffix(s.Spec.Template.Spec.Containers[0].Image, "nats:9.9.9")
	})
	budget(false)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionWarning, metav1.ConditionTrue, v1alpha1.ReasonEvenSize)
	wantRoutesSecret(t, namespace, true)

	patchBroker(t, namespace, `{"size":null,"version":null}`)
	after := eventuallyServers(t, namespace, "one server as at first", func(s *appsv1.StatefulSet) bool {
		pod := &s.Spec.Template.Spec
		return *s.Spec.Replicas == 1 && pod.Containers[0].Lifecycle == nil && len(pod.TopologySpreadConstraints) == 0 && s.Spec.MinReadySeconds == 0 &&
			len(pod.Volumes) == len(before.Spec.Template.Spec.Volumes) && len(pod.Containers[0].Env) == len(before.Spec.Template.Spec.Containers[0].Env) &&
			pod.Containers[0].Image == before.Spec.Template.Spec.Containers[0].Image
	})
	if after.UID != before.UID {
		t.Error("the StatefulSet was made anew")
	}
	wantBrokerCondition(t, namespace, v1alpha1.ConditionWarning, metav1.ConditionFalse, v1alpha1.ReasonNoWarnings)
	wantRoutesSecret(t, namespace, false)
}

func TestJetStreamIsLiveAndVolumesStay(t *testing.T) {
	t.Parallel()
	namespace := startBroker(t, `{jetstream: {storage: {size: 1Gi, storageClassName: fast}}}`)
	before, err := liveStatefulSet(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	claims := before.Spec.VolumeClaimTemplates
	if len(claims) != 1 || *claims[0].Spec.StorageClassName != "fast" || !claims[0].Spec.Resources.Requests.Storage().Equal(resource.MustParse("1Gi")) {
		t.Fatalf("claims %+v", claims)
	}
	if policy := before.Spec.PersistentVolumeClaimRetentionPolicy; policy.WhenDeleted != "Delete" || policy.WhenScaled != "Delete" {
		t.Errorf("retention %+v", policy)
	}
	config := func(what string, check func(string) bool) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) error {
			config, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Get(ctx, meshery.BrokerConfig(meshery.BrokerName), metav1.GetOptions{})
			if err == nil && !check(config.Data[natsConfigKey]) {
				err = errors.New(config.Data[natsConfigKey])
			}
			return err
		})
	}
	config("45 % of the volume", func(conf string) bool { return strings.Contains(conf, "max_file_store: 483183823\n") })

	patchBroker(t, namespace, `{"jetstream":{"maxStorage":"100Mi","storage":{"retain":true}}}`)
	config("another limit", func(conf string) bool { return strings.Contains(conf, "max_file_store: 104857600\n") })
	eventuallyServers(t, namespace, "volumes are retained", func(s *appsv1.StatefulSet) bool {
		return s.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted == "Retain" && s.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled == "Retain"
	})

	// What cannot be: all else is as the spec asks, and the condition says what to do.
	patchBroker(t, namespace, `{"version":"9.9.9","jetstream":{"maxStorage":null,"storage":{"size":"5Gi"}}}`)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonStorageImmutable,
		"5Gi", "kubectl delete pvc --wait=false -n "+namespace, "kubectl delete statefulset -n "+namespace+" "+meshery.BrokerName)
	eventuallyServers(t, namespace, "the version is live", func(s *appsv1.StatefulSet) bool {
		return strings.HasSuffix(s.Spec.Template.Spec.Containers[0].Image, "nats:9.9.9")
	})
	config("the limit of the volume that there is", func(conf string) bool { return strings.Contains(conf, "max_file_store: 483183823\n") })
	eventually(t, "Ready all the same", func(ctx context.Context) error {
		playKubeletOf(t, namespace)
		conditions, err := brokerConditions(namespace)(ctx)
		if err == nil && (!meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) || !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionDegraded)) {
			err = fmt.Errorf("conditions are %+v", conditions)
		}
		return err
	})
	patchBroker(t, namespace, `{"jetstream":{"storage":null}}`)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonStorageImmutable, "asks for no volumes")
	patchBroker(t, namespace, `{"jetstream":{"enabled":false,"storage":{"size":"1Gi","storageClassName":"fast"}}}`)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
	config("JetStream is off", func(conf string) bool { return !strings.Contains(conf, "jetstream") })
	eventuallyServers(t, namespace, "volumes go with the servers again", func(s *appsv1.StatefulSet) bool {
		return s.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted == "Delete"
	})
	patchBroker(t, namespace, `{"jetstream":null}`)
	config("JetStream is on", func(conf string) bool { return strings.Contains(conf, "jetstream") })
	wantBrokerCondition(t, namespace, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonStorageImmutable)

	after, err := liveStatefulSet(t.Context(), namespace)
	if err != nil || after.UID != before.UID || len(after.Spec.VolumeClaimTemplates) != 1 {
		t.Errorf("StatefulSet %s became %s with claims %+v, %v", before.UID, after.UID, after.Spec.VolumeClaimTemplates, err)
	}
	// What the condition says to do.
	if err := server.admin.kube.AppsV1().StatefulSets(namespace).Delete(t.Context(), meshery.BrokerName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventuallyServers(t, namespace, "servers without volumes", func(s *appsv1.StatefulSet) bool { return len(s.Spec.VolumeClaimTemplates) == 0 })
	wantBrokerCondition(t, namespace, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonAsExpected)
}

// A Secret that a user made is taken as it is; what becomes of it reaches servers and agent.
func TestAnAdoptedTokenIsFollowed(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	secrets := server.admin.kube.CoreV1().Secrets(namespace)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "meshery-nats-auth"}, StringData: map[string]string{"token": "chosen-by-hand"}}
	if _, err := secrets.Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	startOperator(t, namespace)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
	rolled := func(what string, change func() error) {
		t.Helper()
		brokerBefore, agentBefore, err := secretHashes(t.Context(), namespace)
		if err = errors.Join(err, change()); err != nil {
			t.Fatal(err)
		}
		eventually(t, what, func(ctx context.Context) error {
			broker, agent, err := secretHashes(ctx, namespace)
			if err == nil && (broker == brokerBefore || agent == agentBefore) {
				err = fmt.Errorf("broker %s (was %s), agent %s (was %s)", broker, brokerBefore, agent, agentBefore)
			}
			return err
		})
	}
	edit := func(token string) func() error {
		return func() error {
			patch, _ := json.Marshal(map[string]any{"stringData": map[string]string{"token": token}})
			_, err := secrets.Patch(t.Context(), theirs.Name, types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		}
	}
	rolled("another token", edit("another"))

	// Without a token the servers stay as they are.
	before, err := liveStatefulSet(t.Context(), namespace)
	if err = errors.Join(err, edit("")()); err != nil {
		t.Fatal(err)
	}
	wantBrokerCondition(t, namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid, `Secret meshery-nats-auth has no key "token"`)
	if after, err := liveStatefulSet(t.Context(), namespace); err != nil || after.Generation != before.Generation {
		t.Errorf("the servers were touched: %+v, %v", after, err)
	}

	if err := edit("from-a-file\n")(); err != nil {
		t.Fatal(err)
	}
	wantBrokerCondition(t, namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid, "line break")

	deleted := time.Now()
	rolled("a generated token", func() error { return secrets.Delete(t.Context(), theirs.Name, metav1.DeleteOptions{}) })
	if took := time.Since(deleted); took > atOnce {
		t.Errorf("another token was in force after %v", took)
	}
	wantBrokerCondition(t, namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady)
	if secret, err := secrets.Get(t.Context(), theirs.Name, metav1.GetOptions{}); err != nil || len(secret.Data["token"]) == 0 {
		t.Errorf("Secret %+v, %v", secret, err)
	}
}

// The reason why a StatefulSet's controller cannot create pods stands in its Events only.
func TestPodsThatAreRefusedAreSaid(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	quotas := server.admin.kube.CoreV1().ResourceQuotas(namespace)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
	}
	if _, err := quotas.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the quota is in force", func(ctx context.Context) error {
		live, err := quotas.Get(ctx, "none", metav1.GetOptions{})
		if err == nil && len(live.Status.Hard) == 0 {
			err = errors.New("not yet")
		}
		return err
	})
	createBroker(t, namespace)
	startOperator(t, namespace)
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionProgressing} {
		status, reason := metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady
		if kind == v1alpha1.ConditionProgressing {
			status, reason = metav1.ConditionTrue, v1alpha1.ReasonRollingOut
		}
		wantBrokerCondition(t, namespace, kind, status, reason, "pods that are not there: 1", "kubectl describe statefulset -n "+namespace)
	}
	if err := quotas.Delete(t.Context(), "none", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
}

// Finalizers that the Kubebuilder operator left would keep its resources from ever going: nobody else removes them.
func TestFinalizersOfTheEarlierOperatorAreRemoved(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	api := server.admin.meshery.MesheryV1alpha1()
	brokers, meshSyncs := api.Brokers(namespace), api.MeshSyncs(namespace)
	const others = "example.com/kept"
	for _, name := range []string{"stays", "goes"} {
		object := metav1.ObjectMeta{Name: name, Finalizers: []string{"broker.meshery.io/finalizer"}}
		if name == "stays" {
			object.Finalizers = []string{others, "broker.meshery.io/finalizer"}
		}
		if _, err := brokers.Create(t.Context(), &v1alpha1.Broker{ObjectMeta: object}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		object.Finalizers[len(object.Finalizers)-1] = "meshsync.meshery.io/finalizer"
		if _, err := meshSyncs.Create(t.Context(), &v1alpha1.MeshSync{ObjectMeta: object}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(brokers.Delete(t.Context(), "goes", metav1.DeleteOptions{}), meshSyncs.Delete(t.Context(), "goes", metav1.DeleteOptions{})); err != nil {
		t.Fatal(err)
	}
	startOperator(t, namespace)
	eventually(t, "finalizers are removed", func(ctx context.Context) error {
		_, brokerGone := brokers.Get(ctx, "goes", metav1.GetOptions{})
		_, meshSyncGone := meshSyncs.Get(ctx, "goes", metav1.GetOptions{})
		if !apierrors.IsNotFound(brokerGone) || !apierrors.IsNotFound(meshSyncGone) {
			return fmt.Errorf("deleted ones: %w, %w", brokerGone, meshSyncGone)
		}
		broker, brokerErr := brokers.Get(ctx, "stays", metav1.GetOptions{})
		meshSync, meshSyncErr := meshSyncs.Get(ctx, "stays", metav1.GetOptions{})
		if err := errors.Join(brokerErr, meshSyncErr); err != nil {
			return err
		}
		for _, finalizers := range [][]string{broker.Finalizers, meshSync.Finalizers} {
			if !slices.Equal(finalizers, []string{others}) {
				return fmt.Errorf("finalizers are %v", finalizers)
			}
		}
		return nil
	})
	none := []byte(`{"metadata":{"finalizers":null}}`) // for the namespace to be able to go
	_, brokerErr := brokers.Patch(t.Context(), "stays", types.MergePatchType, none, metav1.PatchOptions{})
	_, meshSyncErr := meshSyncs.Patch(t.Context(), "stays", types.MergePatchType, none, metav1.PatchOptions{})
	if err := errors.Join(brokerErr, meshSyncErr); err != nil {
		t.Error(err)
	}
}

func TestServersOfTheEarlierOperatorAreReported(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	broker := createBroker(t, namespace)
	statefulSets := server.admin.kube.AppsV1().StatefulSets(namespace)
	label := map[string]string{"app": "meshery", "component": "broker"}
	theirs, err := statefulSets.Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "meshery-nats", Labels: label, OwnerReferences: []metav1.OwnerReference{
			// Its API version of the Broker was another.
			{APIVersion: "meshery.io/v1alpha2", Kind: "Broker", Name: broker.Name, UID: broker.UID, Controller: new(true)},
		}},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(0)), ServiceName: "meshery-nats", Selector: &metav1.LabelSelector{MatchLabels: label},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: label}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "nats", Image: "nats"}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	startOperator(t, namespace)
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionWarning, metav1.ConditionTrue, v1alpha1.ReasonEarlierBroker,
		"kubectl delete -n "+namespace, "statefulset/meshery-nats")
	if after, err := statefulSets.Get(t.Context(), theirs.Name, metav1.GetOptions{}); err != nil || after.Generation != theirs.Generation || len(after.ManagedFields) > 2 {
		t.Errorf("it was touched: %+v, %v", after, err)
	}
	if err := statefulSets.Delete(t.Context(), theirs.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantBrokerCondition(t, namespace, v1alpha1.ConditionWarning, metav1.ConditionFalse, v1alpha1.ReasonNoWarnings)
}
