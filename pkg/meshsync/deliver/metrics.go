package deliver

import (
	"github.com/prometheus/client_golang/prometheus"

	"meshery.io/operator/pkg/meshsync/watch"
)

type metrics struct {
	stream      prometheus.Gauge
	comparisons prometheus.Counter
	repaired    *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "meshery", Subsystem: "meshsync", Name: name, Help: help}
	}
	m := &metrics{
		stream:      prometheus.NewGauge(prometheus.GaugeOpts(opts("state_stream", "1 while what is published is kept in the state stream, too."))),
		comparisons: prometheus.NewCounter(prometheus.CounterOpts(opts("comparisons_total", "Times that the state stream was compared with what was published."))),
		repaired: prometheus.NewCounterVec(prometheus.CounterOpts(opts("repaired_objects_total",
			"Objects that the state stream did not hold as they were published, by what was wrong: missing, changed or gone.")), []string{"difference"}),
	}
	registerer.MustRegister(m.stream, m.comparisons, m.repaired)
	for _, difference := range []string{"missing", "changed", "gone"} {
		m.repaired.WithLabelValues(difference)
	}
	return m
}

func (m *metrics) setStream(kept bool) {
	m.stream.Set(0)
	if kept {
		m.stream.Set(1)
	}
}

func (m *metrics) compared(found *watch.Difference) {
	m.comparisons.Inc()
	m.repaired.WithLabelValues("missing").Add(float64(found.Missing))
	m.repaired.WithLabelValues("changed").Add(float64(found.Changed))
	m.repaired.WithLabelValues("gone").Add(float64(found.Gone))
}
