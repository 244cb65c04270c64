package canary

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	seconds  *prometheus.HistogramVec
	failures *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	const namespace, subsystem = "meshery", "meshsync"
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "canary_seconds",
			Help:    "How long a change of the agent's own object took from the request to write it on, by stage: written, seen, acknowledged or echoed.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16), // 1 ms to half a minute
		}, []string{"stage"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "canary_failures_total",
			Help: "Changes of the agent's own object that did not arrive, by the stage that they did not reach.",
		}, []string{"stage"}),
	}
	for _, stage := range []Stage{Written, Seen, Acknowledged, Echoed} {
		m.seconds.WithLabelValues(string(stage))
		m.failures.WithLabelValues(string(stage))
	}
	registerer.MustRegister(m.seconds, m.failures)
	return m
}

func (m *metrics) count(steps []Step, failed *Failure) {
	for _, step := range steps {
		m.seconds.WithLabelValues(string(step.Stage)).Observe(step.After.Seconds())
	}
	if failed != nil {
		m.failures.WithLabelValues(string(failed.Stage)).Inc()
	}
}
