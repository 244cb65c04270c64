package operator

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"

	"meshery.io/operator/pkg/telemetry"
)

const metricsPrefix = "meshery_operator"

// Results of a sync and of a write.
const (
	resultSuccess  = "success"
	resultConflict = "conflict"
	resultError    = "error"
)

// metrics is everything that the operator counts. docs/metrics.md explains each; a test compares.
type metrics struct {
	syncs       *prometheus.CounterVec   // by controller and result
	durations   *prometheus.HistogramVec // by controller
	writes      *prometheus.CounterVec   // by kind and result
	watchErrors *prometheus.CounterVec   // by kind and reason
	leader      prometheus.Gauge
	workqueue   workqueue.MetricsProvider
	cached      cacheCollector
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		syncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsPrefix, Name: "reconcile_total",
			Help: "Syncs of a custom resource, by controller and result (success, conflict, error).",
		}, []string{"controller", "result"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: metricsPrefix, Name: "reconcile_duration_seconds",
			Help:    "How long syncs of a custom resource took.",
			Buckets: prometheus.ExponentialBuckets(1e-3, 4, 7), // 1 ms to 4 s
		}, []string{"controller"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsPrefix, Name: "object_writes_total",
			Help: "Objects that the operator wrote to the API server, by kind and result (success, conflict, error).",
		}, []string{"kind", "result"}),
		watchErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsPrefix, Name: "informer_errors_total",
			Help: "Lists and watches that failed or broke off, by kind and the API server's reason; each is tried again.",
		}, []string{"kind", "reason"}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: metricsPrefix, Name: "leader",
			Help: "1 while this process leads and reconciles.",
		}),
		workqueue: telemetry.NewWorkqueueMetrics(registerer, metricsPrefix),
		cached:    newCacheCollector(),
	}
	for _, controller := range []string{controllerBroker, controllerMeshSync} {
		for _, result := range []string{resultSuccess, resultConflict, resultError} {
			m.syncs.WithLabelValues(controller, result) // there from the start: the first failure is an increase too
		}
	}
	registerer.MustRegister(m.syncs, m.durations, m.writes, m.watchErrors, m.leader, &m.cached)
	return m
}

func (m *metrics) synced(controller string, err error, took time.Duration) {
	m.syncs.WithLabelValues(controller, result(err)).Inc()
	m.durations.WithLabelValues(controller).Observe(took.Seconds())
}

func (m *metrics) wrote(kind string, err error) {
	m.writes.WithLabelValues(kind, result(err)).Inc()
}

func (m *metrics) watchFailed(kind string, err error) {
	reason := string(apierrors.ReasonForError(err))
	if reason == "" {
		reason = "Unknown" // mostly the network
	}
	m.watchErrors.WithLabelValues(kind, reason).Inc()
}

// show makes metrics of what the caches hold, until they are replaced, by nil when they end.
func (m *metrics) show(c *caches) { m.cached.caches.Store(c) }

func result(err error) string {
	switch {
	case err == nil:
		return resultSuccess
	case apierrors.IsConflict(err):
		return resultConflict
	default:
		return resultError
	}
}
