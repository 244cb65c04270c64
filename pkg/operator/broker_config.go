package operator

import (
	"fmt"
	"strconv"
	"strings"

	coreac "k8s.io/client-go/applyconfigurations/core/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

const (
	portRoutes     = 6222
	portRoutesName = "routes"
	routesUser     = "routes"

	natsConfigKey = "nats.conf"
	natsConfigDir = "/etc/nats"
	natsDataDir   = "/data"
	natsTLSDir    = "/etc/nats-tls"
	natsPIDDir    = "/var/run/nats"
	natsPIDFile   = natsPIDDir + "/nats.pid"

	// maxPayload is what a message may weigh: room for the largest object that etcd stores (1.5 MiB), escaped.
	maxPayload = "8MB"
	// maxMemoryStore is small: what MeshSync keeps is in files.
	maxMemoryStore = "32MB"
	// Lame-duck mode: a server that is to go tells its clients, gives them the grace period to go elsewhere, and has closed the
	// rest when the duration (30s is the least that NATS takes) is over.
	lameDuckDuration, lameDuckGracePeriod = "30s", "10s"
)

func brokerConfigMap(broker *v1alpha1.Broker) *coreac.ConfigMapApplyConfiguration {
	return coreac.ConfigMap(meshery.BrokerConfig(broker.Name), broker.Namespace).
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithOwnerReferences(ownerReference(broker, brokerKind)).
		WithData(map[string]string{natsConfigKey: natsConfig(broker)})
}

// natsConfig is nats.conf. Values that begin with $ come from the pod's environment, so that no secret stands here.
func natsConfig(broker *v1alpha1.Broker) string {
	var conf strings.Builder
	fmt.Fprintf(&conf, `server_name: $POD_NAME
port: %d
http_port: %d
max_payload: %s
authorization {
  token: $NATS_TOKEN
}
`, meshery.PortClient, meshery.PortMonitor, maxPayload)
	if broker.Spec.EnabledJetStream() {
		fmt.Fprintf(&conf, `jetstream {
  store_dir: %q
  max_file_store: %d
  max_memory_store: %s
}
`, natsStoreDir(broker), maxFileStore(&broker.Spec.JetStream), maxMemoryStore)
	}
	if broker.Spec.TLS != nil {
		fmt.Fprintf(&conf, `tls {
  cert_file: "%[1]s/tls.crt"
  key_file: "%[1]s/tls.key"
}
`, natsTLSDir)
	}
	if broker.Spec.Size > 1 {
		conf.WriteString(natsClusterConfig(broker))
	}
	return conf.String()
}

// natsStoreDir and natsClusterName have the number of servers in them, because JetStream never forgets a server: among three of
// five it would find no majority once one of them is down, and among two none at all. With other names the servers
// begin anew and fill again (docs/decisions/20261120-resizing-a-broker.md).
func natsStoreDir(broker *v1alpha1.Broker) string {
	return natsDataDir + "/servers-" + strconv.Itoa(int(broker.Spec.Size))
}

func natsClusterName(broker *v1alpha1.Broker) string {
	return broker.Namespace + "." + broker.Name + "." + strconv.Itoa(int(broker.Spec.Size))
}

func natsClusterConfig(broker *v1alpha1.Broker) string {
	return fmt.Sprintf(`pid_file: %q
lame_duck_duration: %s
lame_duck_grace_period: %s
cluster {
  name: %q
  port: %d
  # Clients keep to the addresses that they were given: a pod's own is of no use outside the cluster.
  no_advertise: true
  authorization {
    user: %s
    password: $ROUTES_PASSWORD
  }
  routes: $ROUTES
}
`, natsPIDFile, lameDuckDuration, lameDuckGracePeriod, natsClusterName(broker), portRoutes, routesUser)
}

// natsRoutes is where every server of the cluster finds the others, as a value for nats.conf.
func natsRoutes(broker *v1alpha1.Broker) string {
	routes := make([]string, 0, broker.Spec.Size)
	for ordinal := range broker.Spec.Size {
		routes = append(routes, fmt.Sprintf("nats://%s:$(ROUTES_PASSWORD)@%s-%d.%s:%d",
			routesUser, broker.Name, ordinal, meshery.HeadlessService(broker.Name), portRoutes))
	}
	return "[" + strings.Join(routes, ", ") + "]"
}
