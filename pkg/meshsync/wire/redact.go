package wire

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Redacted stands for a value that does not leave the cluster.
const Redacted = "REDACTED"

// lastApplied ends the names of annotations that hold the object as somebody wrote it: kubectl's, and those of others in its manner.
const lastApplied = "last-applied-configuration"

// helmRelease begins the names of objects in which Helm keeps its releases, with all values and manifests: in Secrets, or in ConfigMaps
// where it was told so.
const helmRelease = "sh.helm.release.v1."

// Redact returns the object without what must not leave the cluster: the values of a Secret (and of a ConfigMap that is a Helm release),
// and the copies of Secrets that tools keep in annotations. Keys stay. The object passed in is not changed.
func Redact(obj *unstructured.Unstructured) *unstructured.Unstructured {
	redacted := &unstructured.Unstructured{Object: maps.Clone(obj.Object)}
	core := obj.GetAPIVersion() == "v1"
	secret := core && obj.GetKind() == "Secret"
	if secret || core && obj.GetKind() == "ConfigMap" && IsHelmRelease(obj.GetName()) {
		for _, member := range []string{"data", "stringData", "binaryData"} {
			if value, ok := obj.Object[member]; ok {
				redacted.Object[member] = redactValues(member, value)
			}
		}
	}
	metadata, _ := obj.Object["metadata"].(map[string]any)
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		redact := RedactAnnotation
		if secret {
			redact = SecretValuesOf(obj.Object).RedactAnnotation
		}
		metadata = maps.Clone(metadata)
		metadata["annotations"] = redactAnnotations(annotations, redact)
		redacted.Object["metadata"] = metadata
	}
	return redacted
}

// IsHelmRelease tells from its name an object that is a release of Helm.
func IsHelmRelease(name string) bool { return strings.HasPrefix(name, helmRelease) }

// redactValues keeps the keys of a map. A value that is no map has none worth keeping.
func redactValues(member string, value any) any {
	values, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	replacement := Redacted
	if member == "data" || member == "binaryData" { // they hold base64, Helm's ConfigMaps included
		replacement = base64.StdEncoding.EncodeToString([]byte(Redacted))
	}
	redacted := make(map[string]any, len(values))
	for key := range values {
		redacted[key] = replacement
	}
	return redacted
}

// redactAnnotations leaves null of a value that is no string: to the encoder both are errors.
func redactAnnotations(annotations map[string]any, redact func(name, value string) string) map[string]any {
	redacted := make(map[string]any, len(annotations))
	for name, value := range annotations {
		redacted[name] = nil
		if text, ok := value.(string); ok {
			redacted[name] = redact(name, text)
		}
	}
	return redacted
}

// SecretValues are what must not be found in the annotations of a Secret: its own.
type SecretValues []string

// fewest is the length from which on a value is looked for. Shorter ones are found everywhere.
const fewest = 6

// SecretValuesOf reads data, stringData and binaryData of a Secret.
func SecretValuesOf(object map[string]any) SecretValues {
	own := SecretValues{}
	for _, member := range []string{"data", "stringData", "binaryData"} {
		values, _ := object[member].(map[string]any)
		for key, value := range values {
			text, _ := value.(string)
			if key == "namespace" { // in the token of a ServiceAccount, and no secret
				continue
			}
			own = own.with(text)
			if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
				own = own.with(string(decoded))
			}
		}
	}
	return own
}

func (s SecretValues) with(value string) SecretValues {
	if value = strings.TrimSpace(value); len(value) >= fewest {
		return append(s, value)
	}
	return s
}

// RedactAnnotation returns what may leave the cluster of an annotation of a Secret. What is JSON is taken for a copy of it; what is packed
// cannot be looked into. The last word has a net: none of the Secret's own values is in what is returned.
func (s SecretValues) RedactAnnotation(name, value string) string {
	switch {
	case strings.HasSuffix(name, lastApplied) || strings.HasSuffix(name, "/last-applied") || isJSON(value):
		value = redactCopy(value)
	case isPacked(value):
		return Redacted
	}
	for _, own := range s {
		if strings.Contains(value, own) {
			return Redacted
		}
	}
	return value
}

