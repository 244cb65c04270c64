package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Broker is a NATS server, or a cluster of them, that carries the state of a Kubernetes cluster to Meshery Server and to
// any other NATS client that knows its token.
//
// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=br,categories=meshery
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Size",type=integer,JSONPath=`.spec.size`
// +kubebuilder:printcolumn:name="External",type=string,JSONPath=`.status.endpoint.external`
// +kubebuilder:printcolumn:name="Internal",type=string,JSONPath=`.status.endpoint.internal`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 50",message="metadata.name must have at most 50 characters: names of Services and pods are made from it"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be a DNS-1035 label (a-z, 0-9 and -, beginning with a letter): it names a Service"
// +kubebuilder:validation:XValidation:rule="self.metadata.name != 'meshery'",message="metadata.name must not be meshery: the Secret of its token, meshery-nats-auth, is that of the Broker meshery-broker"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.endsWith('-headless')",message="metadata.name must not end in -headless: a Service of that name belongs to the Broker named like the rest"
type Broker struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the user wants.
	// +optional
	// +kubebuilder:default={}
	Spec BrokerSpec `json:"spec,omitempty"`
	// status is what the operator observes.
	// +optional
	Status BrokerStatus `json:"status,omitempty"`
}

// BrokerSpec describes the wanted NATS server or cluster.
type BrokerSpec struct {
	// size is the number of NATS servers. More than one form a single NATS cluster.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	Size int32 `json:"size,omitempty"`

	// version is the tag of the NATS image. The operator's own default is used when it is empty.
	// +optional
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$`
	Version string `json:"version,omitempty"`

	// service says how clients outside the cluster reach the broker.
	// +optional
	// +kubebuilder:default={}
	Service BrokerService `json:"service,omitempty"`

	// jetstream lets the broker keep messages: the last state of every object, for consumers that come late. It is on unless
	// it is turned off.
	// +optional
	// +kubebuilder:default={}
	JetStream BrokerJetStream `json:"jetstream,omitempty"`

	// tls makes clients connect by TLS. Without it they connect in clear, with the token.
	// +optional
	TLS *BrokerTLS `json:"tls,omitempty"`

	PodSettings `json:",inline"`
}

// BrokerJetStream says whether and where the broker keeps messages.
//
// +kubebuilder:validation:XValidation:rule="!has(self.maxStorage) || quantity(string(self.maxStorage)).isGreaterThan(quantity('0'))",message="maxStorage must be more than 0"
// +kubebuilder:validation:XValidation:rule="!has(self.maxStorage) || quantity(string(self.maxStorage)).compareTo(quantity('1Pi')) <= 0",message="maxStorage must be at most 1Pi"
// +kubebuilder:validation:XValidation:rule="!has(self.maxStorage) || !has(self.storage) || quantity(string(self.maxStorage)).compareTo(quantity(string(self.storage.size))) <= 0",message="maxStorage must not be more than storage.size: it is kept on that volume"
type BrokerJetStream struct {
	// enabled turns JetStream on. Default: true.
	// +optional
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`

	// maxStorage is the most that each server keeps. Default: 45 % of storage.size, or 1Gi without storage. After a change of
	// spec.size the volume holds also what the servers kept before it: more than half of storage.size may not fit then.
	// +optional
	MaxStorage *resource.Quantity `json:"maxStorage,omitempty"`

	// storage is a volume for each server. Without it messages live as long as the server's pod, which is enough for MeshSync: it
	// publishes again what a new server lacks. It cannot be changed once the servers exist; a condition then says what to do.
	// +optional
	Storage *BrokerStorage `json:"storage,omitempty"`
}

// BrokerStorage is a volume for each server of a broker.
type BrokerStorage struct {
	// size of the volume.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).isGreaterThan(quantity('0'))",message="size must be more than 0"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Pi')) <= 0",message="size must be at most 1Pi"
	Size resource.Quantity `json:"size"`

	// storageClassName of the volume. Default: the cluster's default class.
	// +optional
	StorageClassName *string `json:"storageClassName,omitempty"`

	// retain keeps the volumes when the Broker is deleted or shrinks. By default they go with it.
	// +optional
	Retain bool `json:"retain,omitempty"`
}

