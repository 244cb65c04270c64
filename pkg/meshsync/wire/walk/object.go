package walk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"meshery.io/operator/pkg/meshsync/wire"
)

// Identity names an object and its state. It points into what was read.
type Identity struct {
	Namespace, Name, UID, ResourceVersion []byte
}

// Kind writes objects of one kind. It is safe for concurrent use.
type Kind struct {
	head       []byte // of every object
	apiVersion []byte // in quotes, for those that come without
	kind       []byte
	secret     bool
	service    bool
}

// NewKind makes a Kind. The cluster is named by the uid of its namespace kube-system. With clearSecrets the values of Secrets are
// written as they are.
func NewKind(gvk schema.GroupVersionKind, clusterID string, clearSecrets bool) *Kind {
	apiVersion, kind := gvk.ToAPIVersionAndKind()
	core := gvk.Group == "" && gvk.Version == "v1"
	return &Kind{
		head:       fmt.Appendf(nil, `{"id":"","model":"","cluster_id":%s`, quoted(clusterID)),
		apiVersion: quoted(apiVersion),
		kind:       quoted(kind),
		secret:     core && kind == "Secret" && !clearSecrets,
		service:    core && kind == "Service",
	}
}

func quoted(text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string
	}
	return quoted
}

// Append appends the object's wire form, as it is in a message and in the store, to dst. With deleted it is that of an object that
// is gone. After an error what was appended is of no use.
func (k *Kind) Append(dst, data []byte, deleted bool) ([]byte, Identity, error) {
	w := writer{Kind: k, scanner: scanner{data: data}, dst: append(dst, k.head...)}
	if err := w.object(w.member); err != nil {
		return dst, Identity{}, fmt.Errorf("at byte %d of %d: %w", w.at, len(data), err)
	}
	if w.space() != 0 || !w.sawMetadata {
		return dst, Identity{}, fmt.Errorf("at byte %d of %d: %w", w.at, len(data), errMember)
	}
	if !w.sawAPIVersion {
		w.put(`,"apiVersion":`, k.apiVersion)
	}
	if !w.sawKind {
		w.put(`,"kind":`, k.kind)
	}
	w.patternResource()
	if err := w.componentMetadata(deleted); err != nil {
		return dst, Identity{}, err
	}
	return append(w.dst, '}'), w.identity, nil
}

// writer writes one object.
type writer struct {
	*Kind
	scanner
	dst []byte

	identity                               Identity
	sawAPIVersion, sawKind, sawMetadata    bool
	labelled, designLabelled, designMarked []byte // values that may be the id of a design, in the order in which they count
	spec, status                           []byte // of a Service
}

func (w *writer) put(before string, text []byte) { w.dst = append(append(w.dst, before...), text...) }

// member writes what is carried of one member of the object. Names with escapes in them are none of those that are.
func (w *writer) member(name []byte) error {
	switch string(name) {
	case `"apiVersion"`:
		w.sawAPIVersion = true
		return w.copyText(`,"apiVersion":`)
	case `"kind"`:
		w.sawKind = true
		return w.copyText(`,"kind":`)
	case `"metadata"`:
		return w.metadata()
	case `"spec"`:
		return w.attribute(`,"spec":{"id":"","attribute":"`, &w.spec)
	case `"status"`:
		return w.attribute(`,"status":{"id":"","attribute":"`, &w.status)
	case `"immutable"`:
		return w.flag(`,"immutable":`)
	case `"data"`:
		return w.values(`,"data":"`, redactedBase64)
	case `"binaryData"`:
		return w.values(`,"binaryData":"`, redactedBase64)
	case `"stringData"`:
		return w.values(`,"stringData":"`, redactedText)
	case `"type"`:
		return w.copyTextIfAny(`,"type":`)
	}
	_, err := w.value()
	return err
}

func (w *writer) metadata() error {
	if w.sawMetadata {
		return errMember
	}
	w.sawMetadata = true
	w.dst = append(w.dst, `,"metadata":{"id":"","cluster_id":""`...)
	if err := w.object(w.metadataMember); err != nil {
		return err
	}
	if w.identity.UID == nil {
		w.dst = append(w.dst, `,"uid":""`...)
	}
	w.dst = append(w.dst, '}')
	return nil
}

func (w *writer) metadataMember(name []byte) error {
	switch string(name) {
	case `"name"`:
		return w.identify(`,"name":`, &w.identity.Name)
	case `"namespace"`:
		return w.identify(`,"namespace":`, &w.identity.Namespace)
	case `"uid"`:
		return w.identify(`,"uid":`, &w.identity.UID)
	case `"resourceVersion"`:
		return w.identify(`,"resourceVersion":`, &w.identity.ResourceVersion)
	case `"generateName"`:
		return w.copyTextIfAny(`,"generateName":`)
	case `"selfLink"`:
		return w.copyTextIfAny(`,"selfLink":`)
	case `"creationTimestamp"`:
		return w.copyTextIfAny(`,"creationTimestamp":`)
	case `"deletionTimestamp"`:
		return w.copyTextIfAny(`,"deletionTimestamp":`)
	case `"generation"`:
		return w.whole(`,"generation":`)
	case `"deletionGracePeriodSeconds"`:
		return w.whole(`,"deletionGracePeriodSeconds":`)
	case `"labels"`:
		return w.pairs(`,"labels":[`, `{"id":"","unique_id":"","kind":"label","key":`, w.label)
	case `"annotations"`:
		return w.pairs(`,"annotations":[`, `{"id":"","unique_id":"","kind":"annotation","key":`, w.annotation)
	case `"ownerReferences"`:
		return w.embed(`,"ownerReferences":"`, `"`)
	case `"finalizers"`:
		return w.embed(`,"finalizers":"`, `"`)
	}
	_, err := w.value()
	return err
}

