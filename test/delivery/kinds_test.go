package delivery

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// kind is a kind of objects that come and go. Nothing else in the cluster changes the list of them: what is deleted was deleted by
// us.
type kind struct {
	schema.GroupVersionResource
	name    string // as in an object
	cluster bool   // without a namespace
	held    bool   // by a finalizer, so that it goes in two steps
	status  bool   // has one that is ours to write
	body    string // besides the metadata, in YAML; %[1]d is what changes
	change  string // what of it may be changed; labels change in any case
}

const group = "delivery.example.com"

// long makes objects of a size that fills buffers.
var long = strings.Repeat("All happy clusters are alike; <each> unhappy cluster & its \\\\ \\\"owner\\\" are unhappy in their öwn way. ", 200)

const (
	pod = `containers: [{name: main, image: "registry.example.com/app:%[1]d"}], automountServiceAccountToken: false`
	// labelled is a template whose pods nothing ever makes.
	labelled = `{metadata: {labels: {app: a}}, spec: {` + pod + `}}`
	rules    = `rules: [{apiGroups: [""], resources: [pods], resourceNames: ["p%[1]d"], verbs: [get]}]`
)

func builtin(group, version, resource, name, body, change string) kind {
	return kind{GroupVersionResource: schema.GroupVersionResource{Group: group, Version: version, Resource: resource}, name: name, body: body, change: change}
}

func clusterScoped(k kind) kind {
	k.cluster = true
	return k
}

// kinds are of every shape: with and without a namespace, a spec, a status; small and large; our own and Kubernetes'. No controller
// makes anything of them.
var kinds = []kind{
	builtin("", "v1", "configmaps", "ConfigMap", `data: {n: "%[1]d", text: "<a & b>"}`, `data: {n: "%[1]d"}`),
	builtin("", "v1", "secrets", "Secret", `stringData: {n: "%[1]d"}`, `stringData: {n: "%[1]d"}`),
	builtin("", "v1", "services", "Service", `spec: {clusterIP: None, ports: [{name: web, port: 80}]}`, ``),
	builtin("", "v1", "serviceaccounts", "ServiceAccount", `automountServiceAccountToken: false`, ``),
	builtin("", "v1", "pods", "Pod", `spec: {`+pod+`, terminationGracePeriodSeconds: 0}`, ``),
	builtin("", "v1", "podtemplates", "PodTemplate", `template: `+labelled, ``),
	builtin("", "v1", "replicationcontrollers", "ReplicationController", `spec: {replicas: 0, selector: {app: a}, template: `+labelled+`}`, `spec: {minReadySeconds: %[1]d}`),
	builtin("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "addressType: IPv4\nendpoints: [{addresses: [10.1.2.3]}]\nports: [{port: 80}]", ``),
	builtin("apps", "v1", "deployments", "Deployment", `spec: {paused: true, replicas: 0, selector: {matchLabels: {app: a}}, template: `+labelled+`}`, `spec: {progressDeadlineSeconds: 1%[1]d}`),
	builtin("apps", "v1", "statefulsets", "StatefulSet", `spec: {replicas: 0, serviceName: s, selector: {matchLabels: {app: a}}, template: `+labelled+`}`, `spec: {minReadySeconds: %[1]d}`),
	builtin("batch", "v1", "jobs", "Job", `spec: {suspend: true, template: {spec: {`+pod+`, restartPolicy: Never}}}`, `spec: {activeDeadlineSeconds: 1%[1]d}`),
	builtin("batch", "v1", "cronjobs", "CronJob",
		`spec: {suspend: true, schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {`+pod+`, restartPolicy: Never}}}}}`, `spec: {startingDeadlineSeconds: 1%[1]d}`),
	builtin("networking.k8s.io", "v1", "ingresses", "Ingress", `spec: {defaultBackend: {service: {name: "s%[1]d", port: {number: 80}}}}`, `spec: {defaultBackend: {service: {name: "s%[1]d"}}}`),
	builtin("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", `spec: {podSelector: {matchLabels: {n: "%[1]d"}}}`, `spec: {podSelector: {matchLabels: {n: "%[1]d"}}}`),
	builtin("rbac.authorization.k8s.io", "v1", "roles", "Role", rules, rules),
	clusterScoped(builtin("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", rules, rules)),
	clusterScoped(builtin("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", "value: 1000\ndescription: \"%[1]d\"", `description: "%[1]d"`)),
	{GroupVersionResource: ours("widgets"), name: "Widget", held: true, body: `spec: {n: %[1]d, nested: {list: [1, 2.50, true, null, "ü"]}}`, change: `spec: {n: %[1]d}`},
	{GroupVersionResource: ours("gadgets"), name: "Gadget", cluster: true, status: true, body: `spec: {n: %[1]d}`, change: `spec: {n: %[1]d}`},
	{GroupVersionResource: ours("documents"), name: "Document", body: `spec: {n: %[1]d, text: "` + long + `"}`, change: `spec: {n: %[1]d}`},
}

func ours(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
}

// custom kinds need a definition.
func (k kind) custom() bool { return k.Group == group }

func (k kind) definition() []byte {
	scope := "Namespaced"
	if k.cluster {
		scope = "Cluster"
	}
	return inJSON(fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.%[2]s}
spec:
  group: %[2]s
  scope: %[3]s
  names: {plural: %[1]s, singular: %[4]s, kind: %[5]s, listKind: %[5]sList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, k.Resource, k.Group, scope, strings.ToLower(k.name), k.name))
}

// entry of a watch-list.
func (k kind) entry() string {
	return fmt.Sprintf(`{"Resource":"%s.%s.%s"}`, k.Resource, k.Version, k.Group)
}

// path of an object, or of all in a namespace when it has no name, or of all that there are.
func (k kind) path(namespace, name string) string {
	path := "/api/" + k.Version
	if k.Group != "" {
		path = "/apis/" + k.Group + "/" + k.Version
	}
	if namespace != "" && !k.cluster {
		path += "/namespaces/" + namespace
	}
	path += "/" + k.Resource
	if name != "" {
		path += "/" + name
	}
	return path
}

const finalizer = group + "/hold"

// object is an object to create.
func (k kind) object(name string, n int) []byte {
	held := ""
	if k.held {
		held = ", finalizers: [" + finalizer + "]"
	}
	return inJSON(fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, labels: {n: \"%d\"}%s}\n", k.GroupVersion(), k.name, name, n, held) + filled(k.body, n))
}

// patch is a merge patch.
func (k kind) patch(n int) []byte {
	return inJSON(fmt.Sprintf("metadata: {labels: {n: \"%d\"}}\n", n) + filled(k.change, n))
}

// filled writes a number into a text that may have no place for one.
func filled(text string, n int) string {
	if strings.Contains(text, "%") {
		return fmt.Sprintf(text, n)
	}
	return text
}

// inJSON is what is written in YAML.
func inJSON(text string) []byte {
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		panic(err)
	}
	return asJSON
}
