package operator

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// admit has the API server change objects of one kind in a namespace as they are written, as webhooks of clouds and of
// platforms do.
func admit(t *testing.T, namespace, group, resource, condition, path, value string) {
	t.Helper()
	all := admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
	}
	api := server.admin.kube.AdmissionregistrationV1()
	_, policyErr := api.MutatingAdmissionPolicies().Create(t.Context(), &admissionv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec: admissionv1.MutatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
				ResourceRules:     []admissionv1.NamedRuleWithOperations{{RuleWithOperations: all}},
			},
			MatchConditions:    []admissionv1.MatchCondition{{Name: "c", Expression: condition}},
			ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
			Mutations: []admissionv1.Mutation{{
				PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: "[JSONPatch{op: 'add', path: '" + path + "', value: " + value + "}]"},
			}},
		},
	}, metav1.CreateOptions{})
	_, bindingErr := api.MutatingAdmissionPolicyBindings().Create(t.Context(), &admissionv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace}, Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: namespace},
	}, metav1.CreateOptions{})
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_ = api.MutatingAdmissionPolicyBindings().Delete(ctx, namespace, metav1.DeleteOptions{})
		_ = api.MutatingAdmissionPolicies().Delete(ctx, namespace, metav1.DeleteOptions{})
	})
	if err := errors.Join(policyErr, bindingErr); err != nil {
		t.Fatal(err)
	}
}

// wantRest has the operator sync a Broker that is ready, and expects no change of an object by that.
func wantRest(t *testing.T, namespace string, revision func(context.Context) (string, error)) {
	t.Helper()
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
	before, err := revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	patchBroker(t, namespace, `{"service":{"externalEndpointOverride":"nats.example.com:443"}}`)
	wantBrokerCondition(t, namespace, v1alpha1.ConditionExternalEndpoint, metav1.ConditionTrue, v1alpha1.ReasonOverride)
	if after, err := revision(t.Context()); err != nil || after != before {
		t.Errorf("revision %s became %s, %v", before, after, err)
	}
}

func TestTheOperatorDoesNotFightAdmissionOverTheService(t *testing.T) {
	t.Parallel()
	class := func(want string) func(*corev1.Service) bool {
		return func(s *corev1.Service) bool {
			return s.Spec.LoadBalancerClass != nil && *s.Spec.LoadBalancerClass == want
		}
	}
	for name, test := range map[string]struct {
		spec, condition, path, value string
		changed                      func(*corev1.Service) bool
	}{
		"a class where there is none": {
			"{}", "object.spec.type == 'LoadBalancer' && !has(object.spec.loadBalancerClass) && (oldObject == null || oldObject.spec.type != 'LoadBalancer')",
			"/spec/loadBalancerClass", "'example.com/cloud'", class("example.com/cloud"),
		},
		"another class": {
			"{service: {loadBalancerClass: example.com/mine}}", "object.spec.type == 'LoadBalancer'",
			"/spec/loadBalancerClass", "'example.com/cloud'", class("example.com/cloud"),
		},
		"another type": {
			"{service: {type: ClusterIP}}", "true", "/spec/type", "'NodePort'",
			func(s *corev1.Service) bool { return s.Spec.Type == corev1.ServiceTypeNodePort },
		},
		"source ranges": {
			"{service: {loadBalancerSourceRanges: [192.0.2.0/24]}}", "true", "/spec/loadBalancerSourceRanges", "['10.0.0.0/8']",
			func(s *corev1.Service) bool {
				return strings.Join(s.Spec.LoadBalancerSourceRanges, " ") == "10.0.0.0/8"
			},
		},
		"annotations": {
			"{service: {annotations: {a: mine}}}", "true", "/metadata/annotations", `{"a": "theirs"}`,
			func(s *corev1.Service) bool { return s.Annotations["a"] == "theirs" },
		},
		"a port": {
			"{}", "!object.spec.ports.exists(p, p.port == 9999)", "/spec/ports/-", "Object.spec.ports{name: 'extra', port: 9999, protocol: 'TCP'}",
			func(s *corev1.Service) bool { return len(s.Spec.Ports) > 1 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			admit(t, namespace, "", "services", "object.metadata.name != 'meshery-broker-headless' && "+test.condition, test.path, test.value)
			eventually(t, "the policy is in force", func(ctx context.Context) error {
				probe := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: corev1.ServiceSpec{
					Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Name: "x", Port: 1}},
				}}
				if strings.Contains(test.spec, "ClusterIP") {
					probe.Spec.Type = corev1.ServiceTypeClusterIP
				}
				made, err := server.admin.kube.CoreV1().Services(namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err == nil && !test.changed(made) {
					err = errors.New("not yet")
				}
				return err
			})
			if err := create(t, "v1alpha1", "brokers", namespace, broker(meshery.BrokerName, test.spec)); err != nil {
				t.Fatal(err)
			}
			startOperator(t, namespace)
			wantRest(t, namespace, func(ctx context.Context) (string, error) {
				live, err := liveService(ctx, namespace)
				return live.ResourceVersion, err
			})
			live, err := liveService(t.Context(), namespace)
			if err != nil || !test.changed(live) {
				t.Errorf("Service has annotations %v, spec %+v; %v", live.Annotations, live.Spec, err)
			}
		})
	}
}

func TestTheOperatorDoesNotFightAdmissionOverTheServers(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	const image = "mirror.example.com/nats:1"
	admit(t, namespace, "apps", "statefulsets", "true", "/spec/template/spec/containers/0/image", "'"+image+"'")
	label := map[string]string{"a": "b"}
	probe := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: appsv1.StatefulSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: label},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: label}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "nats", Image: "x"}}}},
	}}
	eventually(t, "the policy is in force", func(ctx context.Context) error {
		made, err := server.admin.kube.AppsV1().StatefulSets(namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && made.Spec.Template.Spec.Containers[0].Image != image {
			err = errors.New("not yet")
		}
		return err
	})
	createBroker(t, namespace)
	startOperator(t, namespace)
	wantRest(t, namespace, func(ctx context.Context) (string, error) {
		live, err := liveStatefulSet(ctx, namespace)
		return strconv.FormatInt(live.Generation, 10), err
	})
}
