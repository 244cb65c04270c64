package wire

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Redacted stands for a value that does not leave the cluster.
const Redacted = "REDACTED"

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Redact returns the object without what must not leave the cluster: the values of a Secret, in its data and in the copy of it
// that kubectl keeps in an annotation. Keys stay. Other kinds are returned as they are; the object passed in is not changed.
func Redact(obj *unstructured.Unstructured) *unstructured.Unstructured {
	if obj.GetKind() != "Secret" || obj.GetAPIVersion() != "v1" {
		return obj
	}
	redacted := &unstructured.Unstructured{Object: maps.Clone(obj.Object)}
	for _, member := range []string{"data", "stringData", "binaryData"} {
		if value, ok := obj.Object[member]; ok {
			redacted.Object[member] = redactValues(member, value)
		}
	}
	if annotations := obj.GetAnnotations(); annotations[lastApplied] != "" {
		redacted.Object["metadata"] = maps.Clone(obj.Object["metadata"].(map[string]any)) // there are annotations in it
		redacted.SetAnnotations(redactLastApplied(annotations))
	}
	return redacted
}

// redactValues keeps the keys of a map. A value that is no map has none worth keeping.
func redactValues(member string, value any) any {
	values, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	replacement := Redacted
	if member == "data" || member == "binaryData" { // they hold base64
		replacement = base64.StdEncoding.EncodeToString([]byte(Redacted))
	}
	redacted := make(map[string]any, len(values))
	for key := range values {
		redacted[key] = replacement
	}
	return redacted
}

// redactLastApplied rewrites kubectl's annotation. Only members known to hold no secret are kept as they are: what was applied
// may have more of them than what the API server took over. An annotation that is no JSON object is left out as a whole.
func redactLastApplied(annotations map[string]string) map[string]string {
	result := maps.Clone(annotations)
	delete(result, lastApplied)
	if copied := RedactCopy(annotations[lastApplied]); copied != "" {
		result[lastApplied] = copied
	}
	return result
}

// RedactCopy rewrites a Secret as JSON text without its values. It is empty if the text is no JSON object.
func RedactCopy(text string) string {
	var applied map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&applied); err != nil {
		return ""
	}
	for member, value := range applied {
		switch member {
		case "apiVersion", "kind", "metadata", "type", "immutable":
		default:
			applied[member] = redactValues(member, value)
		}
	}
	redacted, err := json.Marshal(applied)
	if err != nil {
		return ""
	}
	return string(redacted)
}
