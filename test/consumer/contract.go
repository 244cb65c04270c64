package consumer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Message is a message on meshery.meshsync.core.
type Message struct {
	ObjectType string          `json:"ObjectType"`
	EventType  string          `json:"EventType"`
	Request    json.RawMessage `json:"Request"`
	Object     Object          `json:"Object"`

	// Reason is why the object is DELETED although it may be there; empty otherwise. It stands in the record that follows the message,
	// where there is a state stream.
	Reason string `json:"-"`
}

// Object is an object in a message. Members without omitempty must be there.
type Object struct {
	ID                string             `json:"id"`
	APIVersion        string             `json:"apiVersion"`
	Kind              string             `json:"kind"`
	Model             string             `json:"model"`
	Metadata          Metadata           `json:"metadata"`
	Spec              *Attribute         `json:"spec,omitempty"`
	Status            *Attribute         `json:"status,omitempty"`
	ClusterID         string             `json:"cluster_id"`
	PatternResource   *string            `json:"pattern_resource"`
	ComponentMetadata *ComponentMetadata `json:"component_metadata"`
	Immutable         string             `json:"immutable,omitempty"`
	Data              string             `json:"data,omitempty"`
	BinaryData        string             `json:"binaryData,omitempty"`
	StringData        string             `json:"stringData,omitempty"`
	Type              string             `json:"type,omitempty"`
}

// Metadata is the metadata of an Object.
type Metadata struct {
	ID                         string     `json:"id"`
	Name                       string     `json:"name,omitempty"`
	GenerateName               string     `json:"generateName,omitempty"`
	Namespace                  string     `json:"namespace,omitempty"`
	SelfLink                   string     `json:"selfLink,omitempty"`
	UID                        string     `json:"uid"`
	ResourceVersion            string     `json:"resourceVersion,omitempty"`
	Generation                 int64      `json:"generation,omitempty"`
	CreationTimestamp          string     `json:"creationTimestamp,omitempty"`
	DeletionTimestamp          string     `json:"deletionTimestamp,omitempty"`
	DeletionGracePeriodSeconds *int64     `json:"deletionGracePeriodSeconds,omitempty"`
	Labels                     []KeyValue `json:"labels,omitempty"`
	Annotations                []KeyValue `json:"annotations,omitempty"`
	OwnerReferences            string     `json:"ownerReferences,omitempty"`
	Finalizers                 string     `json:"finalizers,omitempty"`
	ClusterName                string     `json:"clusterName,omitempty"`
	ClusterID                  string     `json:"cluster_id"`
}

// KeyValue is a label or an annotation.
type KeyValue struct {
	ID       string `json:"id"`
	UniqueID string `json:"unique_id"`
	Kind     string `json:"kind"`
	Key      string `json:"key"`
	Value    string `json:"value"`
}

// Attribute is a spec or a status.
type Attribute struct {
	ID        string `json:"id"`
	Attribute string `json:"attribute"`
}

// ComponentMetadata is what is known beyond the object itself: of a Service, how it is reached, and of an object that was too large for
// the broker, what is missing of it.
type ComponentMetadata struct {
	Capabilities *Capabilities `json:"capabilities,omitempty"`
	Trimmed      []string      `json:"trimmed,omitempty"`
}

// Capabilities says how a Service is reached.
type Capabilities struct {
	Connection bool     `json:"connection"`
	URLs       []string `json:"urls"`
}

// Key is the ID under which Meshery Server stores the object.
func (o Object) Key() string {
	id := strings.Join([]string{o.ClusterID, o.Kind, o.APIVersion, o.Metadata.Namespace, o.Metadata.Name}, ".")
	return base64.StdEncoding.EncodeToString([]byte(id))
}

// Decode reads a message from meshery.meshsync.core.
func Decode(body []byte) (Message, error) {
	var message Message
	if err := decodeExactly(body, &message); err != nil {
		return Message{}, err
	}
	var problems []error
	if message.ObjectType != "meshsync-data" {
		problems = append(problems, fmt.Errorf("ObjectType is %q", message.ObjectType))
	}
	if !slices.Contains([]string{"ADDED", "MODIFIED", "DELETED"}, message.EventType) {
		problems = append(problems, fmt.Errorf("EventType is %q", message.EventType))
	}
	if string(message.Request) != "null" {
		problems = append(problems, fmt.Errorf("Request is %s", message.Request))
	}
	if known := message.Object.ComponentMetadata; message.EventType == "DELETED" && known != nil && known.Capabilities != nil {
		problems = append(problems, errors.New("capabilities on DELETED"))
	}
	return message, errors.Join(append(problems, message.Object.check())...)
}

