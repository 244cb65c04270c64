package meshsync

import (
	"context"
	"fmt"
	"net"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/connrotation"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/generated/clientset/versioned"
	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/telemetry"
)

const (
	// client-go's own 5 lists per second would make the first lists of many kinds wait. Watches are not limited.
	clientQPS   = 50
	clientBurst = 100

	// As client-go dials by itself.
	dialPatience = 30 * time.Second
	keepAlive    = 30 * time.Second
)

// cluster is the clients of one API server. They share connections.
type cluster struct {
	dynamic   dynamic.Interface
	raw       *raw.Client
	discovery *discovery.DiscoveryClient
	meshery   versioned.Interface
	leases    coordinationv1.LeasesGetter
	close     func() // the connections
}

// openCluster finds the cluster as kubectl does. Nothing is asked of it yet.
func openCluster(kubeconfig, kubeContext string) (*cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: kubeContext}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster by --kubeconfig, KUBECONFIG, ~/.kube/config or from inside of it: %w", err)
	}
	config.QPS, config.Burst = clientQPS, clientBurst
	config.DisableCompression = true // it costs an API server more than the network beside it
	config.UserAgent = "meshsync/" + telemetry.Version()
	config.WarningHandler = rest.NoWarnings{} // that a kind on the watch-list is deprecated is not for the agent to say
	return newCluster(config)
}

func newCluster(config *rest.Config) (*cluster, error) {
	if file := config.BearerTokenFile; file != "" {
		// By itself client-go reads the file once a minute only, whatever the API server says to the token.
		config.BearerToken, config.BearerTokenFile = "", ""
		config.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedFileTokenSource(file)))
	}
	dialer := connrotation.NewDialer((&net.Dialer{Timeout: dialPatience, KeepAlive: keepAlive}).DialContext)
	config.Dial = dialer.DialContext
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	c := &cluster{close: dialer.CloseAll}
	if c.dynamic, err = dynamic.NewForConfigAndClient(config, client); err != nil {
		return nil, err
	}
	if c.raw, err = raw.NewForConfigAndClient(config, client); err != nil {
		return nil, err
	}
	if c.discovery, err = discovery.NewDiscoveryClientForConfigAndClient(config, client); err != nil {
		return nil, err
	}
	if c.meshery, err = versioned.NewForConfigAndClient(config, client); err != nil {
		return nil, err
	}
	if c.leases, err = coordinationv1.NewForConfigAndClient(config, client); err != nil {
		return nil, err
	}
	return c, nil
}

// identify returns the uid of the namespace kube-system, which names the cluster. It tries until ctx ends and tells failed why it
// could not yet.
func (c *cluster) identify(ctx context.Context, failed func(error)) (string, error) {
	namespaces := c.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	backoff := wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 7, Cap: 30 * time.Second}
	var id string
	err := backoff.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		namespace, err := namespaces.Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
		if err != nil {
			failed(err)
			klog.FromContext(ctx).Info("The cluster cannot be identified, will retry", "reason", err.Error())
			return false, nil
		}
		id = string(namespace.GetUID())
		return true, nil
	})
	return id, err
}
