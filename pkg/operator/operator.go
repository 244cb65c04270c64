package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/generated/clientset/versioned"
	"meshery.io/operator/pkg/generated/clientset/versioned/scheme"
	"meshery.io/operator/pkg/telemetry"
)

// The client's own rate limit unless the configuration has one. Watches do not count against it.
const (
	clientQPS   = 50
	clientBurst = 100
)

// Names of the controllers, in the log and in metrics.
const (
	controllerBroker   = "broker"
	controllerMeshSync = "meshsync"
)

// Run keeps Brokers and MeshSyncs as their specs say until ctx ends, and leaves nothing running. It returns an error when
// it cannot work at all, or when it lost its lease: the process must end then, since another operator leads.
//
// Order at the end: the workers finish the sync that they are in, the watches stop, the lease is released, the HTTP servers stop.
func Run(ctx context.Context, config *rest.Config, options Options) error {
	if err := options.Validate(); err != nil {
		return err
	}
	clients, err := newClients(config, options.Namespace)
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Starting", "version", telemetry.Version(), "server", config.Host, "namespaces", options.describeNamespaces(), "leaderElection", options.LeaderElect)
	preflight, err := newPreflight(config, &options)
	if err != nil {
		return err
	}
	registry := telemetry.NewRegistry("operator")
	o := &operator{clients: clients, options: &options, metrics: newMetrics(registry)}

	group, ctx := errgroup.WithContext(ctx)
	servers, stopServers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServers()
	if isOn(options.SecureMetricsAddr) { // first: it can fail before anything runs
		handler, serverTLS, err := secureMetrics(ctx, config, &options, registry)
		if err != nil {
			return err
		}
		group.Go(func() error {
			return named("secure-metrics-addr", options.SecureMetricsAddr, telemetry.ServeTLS(servers, options.SecureMetricsAddr, handler, serverTLS))
		})
	}
	serve := func(flag, addr string, handler http.Handler) {
		if isOn(addr) {
			group.Go(func() error { return named(flag, addr, telemetry.Serve(servers, addr, handler)) })
		}
	}
	serve("metrics-addr", options.MetricsAddr, telemetry.MetricsHandler(registry))
	serve("health-probe-bind-address", options.HealthAddr, telemetry.HealthHandler(o.ready))
	serve("pprof-addr", options.PprofAddr, telemetry.ProfilingHandler())
	group.Go(func() error {
		defer stopServers()
		if err := preflight.wait(ctx, o.setReady); err != nil {
			return ignoreEnd(ctx, err)
		}
		if options.LeaderElect {
			return o.leadInTurn(ctx)
		}
		return o.lead(ctx)
	})
	return group.Wait()
}

// named says which flag an error is about.
func named(flag, value string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--%s=%s: %w", flag, value, err)
}

// newClients asks for JSON from the API server for custom resources and protobuf for the rest. The grantor lives in the operator's
// namespace.
func newClients(config *rest.Config, namespace string) (clients, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = meshery.OperatorName + "/" + telemetry.Version()
	if config.QPS == 0 {
		config.QPS, config.Burst = clientQPS, clientBurst
	}

	builtin := rest.CopyConfig(config)
	builtin.ContentType = "application/vnd.kubernetes.protobuf"
	builtin.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"

	kube, kubeErr := kubernetes.NewForConfig(builtin)
	granting, grantingErr := kubernetes.NewForConfig(asGrantor(builtin, namespace))
	custom, customErr := versioned.NewForConfig(config)
	meta, metaErr := metadata.NewForConfig(metadata.ConfigFor(config))
	if err := errors.Join(kubeErr, grantingErr, customErr, metaErr); err != nil {
		return clients{}, fmt.Errorf("set up API clients: %w", err)
	}
	return clients{kube: kube, meshery: custom, metadata: meta, grantor: granting}, nil
}

// asGrantor is a configuration for clients that impersonate the grantor.
func asGrantor(config *rest.Config, namespace string) *rest.Config {
	config = rest.CopyConfig(config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":" + meshery.GrantorName}
	return config
}

// withRate is a configuration for clients that are not to share the rate limit of the others.
func withRate(config *rest.Config, qps float32, burst int) *rest.Config {
	config = rest.CopyConfig(config)
	config.UserAgent = meshery.OperatorName + "/" + telemetry.Version()
	config.QPS, config.Burst = qps, burst
	return config
}

// operator is one running operator process.
type operator struct {
	clients clients
	options *Options
	metrics *metrics
	// state of readiness: why not, as an error, or nil.
	state atomic.Pointer[notReady]
}

type notReady struct{ reason error }

// ready reports nil while the operator reconciles, and also while it stands by for the one that does: a standby is as it
// should be.
func (o *operator) ready() error {
	if state := o.state.Load(); state != nil {
		return state.reason
	}
	return errors.New("starting")
}

func (o *operator) setReady(reason error) { o.state.Store(&notReady{reason}) }

// lead runs the controllers until ctx ends.
func (o *operator) lead(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	o.setReady(errors.New("caches are not filled yet"))
	o.metrics.leader.Set(1)
	defer o.metrics.leader.Set(0)

	brokers := newQueue(controllerBroker, o.metrics.workqueue)
	meshSyncs := newQueue(controllerMeshSync, o.metrics.workqueue)
	defer brokers.ShutDown()
	defer meshSyncs.ShutDown()
	caches, err := newCaches(o.clients, o.options.servedNamespaces(), o.options.MeshSyncClusterRole, brokers, meshSyncs)
	if err != nil {
		return fmt.Errorf("set up watches: %w", err)
	}
	defer caches.stop()
	caches.countErrors(o.metrics)
	o.metrics.show(caches)
	defer o.metrics.show(nil)
	watch, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	if err := caches.start(watch); err != nil {
		return ignoreEnd(ctx, err)
	}
	o.setReady(nil)
	logger.Info("Reconciling", "namespaces", o.options.describeNamespaces(), "version", telemetry.Version())

	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: o.clients.kube.EventsV1()})
	defer broadcaster.Shutdown()
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("set up Events: %w", err)
	}
	recorder := broadcaster.NewRecorder(scheme.Scheme, meshery.OperatorName)
	broker := &brokerController{o.applier(caches, brokerManager, recorder), o.options, metav1.Now}
	served := &servedKinds{client: discovery.ToServerResourcesInterfaceWithContext(o.clients.kube.Discovery()), now: time.Now}
	meshSync := &meshSyncController{o.applier(caches, meshSyncManager, recorder), o.options, metav1.Now, served}
	var group errgroup.Group
	run := func(kind string, queue queue, sync syncFunc) {
		w := &worker{kind: kind, queue: queue, sync: sync, metrics: o.metrics}
		group.Go(func() error { w.run(ctx, o.options.Workers); return nil })
	}
	run(controllerBroker, brokers, broker.sync)
	run(controllerMeshSync, meshSyncs, meshSync.sync)
	group.Go(func() error { createFirstResources(ctx, o.clients, o.options.Namespace); return nil })
	_ = group.Wait()
	logger.Info("Stopped reconciling", "cause", context.Cause(ctx))
	return nil
}

func (o *operator) applier(caches *caches, manager string, recorder events.EventRecorder) applier {
	return applier{clients: o.clients, caches: caches, manager: manager, metrics: o.metrics, recorder: recorder}
}

// ignoreEnd drops an error that only says that ctx ended.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
