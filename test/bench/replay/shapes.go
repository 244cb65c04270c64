package replay

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

//go:embed shapes.yaml
var shapesYAML []byte

// What stands in a template where each object has its own. All are as long as what they are replaced by.
const (
	nameDigits    = "NNNNNNN"
	uidDigits     = "UUUUUUUUUUUU"
	versionDigits = "1RRRRRRRRR"
	sentDigits    = "SSSSSSSSSSSSSSSSSSS"
)

// NamePrefix begins the name of every object, which ends with the number of the object in seven digits.
const NamePrefix = "bench-"

// SentAnnotation says when an event was written: SentPrefix, and nanoseconds since 1970 in 19 digits. Of objects that were there at the
// start they are 0.
const (
	SentAnnotation = "bench.meshery.io/sent"
	SentPrefix     = "sent-"
)

// Shape is what objects look like.
type Shape struct {
	Resource   schema.GroupVersionResource
	Kind       string
	Namespaced bool
	Of         int // so many of 1,000 objects
	Object     *unstructured.Unstructured

	template                 []byte
	name, uid, version, sent []int // where they stand in it
}

// Name of object n.
func Name(n int) string { return fmt.Sprintf("%s%0*d", NamePrefix, len(nameDigits), n) }

// Shapes returns what is in a cluster.
func Shapes() ([]*Shape, error) {
	var texts []shapeText
	if err := yaml.Unmarshal(shapesYAML, &texts); err != nil {
		return nil, err
	}
	var shapes []*Shape
	for _, text := range texts {
		object := text.object()
		gvk := object.GroupVersionKind()
		shape := &Shape{Resource: gvk.GroupVersion().WithResource(text.Resource), Kind: gvk.Kind, Namespaced: object.GetNamespace() != "", Of: text.Of, Object: object}
		if err := shape.render(text.Bare); err != nil {
			return nil, fmt.Errorf("%s: %w", text.Resource, err)
		}
		shapes = append(shapes, shape)
	}
	return shapes, nil
}

// shapeText is a shape as it is written in shapes.yaml.
type shapeText struct {
	Resource string
	Of, Pad  int
	Bare     bool // has neither managedFields nor the annotation
	Object   map[string]any
}

// object is what is written, with a name, the annotation and what makes it large.
func (t shapeText) object() *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: t.Object}
	object.SetName(NamePrefix + nameDigits)
	if !t.Bare {
		_ = unstructured.SetNestedField(object.Object, SentPrefix+sentDigits, "metadata", "annotations", SentAnnotation)
	}
	if t.Pad > 0 {
		const line = "a line of text, and more of it, as in a dashboard\n"
		member := "data"
		if _, ok := object.Object["spec"]; ok {
			member = "spec"
		}
		_ = unstructured.SetNestedField(object.Object, strings.Repeat(line, t.Pad/len(line)), member, "text")
	}
	return object
}

// render makes the template: what an API server would send, members in its order.
func (s *Shape) render(bare bool) error {
	object := s.Object.DeepCopy()
	object.SetUID("be9c4000-0000-4000-8000-" + uidDigits)
	object.SetResourceVersion(versionDigits)
	_ = unstructured.SetNestedField(object.Object, "2026-11-20T00:00:00Z", "metadata", "creationTimestamp")
	if !bare {
		_ = unstructured.SetNestedSlice(object.Object, []any{managedFields(s.Object)}, "metadata", "managedFields")
	}
	var value any = object
	if typed, err := scheme.Scheme.New(object.GroupVersionKind()); err == nil {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed); err != nil {
			return err
		}
		typed.GetObjectKind().SetGroupVersionKind(object.GroupVersionKind())
		value = typed
	}
	var err error
	if s.template, err = json.Marshal(value); err != nil {
		return err
	}
	s.name, s.uid = s.find(nameDigits), s.find(uidDigits)
	s.version, s.sent = s.find(versionDigits), s.find(sentDigits)
	return nil
}

func (s *Shape) find(digits string) []int {
	var found []int
	for at := 0; ; at += len(digits) {
		next := bytes.Index(s.template[at:], []byte(digits))
		if next < 0 {
			return found
		}
		at += next
		found = append(found, at)
	}
}

// appendTo appends object n in a version.
func (s *Shape) appendTo(dst []byte, n, version int, sent int64) []byte {
	start := len(dst)
	dst = append(dst, s.template...)
	body := dst[start:]
	put(body, s.name, len(nameDigits), int64(n))
	put(body, s.uid, len(uidDigits), int64(n))
	put(body, s.version, len(versionDigits), firstVersion+int64(version))
	put(body, s.sent, len(sentDigits), sent)
	return dst
}

// appendItem appends an object as it is in a list. An API server leaves out there what a built-in kind begins with.
func (s *Shape) appendItem(dst []byte, n, version int) []byte {
	start := len(dst)
	dst = s.appendTo(dst, n, version, 0)
	item := dst[start:]
	known := fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,`, s.Kind, s.Object.GetAPIVersion())
	if !bytes.HasPrefix(item, known) {
		return dst
	}
	return dst[:start+1+copy(item[1:], item[len(known):])]
}

// firstVersion makes every version ten digits long.
const firstVersion = 1_000_000_000

// put writes a number with leading zeros wherever it belongs.
func put(body []byte, places []int, width int, number int64) {
	for _, at := range places {
		rest := number
		for digit := at + width - 1; digit >= at; digit-- {
			body[digit] = byte('0' + rest%10)
			rest /= 10
		}
	}
}

// managedFields is an entry for all fields of an object, as if one had written them.
func managedFields(object *unstructured.Unstructured) map[string]any {
	fields := map[string]any{}
	for name, value := range object.Object {
		if name != "apiVersion" && name != "kind" {
			fields["f:"+name] = fieldsOf(value)
		}
	}
	return map[string]any{
		"manager": "kube-controller-manager", "operation": "Update", "apiVersion": object.GetAPIVersion(),
		"time": "2026-11-20T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
	}
}

func fieldsOf(value any) map[string]any {
	fields := map[string]any{}
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			fields["f:"+name] = fieldsOf(member)
		}
	case []any:
		for _, item := range value {
			named, _ := item.(map[string]any)
			for _, key := range []string{"name", "type"} {
				if name, ok := named[key]; ok {
					fields[fmt.Sprintf("k:{%q:%q}", key, name)] = fieldsOf(item)
					break
				}
			}
		}
	}
	return fields
}

// Event is a line of a watch: what happened to object n, its version, and when it was written.
func (s *Shape) Event(event string, n, version int, sent int64) []byte {
	return s.appendEvent(nil, event, n, version, sent)
}

func (s *Shape) appendEvent(dst []byte, event string, n, version int, sent int64) []byte {
	dst = append(append(append(dst, `{"type":"`...), event...), `","object":`...)
	return append(s.appendTo(dst, n, version, sent), '}', '\n')
}
