package meshsync_test

import (
	"net/http"
	"testing"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/pkg/meshsync/bus"
	canaries "meshery.io/operator/pkg/meshsync/canary" // a canary is something else in these tests
	"meshery.io/operator/pkg/meshsync/deliver"
	"meshery.io/operator/pkg/meshsync/lead"
	"meshery.io/operator/pkg/meshsync/publish"
	"meshery.io/operator/pkg/meshsync/request"
	"meshery.io/operator/pkg/meshsync/status"
	"meshery.io/operator/pkg/meshsync/watch"
	"meshery.io/operator/pkg/telemetry"
	"meshery.io/operator/test/metricsdoc"
)

// The rooms of the agent register all their metrics when they are made; none of them has to run for that.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	registry := telemetry.NewRegistry("meshsync")
	address, err := bus.ParseAddress("nats://127.0.0.1:1") // nobody there
	if err != nil {
		t.Fatal(err)
	}
	conn, err := bus.Connect(t.Context(), bus.Options{Address: address, Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	publish.NewQueue(publish.Options{Metrics: registry, WorkqueueMetrics: telemetry.NewWorkqueueMetrics(registry, "meshery_meshsync")})
	watch.New(watch.Options{Metrics: registry})
	status.New(status.Options{Metrics: registry})
	request.New(request.Options{Metrics: registry})
	lead.Always(registry)
	deliver.New(deliver.Options{Metrics: registry})
	canaries.New(canaries.Options{Metrics: registry})
	metricsdoc.Check(t, "../../docs/metrics.md", "meshery_meshsync_", registry)
}

// A running agent serves nothing that is not documented, and profiles only where it is told to.
func TestAnAgentServesMetricsAndProfilesApart(t *testing.T) {
	t.Parallel()
	c, broker, _ := scene(t)
	profiles := freeAddr(t)
	a := startAgent(c, "nats://s3cret%2Ft%40ken@"+broker.Addr, func(o *meshsync.Options) { o.PprofAddr = profiles })
	a.waitReady("")
	_, metrics := a.get("/metrics")
	metricsdoc.CheckServed(t, "../../docs/metrics.md", "meshery_meshsync_", metrics)
	if status, _ := a.get("/debug/pprof/heap"); status != http.StatusNotFound {
		t.Errorf("profiles beside metrics: %d", status)
	}
	response, err := http.Get("http://" + profiles + "/debug/pprof/heap")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("profiles: %d", response.StatusCode)
	}
}
