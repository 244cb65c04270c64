package meshsync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/canary"
	"meshery.io/operator/pkg/meshsync/deliver"
	"meshery.io/operator/pkg/meshsync/lead"
	"meshery.io/operator/pkg/meshsync/publish"
	"meshery.io/operator/pkg/meshsync/request"
	"meshery.io/operator/pkg/meshsync/status"
	"meshery.io/operator/pkg/meshsync/watch"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/telemetry"
)

// drainPatience is how long the broker may take to confirm what is left at shutdown. Together with the few seconds that closing
// the connection and the HTTP server may take it stays well under the 30 s that Kubernetes gives.
const drainPatience = 10 * time.Second

// Run runs the agent until ctx ends or, with Output file, until the file is written. It leaves nothing running.
func Run(ctx context.Context, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	c, err := openCluster(o.Kubeconfig, o.Context)
	if err != nil {
		return err
	}
	defer c.close()
	if o.ClearSecrets {
		klog.FromContext(ctx).Info("The values of Secrets leave the cluster in clear", "because", meshery.EnvRedactSecrets+"=false", "output", o.Output)
	}
	if o.Output == OutputFile {
		return writeFile(ctx, o, c)
	}
	if o.StopAfter > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.StopAfter)
		defer cancel()
	}
	return publishChanges(ctx, o, c)
}

// publishChanges connects the rooms. Shutdown is in the order of the flow: requests and watches, then the queue once it is empty,
// its time is up or there is no broker, then the connection to the broker, and last the HTTP server, so that it can be asked until the end.
func publishChanges(ctx context.Context, o Options, c *cluster) error {
	address, err := o.Broker()
	if err != nil {
		return err
	}
	logger := klog.FromContext(ctx)
	logger.Info("Starting", "version", telemetry.Version(), "broker", address.URL, "meshSync", klog.KRef(o.Namespace, o.Name))
	list, err := o.watchList(c)
	if err != nil {
		return err
	}
	registry := telemetry.NewRegistry("meshsync")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fail := func(err error) { cancel(failure{err}) }

	ready := newReadiness("starting")
	stopServing := serve(ctx, "http-addr", o.HTTPAddr, telemetry.Handler(registry, ready.err), fail)
	defer stopServing()
	if o.PprofAddr != "" && o.PprofAddr != "0" {
		stopProfiling := serve(ctx, "pprof-addr", o.PprofAddr, telemetry.ProfilingHandler(), fail)
		defer stopProfiling()
	}

	conn, err := bus.Connect(ctx, bus.Options{Address: address, Name: wire.ClientName, Metrics: registry, ReconnectWait: o.ReconnectWait})
	if err != nil {
		return err
	}
	defer conn.Close()

	id, err := c.identify(ctx, func(err error) {
		ready.set(conn.Ready, always(fmt.Errorf("the cluster is not identified yet: %w", err)))
	})
	if err != nil {
		return stopped(ctx)
	}
	leader, err := o.leader(c, registry)
	if err != nil {
		return err
	}
	a, meshSync := &agent{leader: leader, list: list}, wire.MeshSyncToken(o.Namespace, o.Name)
	a.delivery = deliver.New(deliver.Options{
		Conn: conn, Leader: leader, Cluster: id, MeshSync: meshSync, Metrics: registry, CompareInterval: o.CompareInterval,
		MessagesPerSecond: o.MessagesPerSecond, RepeatWindow: o.RepeatWindow,
	})
	a.queue = publish.NewQueue(publish.Options{
		Record: a.delivery.Record, Trim: wire.Trim, OnTrimmed: a.delivery.Trimmed, OnConfirmed: a.delivery.Confirmed, MessagesPerSecond: o.MessagesPerSecond,
		Fetch: func(ctx context.Context, resource schema.GroupVersionResource, wanted func(namespace, name string) bool) error {
			return a.watcher.Fetch(ctx, resource, wanted)
		},
		Metrics: registry, WorkqueueMetrics: telemetry.NewWorkqueueMetrics(registry, "meshery_meshsync"),
	})
	a.watcher = watch.New(watch.Options{
		Client: c.raw, Dynamic: c.dynamic, Discovery: c.discovery, List: a.given.source, Sink: a.delivery, Metrics: registry,
		Encoding: watch.Encoding{
			ClusterID: id, ClearSecrets: o.ClearSecrets, SkipUnchanged: o.SkipUnchanged, Essence: status.Essence(o.Namespace, o.Name),
		},
		Ours: o.ours(),
	})
	a.delivery.Between(a.watcher, a.queue)
	a.requests = request.New(request.Options{Bus: conn, Store: a.watcher, Version: telemetry.Version(), Metrics: registry})
	ready.set(a.delivery.Ready, a.watcher.Ready)
	a.status = status.New(status.Options{
		Client: c.meshery.MesheryV1alpha1(), Namespace: o.Namespace, Name: o.Name, Truth: a.truth, Metrics: registry,
	})
	a.canary = canary.New(canary.Options{
		Bus: conn, Subject: wire.CanarySubject(id, meshSync), Client: c.dynamic, Namespace: o.Namespace, MeshSync: o.Name,
		Owner: status.Owner(c.meshery.MesheryV1alpha1(), o.Namespace, o.Name), Leading: leader.Leading, Metrics: registry,
	})
	a.work(ctx, fail)
	return stopped(ctx)
}

