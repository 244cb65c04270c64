package meshsync

import (
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/meshsync/lead"
	"meshery.io/operator/pkg/meshsync/status"
)

// leader takes turns with the other agents of the MeshSync. An agent without one is alone.
func (o *Options) leader(c *cluster, metrics prometheus.Registerer) (*lead.Leader, error) {
	if o.Name == "" {
		return lead.Always(metrics), nil
	}
	identity := o.Identity
	if identity == "" {
		hostname, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("%s is not set, and there is no name of this machine to tell this agent from others by: %w", meshery.EnvIdentity, err)
		}
		identity = hostname
	}
	return lead.New(lead.Options{
		Client: c.leases, Namespace: o.Namespace, Name: o.Name, Identity: identity, Metrics: metrics,
		Owner: status.Owner(c.meshery.MesheryV1alpha1(), o.Namespace, o.Name),
	})
}

// ours are the objects that agents of the MeshSync write about themselves.
func (o *Options) ours() map[schema.GroupResource][]string {
	if o.Name == "" {
		return nil
	}
	return map[schema.GroupResource][]string{
		{Group: "coordination.k8s.io", Resource: "leases"}: {o.Namespace + "/" + o.Name},
		{Resource: "configmaps"}:                           {o.Namespace + "/" + meshery.CanaryConfigMap(o.Name)},
	}
}
