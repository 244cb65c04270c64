package operator

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"

	"meshery.io/operator/pkg/telemetry"
)

const metricsPrefix = "meshery_operator"

// metrics is everything that the operator counts.
type metrics struct {
	syncs     *prometheus.CounterVec   // by controller and result
	durations *prometheus.HistogramVec // by controller
	writes    *prometheus.CounterVec   // by kind and result
	leader    prometheus.Gauge
	workqueue workqueue.MetricsProvider
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
			Namespace: metricsPrefix, Name: "writes_total",
			Help: "Objects written to the API server, by kind and result (success, error).",
		}, []string{"kind", "result"}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: metricsPrefix, Name: "leader",
			Help: "1 while this process leads and reconciles.",
		}),
		workqueue: telemetry.NewWorkqueueMetrics(registerer, metricsPrefix),
	}
	registerer.MustRegister(m.syncs, m.durations, m.writes, m.leader)
	return m
}

func (m *metrics) synced(controller string, err error, took time.Duration) {
	m.syncs.WithLabelValues(controller, result(err)).Inc()
	m.durations.WithLabelValues(controller).Observe(took.Seconds())
}

func (m *metrics) wrote(kind string, err error) {
	m.writes.WithLabelValues(kind, result(err)).Inc()
}

func result(err error) string {
	switch {
	case err == nil:
		return "success"
	case apierrors.IsConflict(err):
		return "conflict"
	default:
		return "error"
	}
}