// agent is what runs.
type agent struct {
	list     watch.Source
	given    ahead
	leader   *lead.Leader
	delivery *deliver.Delivery
	queue    *publish.Queue
	watcher  *watch.Watcher
	requests *request.Server
	status   *status.Writer
	canary   *canary.Canary
}

// work runs until ctx ends and everything is published. Another agent may lead once there is nothing left to say.
func (a *agent) work(ctx context.Context, fail func(error)) {
	logger := klog.FromContext(ctx)
	var sources, publishing sync.WaitGroup
	publishCtx, stopPublishing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishing()
	publishing.Go(func() { a.leader.Run(publishCtx) })
	publishing.Go(func() { a.queue.Run(publishCtx) })
	publishing.Go(func() { a.delivery.Run(publishCtx) })
	sources.Go(func() { a.list(ctx, a.take) })
	sources.Go(func() { a.watch(ctx) })
	sources.Go(func() { a.whileLeading(ctx, a.status.Run) })
	sources.Go(func() { a.canary.Run(ctx) })
	sources.Go(func() {
		a.whileLeading(ctx, func(ctx context.Context) {
			if err := a.requests.Run(ctx); err != nil {
				fail(err)
			}
		})
	})
	sources.Wait()

	logger.Info("Stopping: nothing is watched any more, publishing what is left", "reason", context.Cause(ctx).Error())
	patience, cancel := context.WithTimeout(publishCtx, drainPatience)
	defer cancel()
	left := a.queue.Drain(patience)
	stopPublishing()
	publishing.Wait()
	logger.Info("Stopped", "unpublishedObjects", left)
}

// truth is what there is to say in the MeshSync's status.
func (a *agent) truth() v1alpha1.MeshSyncStatus {
	truth := a.watcher.Status()
	a.delivery.Describe(&truth)
	return truth
}

// take takes what is given: to watch, and how to publish.
func (a *agent) take(given watch.Given) {
	a.delivery.Configure(given.Delivery)
	a.given.put(given)
}

// watch watches as soon as it is known what to say of what is seen.
func (a *agent) watch(ctx context.Context) {
	select {
	case <-a.delivery.Begun():
		a.watcher.Run(ctx)
	case <-ctx.Done():
	}
}

// whileLeading runs something again and again, while this agent leads.
func (a *agent) whileLeading(ctx context.Context, run func(ctx context.Context)) {
	for ctx.Err() == nil {
		term, err := a.leader.Wait(ctx)
		if err != nil {
			return
		}
		during, end := context.WithCancel(ctx)
		stop := context.AfterFunc(term.Context(), end) //nolint:contextcheck // the term is not a part of ctx
		run(during)
		<-during.Done()
		stop()
		end()
	}
}

// serve answers over HTTP until the returned function is called.
func serve(ctx context.Context, flag, addr string, handler http.Handler, fail func(error)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := telemetry.Serve(ctx, addr, handler); err != nil {
			fail(fmt.Errorf("--%s=%s: %w", flag, addr, err))
		}
	})
	return func() {
		cancel()
		serving.Wait()
	}
}

// failure ends the agent from inside, as a signal does from outside.
type failure struct{ error }

// stopped is the error to return after ctx has ended: none if that came from outside.
func stopped(ctx context.Context) error {
	if cause, ok := errors.AsType[failure](context.Cause(ctx)); ok {
		return cause.error
	}
	return nil
}

// readiness is what /readyz asks; what that depends on changes while the agent starts.
type readiness struct {
	checks atomic.Pointer[[]func() error]
}

func newReadiness(reason string) *readiness {
	r := &readiness{}
	r.set(always(errors.New(reason)))
	return r
}

func always(err error) func() error { return func() error { return err } }

func (r *readiness) set(checks ...func() error) { r.checks.Store(&checks) }

// err returns all the reasons why the agent is not ready.
func (r *readiness) err() error {
	var reasons []error
	for _, check := range *r.checks.Load() {
		reasons = append(reasons, check())
	}
	return errors.Join(reasons...)
}
