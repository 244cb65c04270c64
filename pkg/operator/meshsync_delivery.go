package operator

import (
	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// streamReplicas is how many servers keep a state stream where there are as many: it goes on when one of them is down.
const streamReplicas = 3

// deliveryTo is what an agent has to know of the Broker that it publishes to. publishers is how many agents do.
func deliveryTo(broker *v1alpha1.Broker, publishers int, options *Options) meshery.Delivery {
	delivery := meshery.Delivery{
		Monitor: hostPort(meshery.HeadlessService(broker.Name)+"."+broker.Namespace+".svc."+options.ClusterDomain, meshery.PortMonitor),
	}
	if broker.Spec.EnabledJetStream() {
		delivery.StreamReplicas = 1
		if broker.Spec.Size >= streamReplicas {
			delivery.StreamReplicas = streamReplicas
		}
		// A quarter is for streams of others, and for what JetStream keeps besides messages.
		delivery.StreamMaxBytes = maxFileStore(&broker.Spec.JetStream) / 4 * 3 / int64(max(publishers, 1))
	}
	return delivery
}

// limited has the limits of spec.publishing.
func limited(delivery meshery.Delivery, publishing v1alpha1.MeshSyncPublishing) meshery.Delivery {
	delivery.MessagesPerSecond = float64(publishing.MessagesPerSecond)
	delivery.BytesPerSecond = 0
	if most := publishing.BytesPerSecond; most != nil {
		delivery.BytesPerSecond = most.Value()
	}
	return delivery
}
