package watch

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

const (
	metricsNamespace = "meshery"
	metricsSubsystem = "meshsync"
)

type metrics struct {
	seen        *prometheus.CounterVec
	errors      *prometheus.CounterVec
	requests    *prometheus.CounterVec
	restarts    *prometheus.CounterVec
	firstList   *prometheus.HistogramVec
	missing     prometheus.Gauge
	discoveries prometheus.Counter
	obvious     prometheus.Counter
	unreadable  *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help}
	}
	m := &metrics{
		seen: prometheus.NewCounterVec(counter("changes_seen_total",
			"Changes of objects that the watches have seen."), []string{"resource", "event"}),
		errors: prometheus.NewCounterVec(counter("watch_errors_total",
			"Lists and watches that failed; each is tried again."), []string{"resource", "reason"}),
		requests: prometheus.NewCounterVec(counter("watch_requests_total",
			"Requests to list (verb list) and to watch (verb watch; the first one lists as well where the API server can)."), []string{"resource", "verb"}),
		restarts: prometheus.NewCounterVec(counter("watch_restarts_total",
			"Watches that were begun again, by the reason for which the one before ended: Closed is the API server's routine."), []string{"resource", "reason"}),
		firstList: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "first_list_seconds",
			Help: "How long it took to see a kind as a whole for the first time, from the request on, by tier.", Buckets: prometheus.ExponentialBuckets(0.01, 4, 8),
		}, []string{"tier"}),
		missing: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "missing_kinds",
			Help: "Kinds on the watch-list that the API server does not serve.",
		}),
		discoveries: prometheus.NewCounter(counter("discoveries_total", "How often the API server was asked which kinds it serves.")),
		obvious: prometheus.NewCounter(counter("objects_decoded_total",
			"Objects that were written as unusual JSON and had to be decoded, which costs some twenty times as much.")),
		unreadable: prometheus.NewCounterVec(counter("objects_unreadable_total",
			"Objects that the API server sent and that cannot be read; they are left out."), []string{"resource"}),
	}
	registerer.MustRegister(m.seen, m.errors, m.requests, m.restarts, m.firstList, m.missing, m.discoveries, m.obvious, m.unreadable)
	return m
}

func (m *metrics) forget(resource schema.GroupVersionResource) {
	labels := prometheus.Labels{"resource": watchlist.Format(resource)}
	for _, vec := range []*prometheus.CounterVec{m.seen, m.errors, m.requests, m.restarts, m.unreadable} {
		vec.DeletePartialMatch(labels)
	}
}

// gauges shows the running set as it is when it is asked for.
type gauges struct{ set *set }

var (
	watchedKinds = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "watched_kinds"),
		"Kinds that the watch-list wants and the API server serves, by the state that the MeshSync's status has.", []string{"state"}, nil)
	watchedObjects = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "objects"),
		"Objects of a watched kind.", []string{"resource"}, nil)
)

func (g gauges) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- watchedKinds
	descriptions <- watchedObjects
}

func (g gauges) Collect(values chan<- prometheus.Metric) {
	states := map[v1alpha1.ResourceState]int{
		v1alpha1.ResourceSyncing: 0, v1alpha1.ResourceSynced: 0, v1alpha1.ResourceNotServed: 0, v1alpha1.ResourceForbidden: 0, v1alpha1.ResourceFailed: 0,
	}
	for _, kind := range g.set.kinds() {
		states[kind.State]++
		values <- prometheus.MustNewConstMetric(watchedObjects, prometheus.GaugeValue, float64(kind.Objects), kind.Resource)
	}
	for state, count := range states {
		values <- prometheus.MustNewConstMetric(watchedKinds, prometheus.GaugeValue, float64(count), string(state))
	}
}
