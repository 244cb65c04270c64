package v1alpha1

// ConditionReady is true while the resource does what its spec asks.
const ConditionReady = "Ready"

// Reasons of a Broker's Ready condition.
const (
	// ReasonBrokerDeployed: every wanted NATS server accepts clients.
	ReasonBrokerDeployed = "BrokerDeployed"
	// ReasonBrokerPodsNotReady: some NATS servers do not accept clients yet, or no longer.
	ReasonBrokerPodsNotReady = "BrokerPodsNotReady"
)

// Reasons of a MeshSync's Ready condition.
const (
	// ReasonMeshSyncDeployed: every wanted agent publishes.
	ReasonMeshSyncDeployed = "MeshSyncDeployed"
	// ReasonMeshSyncPodsNotReady: some agents are not up, not connected or have not seen every kind yet.
	ReasonMeshSyncPodsNotReady = "MeshSyncPodsNotReady"
	// ReasonBrokerNotFound: the Broker that the MeshSync names does not exist.
	ReasonBrokerNotFound = "BrokerNotFound"
	// ReasonBrokerNotReady: the Broker that the MeshSync names is not Ready.
	ReasonBrokerNotReady = "BrokerNotReady"
	// ReasonBrokerInOtherNamespace: the Broker that the MeshSync names lives in another namespace, whose token an agent
	// cannot read.
	ReasonBrokerInOtherNamespace = "BrokerInOtherNamespace"
	// ReasonBrokerURLInvalid: spec.broker.custom.url is not a URL.
	ReasonBrokerURLInvalid = "BrokerURLInvalid"
	// ReasonWatchListInvalid: the watch-list is not what the agent can follow.
	ReasonWatchListInvalid = "WatchListInvalid"
)

// Reasons of either's Ready condition.
const (
	// ReasonConflict: an object of the wanted name belongs to somebody else.
	ReasonConflict = "Conflict"
	// ReasonApplyFailed: the API server refused an object.
	ReasonApplyFailed = "ApplyFailed"
)
