package v1alpha1

// Conditions of a Broker and of a MeshSync.
const (
	// ConditionReady is true while the resource does what its spec asks.
	ConditionReady = "Ready"
	// ConditionProgressing is true while a change of the spec, or of what the pods depend on, rolls out.
	ConditionProgressing = "Progressing"
	// ConditionDegraded is true while something keeps the resource from being as its spec asks that will not pass by itself, or
	// that should not be there. The message says what to do.
	ConditionDegraded = "Degraded"
	// ConditionWarning is true while something works but should be changed. The message says what.
	ConditionWarning = "Warning"
)

// ConditionExternalEndpoint of a Broker is true while there is an address for clients outside the cluster. Its reason says which
// rule chose it, or why there is none.
const ConditionExternalEndpoint = "ExternalEndpoint"

// ConditionForbidden of a MeshSync is true while its spec asks for more than the ceiling ClusterRole lets agents read.
const ConditionForbidden = "Forbidden"

// Conditions of a MeshSync that its agent writes.
const (
	// ConditionWatchListValid is true while every entry of the watch-list can be used. The message names those that cannot, and
	// what should be written otherwise.
	ConditionWatchListValid = "WatchListValid"
	// ConditionDiscovered is true while the agent has seen every object of the kinds that it can watch. The message names the
	// kinds that it cannot.
	ConditionDiscovered = "Discovered"
	// ConditionPublishing is true while the broker acknowledges what the agent publishes.
	ConditionPublishing = "Publishing"
	// ConditionStateStored is true while the state stream takes what it is sent, so that a consumer that comes back misses nothing.
	// Those who listen at the moment are sent everything, whatever it is.
	ConditionStateStored = "StateStored"
)

// Reasons of the WatchListValid condition.
const (
	// ReasonWatchListUnderstood: every entry is used, and written as it should be.
	ReasonWatchListUnderstood = "Understood"
	// ReasonWatchListNotCanonical: every entry is used; some should be written otherwise. It is true then.
	ReasonWatchListNotCanonical = "NotCanonical"
	// ReasonWatchListEntriesSkipped: some entries cannot be used; all others are.
	ReasonWatchListEntriesSkipped = "EntriesSkipped"
	// ReasonWatchListUnreadable: the list is not JSON. The one before stays in force.
	ReasonWatchListUnreadable = "Unreadable"
)

// Reasons of the Discovered condition.
const (
	// ReasonAllKinds: every object of every wanted kind was seen.
	ReasonAllKinds = "AllKinds"
	// ReasonSomeKindsMissing: some wanted kinds are not served or may not be read; all others were seen. It is true then.
	ReasonSomeKindsMissing = "SomeKindsMissing"
	// ReasonSyncing: some kinds have not been seen as a whole yet.
	ReasonSyncing = "Syncing"
	// ReasonKindsFailing: some kinds cannot be listed or watched at the moment.
	ReasonKindsFailing = "KindsFailing"
)

// Reasons of the Publishing condition.
const (
	// ReasonAcknowledged: the broker has acknowledged what it was sent last.
	ReasonAcknowledged = "Acknowledged"
	// ReasonNotConnected: there is no connection to the broker.
	ReasonNotConnected = "NotConnected"
	// ReasonNotAcknowledged: the broker does not acknowledge what it is sent. It is sent again.
	ReasonNotAcknowledged = "NotAcknowledged"
)

// Reasons of the StateStored condition.
const (
	// ReasonStored: the stream has taken what it was sent last.
	ReasonStored = "Stored"
	// ReasonNoJetStream: the broker keeps no messages, or lets the agent keep none.
	ReasonNoJetStream = "NoJetStream"
	// ReasonStreamRefuses: the stream is there and refuses what it is sent, for example because it is full. It is sent again.
	ReasonStreamRefuses = "StreamRefuses"
	// ReasonStreamUnavailable: the stream cannot be made, or does not answer: too few servers are up, or have room for it.
	ReasonStreamUnavailable = "StreamUnavailable"
)

// Reasons of a Broker's Ready condition.
const (
	// ReasonBrokerDeployed: every wanted NATS server accepts clients.
	ReasonBrokerDeployed = "BrokerDeployed"
	// ReasonBrokerPodsNotReady: some NATS servers do not accept clients yet, or no longer.
	ReasonBrokerPodsNotReady = "BrokerPodsNotReady"
)