// isJSON tells what is meant to be a JSON object, array or string.
func isJSON(text string) bool {
	text = strings.TrimSpace(text)
	return text != "" && strings.IndexByte(`{["`, text[0]) >= 0
}

// isPacked tells gzip and zip archives in base64.
func isPacked(text string) bool {
	return strings.HasPrefix(text, "H4sI") || strings.HasPrefix(text, "UEsDB")
}

// RedactAnnotation returns what may leave the cluster of an annotation of an object that is no Secret: what was applied may have been a
// list with Secrets in it.
func RedactAnnotation(name, value string) string {
	if !strings.HasSuffix(name, lastApplied) || !strings.Contains(value, "Secret") && !strings.Contains(value, `\u`) {
		return value
	}
	copied, ok := decode(value)
	switch {
	case !ok:
		return Redacted
	case !redactSecretsIn(copied):
		return value
	}
	return encode(copied)
}

// redactSecretsIn redacts the Secrets in a JSON value and reports whether there are any. A reference to one has its kind, too, but no values.
func redactSecretsIn(value any) bool {
	found := false
	switch value := value.(type) {
	case map[string]any:
		if value["kind"] == "Secret" && hasAny(value, "metadata", "data", "stringData", "binaryData") {
			redactSecret(value)
			return true
		}
		items, _ := value["items"].([]any)
		if value["kind"] == "SecretList" {
			for _, item := range items {
				if secret, ok := item.(map[string]any); ok {
					redactSecret(secret)
				}
			}
			return true
		}
		for _, member := range value {
			found = redactSecretsIn(member) || found
		}
	case []any:
		for _, element := range value {
			found = redactSecretsIn(element) || found
		}
	}
	return found
}

func hasAny(object map[string]any, members ...string) bool {
	for _, member := range members {
		if _, ok := object[member]; ok {
			return true
		}
	}
	return false
}

// redactCopy rewrites the copy of a Secret, or several of them.
func redactCopy(text string) string {
	copied, _ := decode(text)
	switch copied := copied.(type) {
	case map[string]any:
		redactSecret(copied)
	case []any:
		for i, element := range copied {
			secret, ok := element.(map[string]any)
			if !ok {
				copied[i] = nil
				continue
			}
			redactSecret(secret)
		}
	default:
		return Redacted
	}
	return encode(copied)
}

// redactSecret keeps only what is known to hold no value: a copy may have more members than what the API server took over.
func redactSecret(secret map[string]any) {
	for member, value := range secret {
		switch member {
		case "apiVersion", "kind", "type":
			secret[member] = plainText(value)
		case "immutable":
			secret[member] = value == true
		case "metadata":
			secret[member] = redactMetadata(value)
		default:
			secret[member] = redactValues(member, value)
		}
	}
}

func redactMetadata(value any) map[string]any {
	metadata, _ := value.(map[string]any)
	redacted := map[string]any{}
	for _, member := range []string{"name", "generateName", "namespace"} {
		if text := plainText(metadata[member]); text != "" {
			redacted[member] = text
		}
	}
	if labels, ok := metadata["labels"].(map[string]any); ok {
		redacted["labels"] = redactAnnotations(labels, func(_, value string) string { return value })
	}
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		redacted["annotations"] = redactAnnotations(annotations, SecretValues{}.RedactAnnotation)
	}
	return redacted
}

func decode(text string) (any, bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return nil, false
	}
	_, err := decoder.Token()
	return value, err == io.EOF
}

func encode(value any) string {
	text, err := json.Marshal(value)
	if err != nil { // it was decoded
		return Redacted
	}
	return string(text)
}
