package wire

// object is a Kubernetes object on the wire. Members that Meshery Server fills in itself (id, model, unique_id, the cluster_id
// of the metadata) are there and empty; other members of a Kubernetes object than these are not carried.
type object struct {
	ID         string     `json:"id"`
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Model      string     `json:"model"`
	Metadata   metadata   `json:"metadata"`
	Spec       *attribute `json:"spec,omitempty"`
	Status     *attribute `json:"status,omitempty"`
	ClusterID  string     `json:"cluster_id"`

	// PatternResource is the id of the Meshery design that the object belongs to.
	PatternResource   *string            `json:"pattern_resource"`
	ComponentMetadata *componentMetadata `json:"component_metadata"`

	// Members of some kinds. All are strings, most of them with JSON in it.
	Immutable  string `json:"immutable,omitempty"`
	Data       string `json:"data,omitempty"`
	BinaryData string `json:"binaryData,omitempty"`
	StringData string `json:"stringData,omitempty"`
	Type       string `json:"type,omitempty"`
}

type metadata struct {
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
	Labels                     []keyValue `json:"labels,omitempty"`
	Annotations                []keyValue `json:"annotations,omitempty"`
	OwnerReferences            string     `json:"ownerReferences,omitempty"` // JSON
	Finalizers                 string     `json:"finalizers,omitempty"`      // JSON
	ClusterID                  string     `json:"cluster_id"`
}

// keyValue is a label or an annotation.
type keyValue struct {
	ID       string `json:"id"`
	UniqueID string `json:"unique_id"`
	Kind     string `json:"kind"`
	Key      string `json:"key"`
	Value    string `json:"value"`
}

// attribute is a spec or a status.
type attribute struct {
	ID        string `json:"id"`
	Attribute string `json:"attribute"` // JSON
}

type componentMetadata struct {
	Capabilities capabilities `json:"capabilities"`
}

type capabilities struct {
	Connection bool     `json:"connection"`
	URLs       []string `json:"urls"`
}
