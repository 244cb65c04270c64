package raw

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Object is what an informer keeps of an object: which it is, and in which state.
type Object struct {
	unset

	Key             string // namespace/name, or name
	UID             string
	ResourceVersion string

	// Seen and Content are for who keeps the object elsewhere as well. An informer does not look at them.
	Seen    uint32
	Content uint64

	endsList bool // it is the bookmark behind all that is there
}

// NewObject copies what it is given, into one piece of memory.
func NewObject(namespace, name, uid, resourceVersion []byte) *Object {
	var text strings.Builder
	text.Grow(len(namespace) + 1 + len(name) + len(uid) + len(resourceVersion))
	if len(namespace) > 0 {
		text.Write(namespace)
		text.WriteByte('/')
	}
	text.Write(name)
	key := text.Len()
	text.Write(uid)
	text.Write(resourceVersion)
	all := text.String()
	return &Object{Key: all[:key], UID: all[key : key+len(uid)], ResourceVersion: all[key+len(uid):]}
}

// Key of an object.
func Key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// Namespace of the object; empty if it has none.
func (o *Object) Namespace() string { return o.Key[:max(strings.IndexByte(o.Key, '/'), 0)] }

// Name of the object.
func (o *Object) Name() string { return o.Key[strings.IndexByte(o.Key, '/')+1:] }

// GetNamespace and GetName tell an informer that the key is the name of an object without a namespace. It puts its own keys together
// from them, several times for every event, and would allocate each: so it uses the one that is there.
func (o *Object) GetNamespace() string { return "" }

// GetName is the key.
func (o *Object) GetName() string { return o.Key }

// GetUID of the object.
func (o *Object) GetUID() types.UID { return types.UID(o.UID) }

// GetResourceVersion of the object.
func (o *Object) GetResourceVersion() string { return o.ResourceVersion }

// GetAnnotations says what an informer looks for: whether a bookmark ends a list.
func (o *Object) GetAnnotations() map[string]string {
	if o.endsList {
		return map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	return nil
}

// GetObjectKind knows no kind: an informer has one only.
func (o *Object) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject of the object.
func (o *Object) DeepCopyObject() runtime.Object { return new(*o) }

// unset is the rest of metav1.Object: it is not kept, and cannot be set.
type unset struct{}

func (unset) SetNamespace(string)                           {}
func (unset) SetName(string)                                {}
func (unset) GetGenerateName() string                       { return "" }
func (unset) SetGenerateName(string)                        {}
func (unset) SetUID(types.UID)                              {}
func (unset) SetResourceVersion(string)                     {}
func (unset) GetGeneration() int64                          { return 0 }
func (unset) SetGeneration(int64)                           {}
func (unset) GetSelfLink() string                           { return "" }
func (unset) SetSelfLink(string)                            {}
func (unset) GetCreationTimestamp() metav1.Time             { return metav1.Time{} }
func (unset) SetCreationTimestamp(metav1.Time)              {}
func (unset) GetDeletionTimestamp() *metav1.Time            { return nil }
func (unset) SetDeletionTimestamp(*metav1.Time)             {}
func (unset) GetDeletionGracePeriodSeconds() *int64         { return nil }
func (unset) SetDeletionGracePeriodSeconds(*int64)          {}
func (unset) GetLabels() map[string]string                  { return nil }
func (unset) SetLabels(map[string]string)                   {}
func (unset) SetAnnotations(map[string]string)              {}
func (unset) GetFinalizers() []string                       { return nil }
func (unset) SetFinalizers([]string)                        {}
func (unset) GetOwnerReferences() []metav1.OwnerReference   { return nil }
func (unset) SetOwnerReferences([]metav1.OwnerReference)    {}
func (unset) GetManagedFields() []metav1.ManagedFieldsEntry { return nil }
func (unset) SetManagedFields([]metav1.ManagedFieldsEntry)  {}

var _ metav1.Object = &Object{}

// List is what an informer gets of a list.
type List struct {
	metav1.TypeMeta
	metav1.ListMeta

	Items []runtime.Object
}

// DeepCopyObject of the list.
func (l *List) DeepCopyObject() runtime.Object {
	list := *l
	list.Items = make([]runtime.Object, 0, len(l.Items))
	for _, item := range l.Items {
		list.Items = append(list.Items, item.DeepCopyObject())
	}
	return &list
}
