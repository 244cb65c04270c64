package meshery

// The names that Meshery Server and kubectl users look for in the namespace "meshery". Any other name and namespace
// works too: only tools that have these names built in need them.
const (
	Namespace    = "meshery"
	BrokerName   = "meshery-broker"
	MeshSyncName = "meshery-meshsync"
	OperatorName = "meshery-operator"

	// GrantorName is the ServiceAccount, beside the operator's, that holds what agents may be granted.
	GrantorName = "meshery-operator-grantor"
)

// Labels of the objects that the operator owns and of their pods.
const (
	LabelApp       = "app"
	LabelComponent = "component"
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelPartOf    = "app.kubernetes.io/part-of"

	// LabelOwnerNamespace and LabelOwnerName tie a cluster-scoped object to the MeshSync it was made for, because a
	// cluster-scoped object cannot carry an owner reference to a namespaced one.
	LabelOwnerNamespace = "meshery.io/owner-namespace"
	LabelOwnerName      = "meshery.io/owner-name"
	// LabelOperatorNamespace says which operator made it, by its namespace.
	LabelOperatorNamespace = "meshery.io/operator-namespace"
)

// Values of the labels above.
const (
	AppBroker         = "meshery-broker"
	AppMeshSync       = "meshery-meshsync"
	NameNATS          = "nats"
	ComponentMeshSync = "meshsync"
	PartOfMeshery     = "meshery"
)

// Containers.
const (
	ContainerManager  = "manager"
	ContainerNATS     = "nats"
	ContainerMeshSync = "meshsync"
)

// Ports of the broker and of the agent.
const (
	PortClientName  = "client"
	PortClient      = 4222
	PortMonitorName = "monitor"
	PortMonitor     = 8222

	PortAgentName = "client" // the existing agent's name for its probe port; its probes refer to it
	PortAgent     = 11000
)

// The broker's token: Secret BrokerTokenSecret(broker), key BrokerTokenKey.
const (
	brokerTokenSecret = "meshery-nats-auth"
	BrokerTokenKey    = "token"
)

// BrokerTokenSecret is the name of the Secret that holds a Broker's token: meshery-nats-auth for the Broker named
// meshery-broker, <name>-nats-auth for every other.
func BrokerTokenSecret(broker string) string {
	if broker == BrokerName {
		return brokerTokenSecret
	}
	return broker + "-nats-auth"
}

// Further keys of Secrets that the agent reads: of what a custom broker's Secret holds instead of BrokerTokenKey, and of the
// authority that signed a broker's certificate.
const (
	BrokerUserKey     = "username"
	BrokerPasswordKey = "password"
	BrokerCredsKey    = "creds" // a NATS credentials file
	BrokerNKeyKey     = "nkey"  // the seed of a user's NKey
	BrokerCAKey       = "ca.crt"
)

// BrokerCopySecret is the name of the Secret that carries the token and the CA of a Broker in another namespace to an agent.
func BrokerCopySecret(meshSync string) string { return meshSync + "-broker" }

// HeadlessService is the name of the Service that gives each pod of a Broker its own DNS name.
func HeadlessService(broker string) string { return broker + "-headless" }

// BrokerConfig is the name of the ConfigMap that holds a Broker's nats.conf.
func BrokerConfig(broker string) string { return broker + "-config" }

// The watch-list ConfigMap: WatchListConfigMap(meshsync), with a JSON array under the first two keys, and a JSON object under the
// others: spec.discovery of the MeshSync, and a Delivery.
const (
	WhitelistKey = "whitelist"
	BlacklistKey = "blacklist"
	DiscoveryKey = "discovery"
	DeliveryKey  = "delivery"
)

// Annotations of the watch-list ConfigMap.
const (
	// AnnotationGeneration is the generation of the MeshSync that the ConfigMap was written for.
	AnnotationGeneration = "meshery.io/generation"
	// AnnotationWatchListError says why that MeshSync's watch-list cannot be read. The data is the last that could be then.
	AnnotationWatchListError = "meshery.io/watch-list-error"
)

// WatchListConfigMap is the name of the ConfigMap that carries a MeshSync's watch-list to its agent.
func WatchListConfigMap(meshSync string) string { return meshSync + "-watch-list" }

// CanaryConfigMap is the name of the object that a MeshSync's agent writes to measure how long a change takes to arrive.
func CanaryConfigMap(meshSync string) string { return meshSync + "-canary" }

// Environment of the agent, set by the operator.
const (
	// EnvBrokerURL is the broker's URL. The token may stand in its user part: nats://<token>@host:4222.
	EnvBrokerURL = "BROKER_URL"
	// EnvBrokerToken is the broker's token, kept apart from the URL so that no pod spec holds it.
	EnvBrokerToken = "BROKER_TOKEN"
	// EnvBrokerUser and EnvBrokerPassword log in where the broker asks for a user. They win over those in the URL.
	EnvBrokerUser     = "BROKER_USER"
	EnvBrokerPassword = "BROKER_PASSWORD"
	// EnvBrokerCAFile is a file with the certificate of the authority that signed the broker's. The agent reads it at every
	// connection, and connects by TLS or not at all.
	EnvBrokerCAFile = "BROKER_CA_FILE"
	// EnvBrokerCredsFile and EnvBrokerNKeyFile are files with a NATS user's credentials, and with the seed of a user's NKey. The
	// agent reads them at every connection.
	EnvBrokerCredsFile = "BROKER_CREDS_FILE"
	EnvBrokerNKeyFile  = "BROKER_NKEY_FILE"
	// EnvNamespace and EnvName say which MeshSync the agent works for, and so which watch-list ConfigMap it follows.
	EnvNamespace = "MESHSYNC_NAMESPACE"
	EnvName      = "MESHSYNC_NAME"
	// EnvIdentity is the name of the agent's pod, and so its name as a holder of the MeshSync's lease.
	EnvIdentity = "POD_NAME"
	// EnvVerbosity is klog's verbosity.
	EnvVerbosity = "MESHSYNC_VERBOSITY"
)

// Environment of the agent, set by Meshery Server on the agent's Deployment with its own field manager. The operator
// never owns these.
const (
	// EnvRedactSecrets "false" publishes Secret values in clear; "true", and none, redacts them. Anything else is an error.
	EnvRedactSecrets = "MESHSYNC_REDACT_SECRETS"
	// EnvContentDedup "true" publishes no change that leaves a message as it was, but for its resource version.
	EnvContentDedup = "MESHSYNC_BROKER_CONTENT_DEDUP"
	// EnvDebug "true" raises the verbosity to at least 4.
	EnvDebug = "DEBUG"
)
