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

// Options say how objects are written.
type Options struct {
	// ClusterID is the uid of the namespace kube-system.
	ClusterID string
	// ClearSecrets lets the values of Secrets leave the cluster as they are.
	ClearSecrets bool
	// MetadataOnly leaves out everything but apiVersion, kind and metadata.
	MetadataOnly bool
}

// Kind writes objects of one kind. It is safe for concurrent use.
type Kind struct {
	gvk          schema.GroupVersionKind
	obvious      *wire.Encoder
	head         []byte // of every object
	redacts      bool
	secret       bool // whose values stay in the cluster
	configMap    bool // whose values may have to
	service      bool
	metadataOnly bool
}

// NewKind makes a Kind. Its objects are called what gvk says, whatever they call themselves: the items of lists have no name of their
// kind, and objects without anything but metadata that of another.
func NewKind(gvk schema.GroupVersionKind, o Options) *Kind {
	apiVersion, kind := gvk.ToAPIVersionAndKind()
	core := gvk.Group == "" && gvk.Version == "v1"
	return &Kind{
		gvk:     gvk,
		obvious: wire.NewEncoder(o.ClusterID, o.ClearSecrets),
		head: fmt.Appendf(nil, `{"id":"","model":"","cluster_id":%s,"apiVersion":%s,"kind":%s`,
			quoted(o.ClusterID), quoted(apiVersion), quoted(kind)),
		redacts:      !o.ClearSecrets,
		secret:       core && kind == "Secret" && !o.ClearSecrets,
		configMap:    core && kind == "ConfigMap" && !o.ClearSecrets,
		service:      core && kind == "Service",
		metadataOnly: o.MetadataOnly,
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
// is gone. After an error what was appended is of no use; AppendSlowly may still be able to.
func (k *Kind) Append(dst, data []byte, deleted bool) ([]byte, Identity, error) {
	w := writer{Kind: k, scanner: scanner{data: data}, start: len(dst), dst: append(dst, k.head...)}
	if err := w.object(w.member); err != nil {
		return dst, Identity{}, w.failed(err)
	}
	if w.space() != 0 || !w.sawMetadata {
		return dst, Identity{}, w.failed(errMember)
	}
	w.patternResource()
	if err := w.componentMetadata(deleted); err != nil {
		return dst, Identity{}, err
	}
	return append(w.dst, '}'), w.identity, nil
}

// AppendSlowly does so the obvious way, for what Append cannot read: it decodes the object and has it encoded.
func (k *Kind) AppendSlowly(dst, data []byte, deleted bool) ([]byte, Identity, error) {
	var object map[string]any
	if err := utiljson.Unmarshal(data, &object); err != nil {
		return dst, Identity{}, err
	}
	obj := &unstructured.Unstructured{Object: object}
	obj.SetGroupVersionKind(k.gvk)
	if k.metadataOnly {
		obj = k.onlyMetadata(obj)
	}
	encode := k.obvious.EncodeObject
	if deleted {
		encode = k.obvious.EncodeDeleted
	}
	encoded, err := encode(obj)
	if err != nil {
		return dst, Identity{}, err
	}
	identity, err := Identify(encoded)
	return append(dst, encoded...), identity, err
}

// onlyMetadata redacts it first, as long as the values are there that must not be in it.
func (k *Kind) onlyMetadata(obj *unstructured.Unstructured) *unstructured.Unstructured {
	if k.redacts {
		obj = wire.Redact(obj)
	}
	object := map[string]any{"apiVersion": obj.GetAPIVersion(), "kind": obj.GetKind(), "metadata": obj.Object["metadata"]}
	return &unstructured.Unstructured{Object: object}
}

// Deleted appends the wire form of an object that is gone and of which nothing but its identity is known.
func (k *Kind) Deleted(dst []byte, namespace, name, uid, resourceVersion string) []byte {
	dst = append(append(dst, k.head...), `,"metadata":{"id":"","cluster_id":""`...)
	for _, member := range [][2]string{{"namespace", namespace}, {"name", name}, {"resourceVersion", resourceVersion}} {
		if member[1] != "" {
			dst = fmt.Appendf(dst, `,"%s":%s`, member[0], quoted(member[1]))
		}
	}
	return fmt.Appendf(dst, `,"uid":%s},"pattern_resource":null,"component_metadata":null}`, quoted(uid))
}

// writer writes one object.
type writer struct {
	*Kind
	scanner
	dst   []byte
	start int // of what is appended

	identity                               Identity
	own                                    wire.SecretValues
	sawMetadata                            bool
	seen                                   uint32 // other members that are carried
	labelled, designLabelled, designMarked []byte // values that may be the id of a design, in the order in which they count
	spec, status                           []byte // of a Service
}

func (w *writer) put(before string, text []byte) { w.dst = append(append(w.dst, before...), text...) }

// member writes what is carried of one member of the object.
func (w *writer) member(name []byte) error {
	if string(name) == `"metadata"` {
		return w.metadata()
	}
	if w.metadataOnly {
		return w.notCarried(name)
	}
	switch string(name) {
	case `"spec"`:
		return w.once(0, w.attribute(`,"spec":{"id":"","attribute":"`, &w.spec))
	case `"status"`:
		return w.once(1, w.attribute(`,"status":{"id":"","attribute":"`, &w.status))
	case `"immutable"`:
		return w.once(2, w.flag(`,"immutable":`))
	case `"data"`:
		return w.once(3, w.values(`,"data":"`, redactedBase64))
	case `"binaryData"`:
		return w.once(4, w.values(`,"binaryData":"`, redactedBase64))
	case `"stringData"`:
		return w.once(5, w.values(`,"stringData":"`, redactedText))
	case `"type"`:
		return w.once(6, w.copyTextIfAny(`,"type":`))
	}
	return w.notCarried(name)
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
		return w.version()
	case `"generateName"`:
		return w.once(7, w.copyTextIfAny(`,"generateName":`))
	case `"selfLink"`:
		return w.once(8, w.copyTextIfAny(`,"selfLink":`))
	case `"creationTimestamp"`:
		return w.once(9, w.copyTextIfAny(`,"creationTimestamp":`))
	case `"deletionTimestamp"`:
		return w.once(10, w.copyTextIfAny(`,"deletionTimestamp":`))
	case `"generation"`:
		return w.once(11, w.whole(`,"generation":`))
	case `"deletionGracePeriodSeconds"`:
		return w.once(12, w.whole(`,"deletionGracePeriodSeconds":`))
	case `"labels"`:
		return w.once(13, w.pairs(`,"labels":[`, `{"id":"","unique_id":"","kind":"label","key":`, w.label))
	case `"annotations"`:
		return w.once(14, w.pairs(`,"annotations":[`, `{"id":"","unique_id":"","kind":"annotation","key":`, w.annotation))
	case `"ownerReferences"`:
		return w.once(15, w.embed(`,"ownerReferences":"`, `"`))
	case `"finalizers"`:
		return w.once(16, w.embed(`,"finalizers":"`, `"`))
	}
	return w.notCarried(name)
}

// once passes on how a member went; they are numbered. One that comes again would have to replace what is written of it.
func (w *writer) once(member int, err error) error {
	if w.seen&(1<<member) != 0 {
		return errTwice
	}
	w.seen |= 1 << member
	return err
}

// copyTextIfAny copies a string that is not empty. Another kind may use the member for something else: then it is not carried.
func (w *writer) copyTextIfAny(name string) error {
	text, err := w.value()
	if err == nil && len(text) > len(`""`) && text[0] == '"' {
		w.put(name, text)
	}
	return err
}

// identify copies a string and remembers it.
func (w *writer) identify(name string, into *[]byte) error {
	text, err := w.textOnce(into)
	if err == nil && (len(*into) > 0 || into == &w.identity.UID) {
		w.put(name, text)
	}
	return err
}

// version does so for the resourceVersion, and remembers where it stands.
func (w *writer) version() error {
	before := len(w.dst)
	if err := w.identify(`,"resourceVersion":`, &w.identity.ResourceVersion); err != nil || len(w.dst) == before {
		return err
	}
	w.identity.VersionStart = before + len(`,"resourceVersion":`) - w.start
	w.identity.VersionEnd = len(w.dst) - w.start
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
	if w.service && w.data[start] != 'n' { // null is none
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
		if value, err = use(key, value); err != nil {
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
	value, err := w.redacted(key, value)
	if string(key) == `"designs.meshery.io"` {
		w.designMarked = value
	}
	return value, err
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
	if w.spec == nil || deleted { // it is no Service, or nothing is known of it
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