// BrokerTLS says what the broker shows to its clients.
type BrokerTLS struct {
	// secretName is a Secret of type kubernetes.io/tls in the Broker's namespace. If the certificate's authority is not a public
	// one, the Secret has it as ca.crt, and MeshSync trusts it. The certificate must name what clients connect to: at least
	// <name>.<namespace>.svc.<cluster domain>, the Broker's internal endpoint.
	// +kubebuilder:validation:MinLength=1
	SecretName string `json:"secretName"`
}

// EnabledJetStream repeats the schema's default for a Broker that was stored before there was one.
func (s *BrokerSpec) EnabledJetStream() bool {
	return s.JetStream.Enabled == nil || *s.JetStream.Enabled
}

// BrokerService describes the Service through which clients connect. Access always needs the broker's token.
//
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerClass) || !has(self.type) || self.type == 'LoadBalancer'",message="loadBalancerClass needs type LoadBalancer"
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerSourceRanges) || size(self.loadBalancerSourceRanges) == 0 || !has(self.type) || self.type == 'LoadBalancer'",message="loadBalancerSourceRanges needs type LoadBalancer"
type BrokerService struct {
	// type of the client Service.
	// +optional
	// +kubebuilder:default=LoadBalancer
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type,omitempty"`

	// annotations are put on the client Service, for example for a cloud's load balancer.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// loadBalancerClass chooses the load-balancer implementation. Kubernetes lets it be set only while the type changes to
	// LoadBalancer.
	// +optional
	// +kubebuilder:validation:MinLength=1
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`

	// loadBalancerSourceRanges limits the client addresses that a load balancer admits, in CIDR notation.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.all(range, isCIDR(range))",message="each of loadBalancerSourceRanges must be in CIDR notation, such as 192.0.2.0/24 or 2001:db8::/32"
	LoadBalancerSourceRanges []string `json:"loadBalancerSourceRanges,omitempty"`

	// externalEndpointOverride is reported as status.endpoint.external instead of what the Service shows: host:port,
	// without a scheme, an IPv6 address in brackets. For addresses that Kubernetes does not know, such as a tunnel or a DNS name.
	// +optional
	// +kubebuilder:validation:MaxLength=261
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || self.matches('^([A-Za-z0-9._-]+|[[][0-9A-Fa-f:.]+[]]):[0-9]{1,5}$')",message="externalEndpointOverride must be host:port without a scheme, an IPv6 address in brackets: nats.example.com:4222 or [2001:db8::1]:4222"
	// +kubebuilder:validation:XValidation:rule="!self.matches(':[0-9]{1,5}$') || (int(self.substring(self.lastIndexOf(':') + 1)) >= 1 && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535)",message="the port of externalEndpointOverride must be 1 to 65535"
	ExternalEndpointOverride string `json:"externalEndpointOverride,omitempty"`
}

// BrokerStatus is what the operator observes of a Broker.
type BrokerStatus struct {
	// endpoint is where clients connect.
	// +optional
	Endpoint BrokerEndpoint `json:"endpoint,omitempty"`

	// conditions of the broker: Ready while every wanted NATS server accepts clients, Progressing while a change rolls out,
	// Degraded while something keeps the broker from being as the spec asks, Warning while something works but should be
	// changed, ExternalEndpoint while there is an address for clients outside the cluster.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BrokerEndpoint is where clients connect, as host:port without a scheme.
type BrokerEndpoint struct {
	// internal is the address inside the cluster: the client Service's DNS name. It is empty while that Service is not the
	// Broker's own.
	// +optional
	Internal string `json:"internal,omitempty"`

	// external is the address outside the cluster. It is empty while there is none, for example while a load balancer is
	// pending or when the Service is of type ClusterIP.
	// +optional
	External string `json:"external,omitempty"`
}

// BrokerList is a list of Brokers.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
type BrokerList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Broker `json:"items"`
}