// copyText copies a string.
func (w *writer) copyText(name string) error {
	text, err := w.text()
	if err != nil {
		return err
	}
	w.put(name, text)
	return nil
}

// copyTextIfAny copies a string that is not empty. Another kind may use the member for something else: then it is not carried.
func (w *writer) copyTextIfAny(name string) error {
	text, err := w.value()
	if err == nil && len(text) > len(`""`) && text[0] == '"' {
		w.put(name, text)
	}
	return err
}

// identify copies a string and remembers it. With an escape in it, it is not what Kubernetes lets pass.
func (w *writer) identify(name string, into *[]byte) error {
	text, err := w.text()
	if err != nil {
		return err
	}
	if bytes.IndexByte(text, '\\') >= 0 || *into != nil {
		return errString
	}
	*into = text[1 : len(text)-1]
	if len(*into) > 0 || name == `,"uid":` {
		w.put(name, text)
	}
	return nil
}

// whole copies a whole number other than 0.
func (w *writer) whole(name string) error {
	text, err := w.value()
	if err != nil || string(text) == "null" {
		return err
	}
	number, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return errNoWhole
	}
	if number != 0 || name == `,"deletionGracePeriodSeconds":` {
		w.dst = strconv.AppendInt(append(w.dst, name...), number, 10)
	}
	return nil
}

// flag copies true or false as a string.
func (w *writer) flag(name string) error {
	text, err := w.value()
	if err == nil && (string(text) == "true" || string(text) == "false") {
		w.put(name+`"`, text)
		w.dst = append(w.dst, '"')
	}
	return err
}

// embed writes a value as a string with JSON in it.
func (w *writer) embed(before, after string) error {
	w.space()
	if bytes.HasPrefix(w.data[w.at:], []byte("null")) {
		_, err := w.value()
		return err
	}
	dst, err := w.appendValue(append(w.dst, before...))
	if err != nil {
		return err
	}
	w.dst = append(dst, after...)
	return nil
}

// attribute writes spec or status, and remembers that of a Service.
func (w *writer) attribute(before string, of *[]byte) error {
	start := w.at
	if err := w.embed(before, `"}`); err != nil {
		return err
	}
	if w.service {
		*of = w.data[start:w.at]
	}
	return nil
}

// pairs writes labels or annotations as an array. One that is no string is an error: the object would go out without it.
func (w *writer) pairs(before, head string, use func(key, value []byte) ([]byte, error)) error {
	if w.space() == 'n' {
		text, err := w.value()
		if string(text) != "null" {
			return errNoText
		}
		return err
	}
	first := true
	err := w.object(func(key []byte) error {
		value, err := w.text()
		if err != nil {
			return err
		}
		if value, err = use(key, value); err != nil || value == nil {
			return err
		}
		if first {
			w.dst, first = append(w.dst, before...), false
		} else {
			w.dst = append(w.dst, ',')
		}
		w.put(head, key)
		w.put(`,"value":`, value)
		w.dst = append(w.dst, '}')
		return nil
	})
	if !first {
		w.dst = append(w.dst, ']')
	}
	return err
}

func (w *writer) label(key, value []byte) ([]byte, error) {
	switch string(key) {
	case `"resource.pattern.meshery.io/id"`:
		w.labelled = value
	case `"design.meshery.io/id"`:
		w.designLabelled = value
	}
	return value, nil
}

func (w *writer) annotation(key, value []byte) ([]byte, error) {
	switch string(key) {
	case `"designs.meshery.io"`:
		w.designMarked = value
	}
	if w.secret && isCopy(key) {
		return redactCopy(value)
	}
	return value, nil
}

// patternResource writes the id of the design that Meshery Server deployed the object from, or null.
func (w *writer) patternResource() {
	w.dst = append(w.dst, `,"pattern_resource":`...)
	for _, id := range [][]byte{w.labelled, w.designLabelled, w.designMarked} {
		if isUUID(id) {
			w.dst = append(w.dst, bytes.ToLower(id)...)
			return
		}
	}
	w.dst = append(w.dst, "null"...)
}

// isUUID reads a string in quotes.
func isUUID(text []byte) bool {
	if len(text) != len(`"00000000-0000-0000-0000-000000000000"`) {
		return false
	}
	for i, c := range text[1 : len(text)-1] {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !isHexadecimal(c) {
				return false
			}
		}
	}
	return true
}

// componentMetadata says where a Service can be reached. Services are few: theirs is worked out from the decoded object.
func (w *writer) componentMetadata(deleted bool) error {
	if !w.service || deleted {
		w.dst = append(w.dst, `,"component_metadata":null`...)
		return nil
	}
	object := map[string]any{}
	for member, text := range map[string][]byte{"spec": w.spec, "status": w.status} {
		if len(text) == 0 {
			continue
		}
		var value any
		if err := utiljson.Unmarshal(text, &value); err != nil {
			return err
		}
		object[member] = value
	}
	text, err := wire.ServiceMetadata(&unstructured.Unstructured{Object: object})
	w.put(`,"component_metadata":`, text)
	return err
}
