// Package v1alpha1 is the contract of the operator's two custom resources: Broker, a NATS server or cluster, and
// MeshSync, the agent that publishes a cluster's state to it.
//
// +k8s:deepcopy-gen=package
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=io.meshery.operator.pkg.apis.meshery.v1alpha1
// +kubebuilder:object:generate=false
// +groupName=meshery.io
package v1alpha1
