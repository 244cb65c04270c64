package operator

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	mesheryac "meshery.io/operator/pkg/generated/applyconfiguration/meshery/v1alpha1"
	"meshery.io/operator/pkg/generated/clientset/versioned/fake"
)

// create sends a resource as a user writes it, in the named version of the API.
func create(t *testing.T, version, plural, namespace, text string) error {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return server.admin.meshery.MesheryV1alpha1().RESTClient().Post().
		AbsPath("/apis/meshery.io", version, "namespaces", namespace, plural).
		SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error()
}

func broker(name, spec string) string {
	return "apiVersion: meshery.io/v1alpha1\nkind: Broker\nmetadata: {name: " + name + "}\nspec: " + spec
}

func meshSync(name, spec string) string {
	return "apiVersion: meshery.io/v1alpha1\nkind: MeshSync\nmetadata: {name: " + name + "}\nspec: " + spec
}

func TestTheSchemaRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	long := "a" + strings.Repeat("b", 50)
	for name, test := range map[string]struct {
		plural, text string
		want         string // in the error; empty: accepted
	}{
		"an empty Broker":                 {"brokers", broker("b1", "{}"), ""},
		"size 0":                          {"brokers", broker("b2", "{size: 0}"), "spec.size"},
		"size 11":                         {"brokers", broker("b3", "{size: 11}"), "spec.size"},
		"an unknown Service type":         {"brokers", broker("b4", "{service: {type: ExternalName}}"), `supported values: "ClusterIP", "NodePort", "LoadBalancer"`},
		"a class on a ClusterIP":          {"brokers", broker("b5", "{service: {type: ClusterIP, loadBalancerClass: x}}"), "loadBalancerClass needs type LoadBalancer"},
		"source ranges on a NodePort":     {"brokers", broker("b6", `{service: {type: NodePort, loadBalancerSourceRanges: ["10.0.0.0/8"]}}`), "loadBalancerSourceRanges needs type LoadBalancer"},
		"a class on the default type":     {"brokers", broker("b7", "{service: {loadBalancerClass: x}}"), ""},
		"an override with a scheme":       {"brokers", broker("b8", "{service: {externalEndpointOverride: 'nats://h:4222'}}"), "externalEndpointOverride"},
		"an override":                     {"brokers", broker("b9", "{service: {externalEndpointOverride: 'h.example.com:4222'}}"), ""},
		"a tag with a colon":              {"brokers", broker("b10", "{version: 'a:b'}"), "spec.version"},
		"a name of 51 characters":         {"brokers", broker(long, "{}"), "at most 50 characters"},
		"a name that begins with a digit": {"brokers", broker("1b", "{}"), "DNS-1035"},
		"a name with a dot":               {"brokers", broker("b.c", "{}"), "DNS-1035"},
		"an empty MeshSync":               {"meshsyncs", meshSync("m1", "{}"), ""},
		"two brokers":                     {"meshsyncs", meshSync("m2", "{broker: {native: {name: a}, custom: {url: 'nats://h:4222'}}}"), "either native or custom"},
		"two brokers, one of them empty":  {"meshsyncs", meshSync("m3", "{broker: {native: {name: ''}, custom: {url: 'nats://h:4222'}}}"), ""},
		"a URL of another kind":           {"meshsyncs", meshSync("m4", "{broker: {custom: {url: 'http://h:4222'}}}"), "spec.broker.custom.url"},
		"a verbosity that shows Secrets":  {"meshsyncs", meshSync("m8", "{verbosity: 8}"), "spec.verbosity"},
		"a negative verbosity":            {"meshsyncs", meshSync("m5", "{verbosity: -1}"), "spec.verbosity"},
		"discovery with everything":       {"meshsyncs", meshSync("d1", "{discovery: {depth: inventory, maxTier: 1, onRemoval: Keep, namespaces: {include: [a, b-1], exclude: [c]}}}"), ""},
		"an unknown depth":                {"meshsyncs", meshSync("d2", "{discovery: {depth: deep}}"), `spec.discovery.depth: Unsupported value: "deep": supported values: "inventory", "full"`},
		"tier 0":                          {"meshsyncs", meshSync("d3", "{discovery: {maxTier: 0}}"), "spec.discovery.maxTier in body should be greater than or equal to 1"},
		"tier 4":                          {"meshsyncs", meshSync("d4", "{discovery: {maxTier: 4}}"), "spec.discovery.maxTier in body should be less than or equal to 3"},
		"an unknown onRemoval":            {"meshsyncs", meshSync("d5", "{discovery: {onRemoval: delete}}"), `spec.discovery.onRemoval: Unsupported value: "delete": supported values: "Delete", "Keep"`},
		"what is no name of a namespace":  {"meshsyncs", meshSync("d6", "{discovery: {namespaces: {include: [A_b]}}}"), "spec.discovery.namespaces.include[0] in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"},
		"a namespace of 64 characters":    {"meshsyncs", meshSync("d7", "{discovery: {namespaces: {exclude: ["+strings.Repeat("a", 64)+"]}}}"), "spec.discovery.namespaces.exclude[0]: Too long: may not be more than 63 bytes"},
		"a namespace twice":               {"meshsyncs", meshSync("d8", "{discovery: {namespaces: {include: [a, a]}}}"), `spec.discovery.namespaces.include[1]: Duplicate value: "a"`},
		"33 namespaces":                   {"meshsyncs", meshSync("d9", "{discovery: {namespaces: {include: ["+strings.Join(names(33), ",")+"]}}}"), "spec.discovery.namespaces.include: Too many: 33: must have at most 32 items"},
		"32 namespaces":                   {"meshsyncs", meshSync("d10", "{discovery: {namespaces: {include: ["+strings.Join(names(32), ",")+"]}}}"), ""},
		"publishing with limits":          {"meshsyncs", meshSync("p1", "{publishing: {messagesPerSecond: 100, bytesPerSecond: 10Mi}}"), ""},
		"limits that are none":            {"meshsyncs", meshSync("p2", "{publishing: {messagesPerSecond: 0, bytesPerSecond: 0}}"), ""},
		"bytes as a number":               {"meshsyncs", meshSync("p3", "{publishing: {bytesPerSecond: 1000000}}"), ""},
		"a negative number of messages":   {"meshsyncs", meshSync("p4", "{publishing: {messagesPerSecond: -1}}"), "spec.publishing.messagesPerSecond"},
		"half a message":                  {"meshsyncs", meshSync("p5", "{publishing: {messagesPerSecond: 0.5}}"), "spec.publishing.messagesPerSecond"},
		"a negative number of bytes":      {"meshsyncs", meshSync("p6", "{publishing: {bytesPerSecond: -1Mi}}"), "bytesPerSecond must be 0, which is no limit, or at least 1Ki"},
		"thousandths of bytes":            {"meshsyncs", meshSync("p7", "{publishing: {bytesPerSecond: 10m}}"), "bytesPerSecond must be 0, which is no limit, or at least 1Ki"},
		"bytes without end":               {"meshsyncs", meshSync("p8", "{publishing: {bytesPerSecond: 1Ei}}"), "bytesPerSecond must be at most 1Pi"},
		"what is no number of bytes":      {"meshsyncs", meshSync("p9", "{publishing: {bytesPerSecond: fast}}"), "spec.publishing.bytesPerSecond"},
		"several servers":                 {"meshsyncs", meshSync("u1", "{broker: {custom: {url: 'nats://a:4222,nats://b:4222, nats://c'}}}"), ""},
		"several servers, one scheme":     {"meshsyncs", meshSync("u2", "{broker: {custom: {url: 'tls://a:4222,b:4222'}}}"), ""},
		"several servers without one":     {"meshsyncs", meshSync("u3", "{broker: {custom: {url: 'a:4222,b:4222'}}}"), ""},
		"a watch-list with both keys, as Meshery Server sends it": {"meshsyncs", meshSync("m6", `{watch-list: {data: {whitelist: '[]', blacklist: ''}}}`), ""},
		"a watch-list in the shape of a ConfigMap":                {"meshsyncs", meshSync("m7", `{watch-list: {apiVersion: v1, kind: ConfigMap, metadata: {name: x}, immutable: false, data: {whitelist: '[]'}}}`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := create(t, "v1alpha1", test.plural, namespace, test.text)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want an invalid %s", err, test.want)
			}
		})
	}
}