// Reasons of a MeshSync's Ready condition. All but the first two and BrokerNotReady are Degraded's too.
const (
	// ReasonMeshSyncDeployed: every wanted agent publishes.
	ReasonMeshSyncDeployed = "MeshSyncDeployed"
	// ReasonMeshSyncPodsNotReady: some agents are not up, not connected or have not seen every kind yet.
	ReasonMeshSyncPodsNotReady = "MeshSyncPodsNotReady"
	// ReasonBrokerNotFound: the Broker that the MeshSync names does not exist.
	ReasonBrokerNotFound = "BrokerNotFound"
	// ReasonBrokerNotReady: the Broker that the MeshSync names has no endpoint, no token or no certificate that can be used, or not
	// yet. It is not Degraded's: every installation begins like that.
	ReasonBrokerNotReady = "BrokerNotReady"
	// ReasonNamespaceNotServed: the Broker that the MeshSync names lives in a namespace that the operator does not serve.
	ReasonNamespaceNotServed = "NamespaceNotServed"
	// ReasonBrokerURLInvalid: spec.broker.custom.url names no NATS servers that an agent can log in to.
	ReasonBrokerURLInvalid = "BrokerURLInvalid"
	// ReasonWatchListInvalid: the watch-list is not what the agent can follow.
	ReasonWatchListInvalid = "WatchListInvalid"
)

// Reasons of either's Ready and Degraded conditions.
const (
	// ReasonConflict: an object of the wanted name belongs to somebody else.
	ReasonConflict = "Conflict"
	// ReasonApplyFailed: the API server refused an object.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonSecretInvalid: a Secret that the spec names, or that the operator found, does not exist or lacks a key.
	ReasonSecretInvalid = "SecretInvalid"
	// ReasonPodsFailing: pods cannot be scheduled, pull their image or stay up.
	ReasonPodsFailing = "PodsFailing"
	// ReasonStorageImmutable: the volumes of existing servers cannot be changed as the spec asks.
	ReasonStorageImmutable = "StorageImmutable"
	// ReasonAsExpected: there is nothing to complain of.
	ReasonAsExpected = "AsExpected"
)

// Reasons of the Progressing condition.
const (
	// ReasonRollingOut: pods are being started or replaced.
	ReasonRollingOut = "RollingOut"
	// ReasonResizing: the number of NATS servers changes. What JetStream holds is lost by that, and published again by MeshSync.
	ReasonResizing = "Resizing"
	// ReasonRolloutComplete: all pods are as wanted.
	ReasonRolloutComplete = "RolloutComplete"
)

// Reasons of the Warning condition.
const (
	// ReasonEvenSize: an even number of NATS servers survives no more failures than one server less.
	ReasonEvenSize = "EvenSize"
	// ReasonPrivateCA: the broker's certificate is signed by an authority that Meshery Server does not know.
	ReasonPrivateCA = "PrivateCA"
	// ReasonCertificateUnfit: the broker's certificate does not name its endpoint, or has expired or is about to.
	ReasonCertificateUnfit = "CertificateUnfit"
	// ReasonEarlierBroker: the NATS servers of the Kubebuilder operator still run beside ours.
	ReasonEarlierBroker = "EarlierBroker"
	// ReasonVersionReplaced: spec.version names a release of the existing agent; the operator's own image runs instead.
	ReasonVersionReplaced = "VersionReplaced"
	// ReasonDeprecatedField: the spec uses a field that has another name now.
	ReasonDeprecatedField = "DeprecatedField"
	// ReasonWatchListKeys: the watch-list's data has keys that nobody reads.
	ReasonWatchListKeys = "WatchListKeys"
	// ReasonNoWarnings: there is nothing to warn of.
	ReasonNoWarnings = "NoWarnings"
)

// Reasons of the ExternalEndpoint condition.
const (
	// ReasonOverride: spec.service.externalEndpointOverride.
	ReasonOverride = "Override"
	// ReasonLoadBalancer: the address that the load balancer was given.
	ReasonLoadBalancer = "LoadBalancer"
	// ReasonNodePort: a node's address and the Service's node port.
	ReasonNodePort = "NodePort"
	// ReasonLoadBalancerPending: nobody has given the Service an address yet.
	ReasonLoadBalancerPending = "LoadBalancerPending"
	// ReasonNodeAddressUnknown: no node is ready, or the operator may not list nodes.
	ReasonNodeAddressUnknown = "NodeAddressUnknown"
	// ReasonInClusterOnly: a Service of type ClusterIP ends inside the cluster.
	ReasonInClusterOnly = "InClusterOnly"
)

// Reasons of the Forbidden condition.
const (
	// ReasonCeiling: the ceiling ClusterRole does not include all that the spec asks for.
	ReasonCeiling = "Ceiling"
	// ReasonNotGranted: nothing could be granted, and the condition is Unknown.
	ReasonNotGranted = "NotGranted"
	// ReasonWithinCeiling: the agent may read all that the spec asks for.
	ReasonWithinCeiling = "WithinCeiling"
)