// DecodeStore reads a reply to informer-store.
func DecodeStore(body []byte) ([]Object, error) {
	var reply struct {
		ObjectType string          `json:"ObjectType"`
		EventType  string          `json:"EventType"`
		Request    json.RawMessage `json:"Request"`
		Object     []Object        `json:"Object"`
	}
	if err := decodeExactly(body, &reply); err != nil {
		return nil, err
	}
	var problems []error
	if reply.ObjectType != "" || reply.EventType != "" || string(reply.Request) != "null" {
		problems = append(problems, fmt.Errorf("envelope is %q, %q, %s", reply.ObjectType, reply.EventType, reply.Request))
	}
	if len(reply.Object) == 0 || len(reply.Object) > 5 {
		problems = append(problems, fmt.Errorf("a slice has 1 to 5 objects, this one %d", len(reply.Object)))
	}
	for _, object := range reply.Object {
		problems = append(problems, object.check())
	}
	return reply.Object, errors.Join(problems...)
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// check holds an object against the rules that its types do not express.
func (o Object) check() error {
	var problems []error
	rule := func(holds bool, format string, args ...any) {
		if !holds {
			problems = append(problems, fmt.Errorf("%s %s/%s: %s", o.Kind, o.Metadata.Namespace, o.Metadata.Name, fmt.Sprintf(format, args...)))
		}
	}
	rule(o.APIVersion != "" && o.Kind != "", "apiVersion or kind is empty")
	rule(o.Metadata.Name != "" && o.Metadata.UID != "" && o.Metadata.ResourceVersion != "", "name, uid or resourceVersion is empty")
	rule(o.ClusterID != "", "cluster_id is empty")
	rule(o.ID == "" && o.Model == "" && o.Metadata.ID == "" && o.Metadata.ClusterID == "", "a member that Meshery Server fills in is not empty")
	rule(o.PatternResource == nil || uuid.MatchString(*o.PatternResource), "pattern_resource is no UUID")
	if known := o.ComponentMetadata; known != nil {
		rule(known.Capabilities != nil || len(known.Trimmed) > 0, "component_metadata is empty")
		rule(known.Capabilities == nil || o.Kind == "Service", "capabilities on %s", o.Kind)
		rule(known.Capabilities == nil || known.Capabilities.URLs != nil, "urls is null")
		for _, name := range known.Trimmed {
			rule(o.lacks(name), "%s is trimmed and there", name)
		}
	}
	rule(o.Immutable == "" || o.Immutable == "true" || o.Immutable == "false", "immutable is %q", o.Immutable)
	for kind, pairs := range map[string][]KeyValue{"label": o.Metadata.Labels, "annotation": o.Metadata.Annotations} {
		for _, pair := range pairs {
			rule(pair.Kind == kind && pair.ID == "" && pair.UniqueID == "", "%s is %+v", kind, pair)
		}
		rule(slices.IsSortedFunc(pairs, func(a, b KeyValue) int { return strings.Compare(a.Key, b.Key) }), "%ss are not sorted", kind)
	}
	for name, text := range map[string]string{
		"ownerReferences": o.Metadata.OwnerReferences, "finalizers": o.Metadata.Finalizers,
		"data": o.Data, "binaryData": o.BinaryData, "stringData": o.StringData,
	} {
		rule(text == "" || json.Valid([]byte(text)), "%s is no JSON", name)
	}
	for name, part := range map[string]*Attribute{"spec": o.Spec, "status": o.Status} {
		rule(part == nil || part.ID == "" && json.Valid([]byte(part.Attribute)), "%s is no JSON", name)
	}
	return errors.Join(problems...)
}

// lacks reports whether the object has no such member, of those that may be trimmed.
func (o Object) lacks(name string) bool {
	lacks, known := map[string]bool{
		"metadata.annotations": o.Metadata.Annotations == nil, "metadata.labels": o.Metadata.Labels == nil,
		"metadata.ownerReferences": o.Metadata.OwnerReferences == "", "metadata.finalizers": o.Metadata.Finalizers == "",
		"spec": o.Spec == nil, "status": o.Status == nil, "type": o.Type == "",
		"data": o.Data == "", "binaryData": o.BinaryData == "", "stringData": o.StringData == "",
	}[name]
	return known && lacks
}

// decodeExactly decodes without tolerance. encoding/json alone would match members regardless of case and not miss any.
func decodeExactly(body []byte, into any) error {
	if err := exactMembers(body, reflect.TypeOf(into).Elem(), ""); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}

// exactMembers compares the members of a JSON text with the tags of the type it is for.
func exactMembers(raw json.RawMessage, of reflect.Type, path string) error {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
		if string(raw) == "null" {
			return nil
		}
	}
	switch {
	case of == reflect.TypeFor[json.RawMessage]():
		return nil
	case of.Kind() == reflect.Slice:
		var elements []json.RawMessage
		if err := json.Unmarshal(raw, &elements); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for i, element := range elements {
			if err := exactMembers(element, of.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	case of.Kind() != reflect.Struct:
		if string(raw) == "null" {
			return fmt.Errorf("%s is null", path)
		}
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if members == nil {
		return fmt.Errorf("%s is null", path)
	}
	for field := range of.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		member, there := members[name]
		switch {
		case !there && options != "omitempty":
			return fmt.Errorf("%s.%s is missing", path, name)
		case there:
			if err := exactMembers(member, field.Type, path+"."+name); err != nil {
				return err
			}
			delete(members, name)
		}
	}
	for name := range members {
		return fmt.Errorf("%s.%s is unknown", path, name)
	}
	return nil
}