func names(number int) []string {
	var all []string
	for i := range number {
		all = append(all, fmt.Sprintf("n%d", i))
	}
	return all
}

// An absent discovery stays absent; one that says something says all of it.
func TestDefaultsOfDiscovery(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	full := v1alpha1.MeshSyncDiscovery{Depth: v1alpha1.DepthFull, MaxTier: 3, OnRemoval: v1alpha1.OnRemovalDelete}
	keep := full
	keep.OnRemoval = v1alpha1.OnRemovalKeep
	for name, test := range map[string]struct {
		spec string
		want v1alpha1.MeshSyncDiscovery
	}{
		"absent": {"{}", v1alpha1.MeshSyncDiscovery{}},
		"empty":  {"{discovery: {}}", full},
		"keep":   {"{discovery: {onRemoval: Keep}}", keep},
	} {
		if err := create(t, "v1alpha1", "meshsyncs", namespace, meshSync(name, test.spec)); err != nil {
			t.Fatal(err)
		}
		live, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || !reflect.DeepEqual(live.Spec.Discovery, test.want) {
			t.Errorf("%s: got %+v, %v", name, live.Spec.Discovery, err)
		}
	}
}

func TestDefaultsAreInTheSchemaAndInBothVersions(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	text := strings.Replace(broker(meshery.BrokerName, "{}"), "v1alpha1", "v1alpha2", 1)
	if err := create(t, "v1alpha2", "brokers", namespace, text); err != nil {
		t.Fatal(err)
	}
	read, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Get(t.Context(), meshery.BrokerName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if read.Spec.Size != 1 || read.Spec.Service.Type != "LoadBalancer" {
		t.Errorf("spec %+v, want size 1 and a LoadBalancer", read.Spec)
	}
	if err := create(t, "v1alpha1", "meshsyncs", namespace, "apiVersion: meshery.io/v1alpha1\nkind: MeshSync\nmetadata: {name: m}"); err != nil {
		t.Fatal(err)
	}
	meshSync, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(t.Context(), "m", metav1.GetOptions{})
	if err != nil || meshSync.Spec.Size != 1 {
		t.Errorf("MeshSync without a spec: %+v, %v; want size 1", meshSync.Spec, err)
	}
}

// Tests of others may use the fake clientset; it must know who owns a field, or removed fields would seem to stay.
func TestTheFakeClientsetKnowsFieldOwners(t *testing.T) {
	client := fake.NewClientset([]runtime.Object{newBroker()}...).MesheryV1alpha1().Brokers("meshery")
	apply := func(status *mesheryac.BrokerStatusApplyConfiguration) *v1alpha1.Broker {
		t.Helper()
		applied, err := client.ApplyStatus(t.Context(), mesheryac.Broker("meshery-broker", "meshery").WithStatus(status),
			metav1.ApplyOptions{FieldManager: "test", Force: true})
		if err != nil {
			t.Fatal(err)
		}
		return applied
	}
	apply(mesheryac.BrokerStatus().WithEndpoint(mesheryac.BrokerEndpoint().WithInternal("a:1").WithExternal("b:2")))
	got := apply(mesheryac.BrokerStatus().WithEndpoint(mesheryac.BrokerEndpoint().WithInternal("a:1")))
	if got.Status.Endpoint.Internal != "a:1" || got.Status.Endpoint.External != "" {
		t.Errorf("endpoint %+v, want the external one gone", got.Status.Endpoint)
	}
	if _, err := client.Patch(t.Context(), "meshery-broker", types.MergePatchType, []byte(`{"spec":{"size":2}}`), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}
