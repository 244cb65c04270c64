package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MeshSync is the agent that publishes every change of a cluster's objects to a broker.
//
// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=msync,categories=meshery
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Size",type=integer,JSONPath=`.spec.size`
// +kubebuilder:printcolumn:name="Kinds",type=integer,JSONPath=`.status.discovery.kindsWanted`
// +kubebuilder:printcolumn:name="Synced",type=integer,JSONPath=`.status.discovery.kindsSynced`
// +kubebuilder:printcolumn:name="Objects",type=integer,JSONPath=`.status.discovery.objects`
// +kubebuilder:printcolumn:name="Publishing-To",type=string,JSONPath=`.status.publishing-to`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 50",message="metadata.name must have at most 50 characters: names of pods and ConfigMaps are made from it"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be a DNS-1035 label (a-z, 0-9 and -, beginning with a letter)"
type MeshSync struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the user wants.
	// +optional
	// +kubebuilder:default={}
	Spec MeshSyncSpec `json:"spec,omitempty"`
	// status is what the operator and the agent observe.
	// +optional
	Status MeshSyncStatus `json:"status,omitempty"`
}

// MeshSyncSpec describes the wanted agent.
type MeshSyncSpec struct {
	// size is the number of agents. One of them publishes; the others stand by, with everything read already, and the next takes
	// over when that one ends.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	Size int32 `json:"size,omitempty"`

	// version is the tag of the MeshSync image. The operator's own default is used when it is empty.
	// +optional
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$`
	Version string `json:"version,omitempty"`

	// broker is where the agent publishes to: a Broker (native) or any NATS server (custom). When neither is set, the
	// Broker named meshery-broker in the MeshSync's own namespace is used.
	// +optional
	Broker MeshSyncBroker `json:"broker,omitempty"`

	// watch-list says which kinds of objects the agent watches. Without it, a default list is watched.
	// +optional
	WatchList WatchList `json:"watch-list,omitempty"`

	// informer_config is what older documents call watch-list, and is deprecated. It is used where watch-list says nothing.
	// +optional
	InformerConfig *WatchList `json:"informer_config,omitempty"`

	// discovery says how much of the watched kinds is read and published.
	// +optional
	Discovery MeshSyncDiscovery `json:"discovery,omitempty"`

	// publishing says how fast the agent publishes.
	// +optional
	Publishing MeshSyncPublishing `json:"publishing,omitempty"`

	// sessions lets Meshery Server look into pods through the agent. All are off unless turned on, and need the ceiling
	// ClusterRole to name pods/log and pods/exec.
	// +optional
	Sessions MeshSyncSessions `json:"sessions,omitempty"`

	// verbosity of the agent's log: 0 for lifecycle and loss, 2 adds changes made, 4 every sync, 5 every event. From 8 on the
	// Kubernetes client would log what the API server answers, Secrets included; so 7 is the most.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=7
	Verbosity *int32 `json:"verbosity,omitempty"`

	PodSettings `json:",inline"`
}

// MeshSyncDiscovery says how much of the watched kinds is read and published. The agent follows an edit while it runs.
type MeshSyncDiscovery struct {
	// namespaces of the objects that are watched. Objects that have no namespace are not concerned.
	// +optional
	Namespaces NamespaceSelection `json:"namespaces,omitempty"`

	// depth is how much of each object is read and published: full is everything, inventory only apiVersion, kind and metadata,
	// which costs the API server, the agent and the broker a fraction. An entry of the whitelist may name its own.
	// +optional
	// +kubebuilder:default=full
	Depth Depth `json:"depth,omitempty"`

	// maxTier leaves out the kinds of later tiers. Kinds are listed for the first time tier by tier: 1 is the map of the cluster
	// (namespaces, nodes, definitions and other kinds without a namespace), 2 the workloads and their networking, 3 configuration,
	// storage, RBAC and custom resources.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3
	MaxTier int32 `json:"maxTier,omitempty"`

	// onRemoval is what becomes of the published objects of a kind, or of a namespace, that is not watched any more: Delete
	// publishes each as DELETED, so that what a consumer has is what the watch-list says; Keep says nothing of them.
	// +optional
	// +kubebuilder:default=Delete
	OnRemoval OnRemoval `json:"onRemoval,omitempty"`
}

// NamespaceSelection selects namespaces by name.
type NamespaceSelection struct {
	// include names the namespaces to watch; empty is all. Every kind is then watched once per namespace.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Include []string `json:"include,omitempty"`

	// exclude names the namespaces not to watch, and wins over include.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Exclude []string `json:"exclude,omitempty"`
}

// Depth is how much of an object is read and published.
//
// +kubebuilder:validation:Enum=inventory;full
type Depth string

// The depths.
const (
	// DepthInventory is apiVersion, kind and metadata.
	DepthInventory Depth = "inventory"
	// DepthFull is the whole object.
	DepthFull Depth = "full"
)

// OnRemoval is what becomes of published objects that are not watched any more.
//
// +kubebuilder:validation:Enum=Delete;Keep
type OnRemoval string

// What becomes of published objects that are not watched any more.
const (
	// OnRemovalDelete publishes them as DELETED.
	OnRemovalDelete OnRemoval = "Delete"
	// OnRemovalKeep publishes nothing.
	OnRemovalKeep OnRemoval = "Keep"
)

// MeshSyncPublishing limits how fast the agent publishes. What it holds back is not lost: of an object that changes meanwhile the
// newest state is published. The agent follows an edit while it runs.
//
// +kubebuilder:validation:XValidation:rule="!has(self.bytesPerSecond) || quantity(string(self.bytesPerSecond)).compareTo(quantity('0')) == 0 || quantity(string(self.bytesPerSecond)).compareTo(quantity('1Ki')) >= 0",message="bytesPerSecond must be 0, which is no limit, or at least 1Ki: M and Mi are millions, m is a thousandth"
// +kubebuilder:validation:XValidation:rule="!has(self.bytesPerSecond) || quantity(string(self.bytesPerSecond)).compareTo(quantity('1Pi')) <= 0",message="bytesPerSecond must be at most 1Pi"
type MeshSyncPublishing struct {
	// messagesPerSecond is the most messages that are published in a second, on average. 0 is no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MessagesPerSecond int32 `json:"messagesPerSecond,omitempty"`

	// bytesPerSecond is the most bytes of messages that are published in a second, on average, such as 10Mi. 0 is no limit.
	// +optional
	BytesPerSecond *resource.Quantity `json:"bytesPerSecond,omitempty"`
}

// MeshSyncSessions are ways into the cluster.
type MeshSyncSessions struct {
	// logs lets the agent read the logs of pods.
	// +optional
	Logs bool `json:"logs,omitempty"`

	// exec lets the agent run a shell in containers.
	// +optional
	Exec bool `json:"exec,omitempty"`
}

// MeshSyncBroker names the broker to publish to.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.native) && has(self.native.name) && size(self.native.name) > 0 && has(self.custom) && has(self.custom.url) && size(self.custom.url) > 0)",message="set either native or custom, not both: an agent publishes to one broker"
type MeshSyncBroker struct {
	// native is a Broker in the same cluster.
	// +optional
	Native NativeBroker `json:"native,omitempty"`

	// custom is one or more NATS servers that no Broker describes.
	// +optional
	Custom CustomBroker `json:"custom,omitempty"`
}

// NativeBroker refers to a Broker.
type NativeBroker struct {
	// name of the Broker.
	// +optional
	Name string `json:"name,omitempty"`

	// namespace of the Broker. Empty means the MeshSync's own. The operator must serve any other, and keeps a copy of the
	// broker's token in the MeshSync's.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// CustomBroker is one NATS server that no Broker describes, or several that form a cluster.
//
// +kubebuilder:validation:XValidation:rule="!has(self.secretRef) || (has(self.url) && size(self.url) > 0)",message="secretRef needs url"
type CustomBroker struct {
	// url of the server, for example nats://nats.example.com:4222, or of the servers of one cluster, separated by commas. A
	// password here can be read by whoever may read the MeshSync: use secretRef.
	// +optional
	// +kubebuilder:validation:Pattern=`^$|^(nats|tls|ws|wss)://\S+(,\s*\S+)*$|^[^\s/]+(:[0-9]{1,5})?$`
	URL string `json:"url,omitempty"`

	// secretRef names a Secret in the MeshSync's namespace with what the server asks for, which is one of token, username and
	// password, creds (a NATS credentials file) and nkey (the seed of a user's NKey); and ca.crt where its certificate is not
	// signed by a public authority. It wins over what stands in url.
	//
	// Who may edit a MeshSync can have the agent log in with any such Secret of its namespace at a server of his own, and be sent
	// the token or the password, even if he may not read Secrets. The operator's own Secrets and the tokens of ServiceAccounts are
	// refused.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`
}

