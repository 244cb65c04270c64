package status

import (
	"maps"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// Ignore tells changes of a MeshSync that are nothing but what its own agent writes. They are not published: an agent that watches
// MeshSyncs would go on for ever about itself.
func Ignore(namespace, name string) func(resource schema.GroupVersionResource, old, obj *unstructured.Unstructured) bool {
	meshSyncs := schema.GroupResource{Group: meshery.GroupName, Resource: "meshsyncs"}
	return func(resource schema.GroupVersionResource, old, obj *unstructured.Unstructured) bool {
		return resource.GroupResource() == meshSyncs && obj.GetNamespace() == namespace && obj.GetName() == name &&
			reflect.DeepEqual(ofOthers(old), ofOthers(obj))
	}
}

// ofOthers is what of a MeshSync is not its agent's.
func ofOthers(meshSync *unstructured.Unstructured) map[string]any {
	object := maps.Clone(meshSync.Object)
	if metadata, ok := object["metadata"].(map[string]any); ok {
		metadata = maps.Clone(metadata)
		delete(metadata, "resourceVersion")
		delete(metadata, "managedFields")
		object["metadata"] = metadata
	}
	if status := statusOfOthers(object["status"]); len(status) > 0 {
		object["status"] = status
	} else { // as it was before the first write
		delete(object, "status")
	}
	return object
}

func statusOfOthers(status any) map[string]any {
	fields, _ := status.(map[string]any)
	fields = maps.Clone(fields)
	delete(fields, "discovery")
	delete(fields, "resources")
	conditions, _ := fields["conditions"].([]any)
	if others := conditionsOfOthers(conditions); len(others) > 0 {
		fields["conditions"] = others
	} else {
		delete(fields, "conditions")
	}
	return fields
}

func conditionsOfOthers(conditions []any) []any {
	var others []any
	for _, condition := range conditions {
		fields, _ := condition.(map[string]any)
		if name := fields["type"]; name != v1alpha1.ConditionWatchListValid && name != v1alpha1.ConditionDiscovered {
			others = append(others, condition)
		}
	}
	return others
}
