package request

import "github.com/prometheus/client_golang/prometheus"

// What became of a request.
const (
	resultAnswered  = "answered"
	resultFailed    = "failed"
	resultMalformed = "malformed"
	resultUnknown   = "unknown"
	resultDropped   = "dropped"
)

type metrics struct{ requests *prometheus.CounterVec }

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "meshery", Subsystem: "meshsync", Name: "requests_total",
		Help: "Requests received over the broker, by what became of them. The entity is empty where it is not one that is known.",
	}, []string{"entity", "result"})}
	registerer.MustRegister(m.requests)
	return m
}

func (m *metrics) count(entity, result string) { m.requests.WithLabelValues(entity, result).Inc() }