// SecretReference names a Secret in the same namespace.
type SecretReference struct {
	// name of the Secret.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// WatchList has the shape of a ConfigMap, because the existing tools write one. Only data is read.
type WatchList struct {
	// apiVersion is accepted and not used.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// kind is accepted and not used.
	// +optional
	Kind string `json:"kind,omitempty"`

	// metadata is accepted and not used.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// data holds two keys, each a JSON array in a string; an empty string counts as unset.
	//
	// whitelist: the kinds to watch, [{"Resource":"pods.v1.","Events":["ADDED","MODIFIED","DELETED"]}]. Resource is
	// <plural>.<version>.<group>, ending with a dot for the core group.
	//
	// blacklist: the kinds not to watch, ["secrets.v1."].
	// +optional
	Data map[string]string `json:"data,omitempty"`

	// binaryData is accepted and not used.
	// +optional
	BinaryData map[string][]byte `json:"binaryData,omitempty"`

	// immutable is accepted and not used.
	// +optional
	Immutable *bool `json:"immutable,omitempty"`
}

// MeshSyncStatus is what the operator and the agent observe of a MeshSync.
type MeshSyncStatus struct {
	// publishing-to is the broker in use, as host:port.
	// +optional
	PublishingTo string `json:"publishing-to,omitempty"`

	// discovery is what the agent watches, in numbers. The agent writes it, when it changes and at most every 10 seconds.
	// +optional
	Discovery *MeshSyncDiscoveryStatus `json:"discovery,omitempty"`

	// resources are the watched kinds one by one, those with problems first: the worst 50 of them. The agent writes it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Resources []ResourceStatus `json:"resources,omitempty"`

	// publishing is how the agent publishes. The agent that publishes writes it.
	// +optional
	Publishing *MeshSyncPublishingStatus `json:"publishing,omitempty"`

	// conditions of the MeshSync: Ready while the wanted agents run, are connected to the broker and have seen every watched
	// kind once, Progressing while a change rolls out, Degraded while something keeps it from being as the spec asks, Warning
	// while something works but should be changed, Forbidden while the watch-list names more than agents may read. The agent
	// writes four: WatchListValid while every entry of the watch-list can be used, Discovered while it has seen every object of
	// the kinds that it can watch, Publishing while the broker acknowledges what it publishes, StateStored while the state stream
	// takes what it is sent.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MeshSyncDiscoveryStatus is what the agent watches, in numbers.
type MeshSyncDiscoveryStatus struct {
	// observedWatchListHash names the watch-list in force. It changes with everything that the list and spec.discovery say.
	// +optional
	ObservedWatchListHash string `json:"observedWatchListHash,omitempty"`

	// generation of the MeshSync whose watch-list and discovery the agent has taken over.
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// kindsWanted is how many kinds the watch-list asks for, served or not.
	KindsWanted int32 `json:"kindsWanted"`

	// kindsSynced is how many of them are watched, and have been seen as a whole.
	KindsSynced int32 `json:"kindsSynced"`

	// objects is how many objects of these kinds there are. It is brought up to date once a minute; the metric
	// meshery_meshsync_objects ticks live.
	Objects int64 `json:"objects"`

	// lastSyncTime is when a kind was last seen as a whole.
	// +optional
	LastSyncTime *metav1.Time `json:"lastSyncTime,omitempty"`
}

// ResourceStatus is one kind on the watch-list.
type ResourceStatus struct {
	// resource as it is written in a watch-list: <plural>.<version>.<group>. What no kind is served for is as in the list.
	Resource string `json:"resource"`

	// state of the watch.
	State ResourceState `json:"state"`

	// objects of this kind, as of when status was written.
	Objects int64 `json:"objects"`

	// message says why it is not synced.
	// +optional
	Message string `json:"message,omitempty"`
}

// ResourceState is how far the agent is with a kind.
//
// +kubebuilder:validation:Enum=Syncing;Synced;NotServed;Forbidden;Failed
type ResourceState string

// The states of a kind.
const (
	// ResourceSyncing: it has not been seen as a whole yet.
	ResourceSyncing ResourceState = "Syncing"
	// ResourceSynced: it has been seen as a whole, and is watched.
	ResourceSynced ResourceState = "Synced"
	// ResourceNotServed: the API server does not serve it (yet), or not for listing and watching.
	ResourceNotServed ResourceState = "NotServed"
	// ResourceForbidden: the agent may not list or watch it.
	ResourceForbidden ResourceState = "Forbidden"
	// ResourceFailed: it cannot be listed or watched at the moment. It is tried again.
	ResourceFailed ResourceState = "Failed"
)

// ResourceStates are all states of a kind, from the best to the worst.
var ResourceStates = []ResourceState{ResourceSynced, ResourceSyncing, ResourceNotServed, ResourceForbidden, ResourceFailed}

// MeshSyncPublishingStatus is how the agent publishes.
type MeshSyncPublishingStatus struct {
	// mode says what becomes of a message besides being sent to those who listen at the moment.
	Mode PublishingMode `json:"mode"`

	// stream is the name of the state stream. It is empty in mode Core.
	// +optional
	Stream string `json:"stream,omitempty"`

	// message says why the mode is not Stream.
	// +optional
	Message string `json:"message,omitempty"`

	// trimmedObjects are too large for the broker, and published without some of their parts: 20 of them at most.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	TrimmedObjects []TrimmedObject `json:"trimmedObjects,omitempty"`
}

// PublishingMode is what becomes of what the agent publishes.
//
// +kubebuilder:validation:Enum=Stream;Core
type PublishingMode string

// The modes.
const (
	// PublishingStream: the state stream keeps the last state of every object, for consumers that come late or come back. An agent
	// that starts learns from it what the broker has, and publishes what differs, deletions included.
	PublishingStream PublishingMode = "Stream"
	// PublishingCore: nothing is kept. An agent that starts publishes everything; what was deleted while none ran stays with
	// consumers until they ask for everything.
	PublishingCore PublishingMode = "Core"
)

// TrimmedObject is an object that is published without some of its parts.
type TrimmedObject struct {
	// resource as it is written in a watch-list: <plural>.<version>.<group>.
	Resource string `json:"resource"`

	// namespace of the object, if it has one.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// name of the object.
	Name string `json:"name"`

	// without names the parts that are left out, such as status.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Without []string `json:"without"`
}

// MeshSyncList is a list of MeshSyncs.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
type MeshSyncList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []MeshSync `json:"items"`
}
