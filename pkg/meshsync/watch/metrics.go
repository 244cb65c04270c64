package watch

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/watchlist"
)

type metrics struct {
	seen    *prometheus.CounterVec
	errors  *prometheus.CounterVec
	missing prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	const namespace, subsystem = "meshery", "meshsync"
	m := &metrics{
		seen: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "changes_seen_total",
			Help: "Changes of objects that the watches have seen.",
		}, []string{"resource", "event"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "watch_errors_total",
			Help: "Lists and watches that failed; each is tried again.",
		}, []string{"resource", "reason"}),
		missing: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "missing_kinds",
			Help: "Kinds on the watch-list that the API server does not serve.",
		}),
	}
	registerer.MustRegister(m.seen, m.errors, m.missing)
	return m
}

// showStates registers the number of watches per state.
func showStates(registerer prometheus.Registerer, s *set) {
	for _, of := range []state{synced, pending, refused} {
		registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "meshery", Subsystem: "meshsync", Name: "watched_kinds",
			Help:        "Watched kinds by state: synced, pending, or refused by the API server.",
			ConstLabels: prometheus.Labels{"state": string(of)},
		}, func() float64 { return float64(s.count()[of]) }))
	}
}

func (m *metrics) forget(resource schema.GroupVersionResource) {
	labels := prometheus.Labels{"resource": watchlist.Format(resource)}
	m.seen.DeletePartialMatch(labels)
	m.errors.DeletePartialMatch(labels)
}
