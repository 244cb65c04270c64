// Package convert turns a decoded object into a message the way that the existing MeshSync does, step by step: the object is written
// as JSON, read into a model, gone through once for each member that the model has in another form, and written again.
//
// It is what the benchmark compares with, and of no use for anything else. Its result has the members of the real one, though.
package convert

import (
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// message is the envelope.
type message struct {
	ObjectType string
	EventType  string
	Request    *struct{}
	Object     *resource
}

// resource is the model.
type resource struct {
	ID                string         `json:"id"`
	APIVersion        string         `json:"apiVersion"`
	Kind              string         `json:"kind"`
	Model             string         `json:"model"`
	Metadata          *objectMeta    `json:"metadata"`
	Spec              *text          `json:"spec,omitempty"`
	Status            *text          `json:"status,omitempty"`
	ClusterID         string         `json:"cluster_id"`
	PatternResource   *string        `json:"pattern_resource"`
	ComponentMetadata map[string]any `json:"component_metadata"`
	others
}

// others are members that the model has as texts, and the object as it likes.
type others struct {
	Immutable  string `json:"immutable,omitempty"`
	Data       string `json:"data,omitempty"`
	BinaryData string `json:"binaryData,omitempty"`
	StringData string `json:"stringData,omitempty"`
	Type       string `json:"type,omitempty"`
}

type objectMeta struct {
	ID                         string  `json:"id"`
	Name                       string  `json:"name,omitempty"`
	GenerateName               string  `json:"generateName,omitempty"`
	Namespace                  string  `json:"namespace,omitempty"`
	SelfLink                   string  `json:"selfLink,omitempty"`
	UID                        string  `json:"uid"`
	ResourceVersion            string  `json:"resourceVersion,omitempty"`
	Generation                 int64   `json:"generation,omitempty"`
	CreationTimestamp          string  `json:"creationTimestamp,omitempty"`
	DeletionTimestamp          string  `json:"deletionTimestamp,omitempty"`
	DeletionGracePeriodSeconds *int64  `json:"deletionGracePeriodSeconds,omitempty"`
	Labels                     []*pair `json:"labels,omitempty"`
	Annotations                []*pair `json:"annotations,omitempty"`
	OwnerReferences            string  `json:"ownerReferences,omitempty"`
	Finalizers                 string  `json:"finalizers,omitempty"`
	ClusterID                  string  `json:"cluster_id"`
}

type pair struct {
	ID       string `json:"id"`
	UniqueID string `json:"unique_id"`
	Kind     string `json:"kind"`
	Key      string `json:"key"`
	Value    string `json:"value"`
}

type text struct {
	ID        string `json:"id"`
	Attribute string `json:"attribute"`
}

// Message returns the message about an object.
func Message(event string, object *unstructured.Unstructured, clusterID string) ([]byte, error) {
	data, err := object.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var model resource
	// Members that have another form in the model are complained of, and filled in below.
	_ = json.Unmarshal(data, &model)
	model.ClusterID = clusterID
	if model.Metadata == nil {
		model.Metadata = &objectMeta{}
	}
	model.Metadata.Labels = pairs(data, "label", "labels")
	model.Metadata.Annotations = pairs(data, "annotation", "annotations")
	model.Metadata.OwnerReferences = string(member(data, "metadata", "ownerReferences"))
	model.Metadata.Finalizers = string(member(data, "metadata", "finalizers"))
	model.Spec, model.Status = textOf(data, "spec"), textOf(data, "status")
	model.others = others{
		Immutable:  string(member(data, "immutable")),
		Data:       string(member(data, "data")),
		BinaryData: string(member(data, "binaryData")),
		StringData: string(member(data, "stringData")),
		Type:       strings.Trim(string(member(data, "type")), `"`),
	}
	return json.Marshal(message{ObjectType: "meshsync-data", EventType: event, Object: &model})
}

func textOf(data []byte, name string) *text {
	value := member(data, name)
	if value == nil {
		return nil
	}
	return &text{Attribute: string(value)}
}

func pairs(data []byte, kind, name string) []*pair {
	var pairs []*pair
	for key, value := range members(member(data, "metadata", name)) {
		one := &pair{Kind: kind}
		_ = json.Unmarshal(key, &one.Key)
		_ = json.Unmarshal(value, &one.Value)
		pairs = append(pairs, one)
	}
	return pairs
}
