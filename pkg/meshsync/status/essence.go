package status

import (
	"encoding/json"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery"
)

// Essence returns what counts in a MeshSync for its own agent: all but what the agent itself writes. Changes of the rest are not
// published: an agent that watches MeshSyncs would go on for ever about itself. It is nil for other kinds, and for other MeshSyncs.
func Essence(namespace, name string) func(resource schema.GroupVersionResource) func(object []byte) []byte {
	meshSyncs := schema.GroupResource{Group: meshery.GroupName, Resource: "meshsyncs"}
	return func(resource schema.GroupVersionResource) func(object []byte) []byte {
		if resource.GroupResource() != meshSyncs {
			return nil
		}
		return func(object []byte) []byte {
			var meshSync unstructured.Unstructured
			if err := json.Unmarshal(object, &meshSync.Object); err != nil || meshSync.GetNamespace() != namespace || meshSync.GetName() != name {
				return nil
			}
			essence, err := json.Marshal(ofOthers(&meshSync))
			if err != nil {
				return nil
			}
			return essence
		}
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
	delete(fields, "publishing")
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
		if name, _ := fields["type"].(string); !slices.Contains(ownConditions, name) {
			others = append(others, condition)
		}
	}
	return others
}
