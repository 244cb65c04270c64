package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Encoder turns decoded objects into their wire form. Package walk does so without decoding them; this is what is right, and the way
// for what cannot be read there.
type Encoder struct {
	clusterID    string
	clearSecrets bool
}

// NewEncoder makes an encoder for one cluster, named by the uid of its namespace kube-system. With clearSecrets the values of
// Secrets leave the cluster as they are.
func NewEncoder(clusterID string, clearSecrets bool) *Encoder {
	return &Encoder{clusterID: clusterID, clearSecrets: clearSecrets}
}

// EncodeObject writes the object as it is now.
func (e *Encoder) EncodeObject(obj *unstructured.Unstructured) (json.RawMessage, error) {
	return e.encodeObject(Added, obj)
}

// EncodeDeleted writes the object as it was when it was deleted.
func (e *Encoder) EncodeDeleted(obj *unstructured.Unstructured) (json.RawMessage, error) {
	return e.encodeObject(Deleted, obj)
}

func (e *Encoder) encodeObject(event Event, obj *unstructured.Unstructured) (json.RawMessage, error) {
	converted, err := e.convert(event, obj)
	if err != nil {
		return nil, err
	}
	return json.Marshal(converted)
}

func (e *Encoder) convert(event Event, obj *unstructured.Unstructured) (*object, error) {
	if !e.clearSecrets {
		obj = Redact(obj)
	}
	fields, ok := obj.Object["metadata"].(map[string]any)
	if !ok {
		return nil, describe(errors.New("no metadata"), obj)
	}
	labels, labelErr := stringMap(fields["labels"])
	annotations, annotationErr := stringMap(fields["annotations"])
	if err := errors.Join(labelErr, annotationErr); err != nil {
		return nil, describe(err, obj)
	}

	var text texts
	out := &object{
		APIVersion: obj.GetAPIVersion(),
		Kind:       obj.GetKind(),
		Metadata: metadata{
			Name:                       plainText(fields["name"]),
			GenerateName:               plainText(fields["generateName"]),
			Namespace:                  plainText(fields["namespace"]),
			SelfLink:                   plainText(fields["selfLink"]),
			UID:                        plainText(fields["uid"]),
			ResourceVersion:            plainText(fields["resourceVersion"]),
			Generation:                 obj.GetGeneration(),
			CreationTimestamp:          plainText(fields["creationTimestamp"]),
			DeletionTimestamp:          plainText(fields["deletionTimestamp"]),
			DeletionGracePeriodSeconds: obj.GetDeletionGracePeriodSeconds(),
			Labels:                     keyValues("label", labels),
			Annotations:                keyValues("annotation", annotations),
			OwnerReferences:            text.of(fields["ownerReferences"]),
			Finalizers:                 text.of(fields["finalizers"]),
		},
		Spec:            text.attribute(obj.Object["spec"]),
		Status:          text.attribute(obj.Object["status"]),
		ClusterID:       e.clusterID,
		PatternResource: patternResource(labels, annotations),
		Immutable:       boolText(obj.Object["immutable"]),
		Data:            text.of(obj.Object["data"]),
		BinaryData:      text.of(obj.Object["binaryData"]),
		StringData:      text.of(obj.Object["stringData"]),
		Type:            plainText(obj.Object["type"]),
	}
	if event != Deleted && IsService(obj) && obj.Object["spec"] != nil {
		out.ComponentMetadata = serviceMetadata(obj)
	}
	if text.err != nil {
		return nil, describe(text.err, obj)
	}
	return out, nil
}

func describe(err error, obj *unstructured.Unstructured) error {
	return fmt.Errorf("encode %s %s/%s: %w", obj.GetKind(), obj.GetNamespace(), obj.GetName(), err)
}

// stringMap reads labels or annotations. One that is no string is an error: the object would go out without any. The error does not
// say what it is instead, because it may be a secret.
func stringMap(value any) (map[string]string, error) {
	if value == nil {
		return nil, nil
	}
	members, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("labels or annotations are no map")
	}
	texts := make(map[string]string, len(members))
	for name, member := range members {
		text, ok := member.(string)
		if !ok {
			return nil, fmt.Errorf("label or annotation %s is no string", name)
		}
		texts[name] = text
	}
	return texts, nil
}

func keyValues(kind string, values map[string]string) []keyValue {
	var pairs []keyValue
	for _, key := range slices.Sorted(maps.Keys(values)) {
		pairs = append(pairs, keyValue{Kind: kind, Key: key, Value: values[key]})
	}
	return pairs
}

// texts writes values as JSON texts and keeps the first error.
type texts struct{ err error }

// of returns "" for a member that the object does not have.
func (t *texts) of(value any) string {
	if value == nil {
		return ""
	}
	text, err := json.Marshal(value)
	if err != nil && t.err == nil {
		t.err = err
	}
	return string(text)
}

func (t *texts) attribute(value any) *attribute {
	if value == nil {
		return nil
	}
	return &attribute{Attribute: t.of(value)}
}

// plainText and boolText read a member that another kind may use for something else: then it is not carried.
func plainText(value any) string {
	text, _ := value.(string)
	return text
}

func boolText(value any) string {
	flag, ok := value.(bool)
	if !ok {
		return ""
	}
	return strconv.FormatBool(flag)
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// patternResource is the id of the design that Meshery Server deployed the object from. The member has the type of a UUID
// there: anything else would make it drop the object's other members, so it is nil then.
func patternResource(labels, annotations map[string]string) *string {
	for _, id := range []string{labels["resource.pattern.meshery.io/id"], labels["design.meshery.io/id"], annotations["designs.meshery.io"]} {
		if uuid.MatchString(id) {
			return new(strings.ToLower(id))
		}
	}
	return nil
}
