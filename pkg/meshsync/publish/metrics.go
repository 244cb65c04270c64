package publish

import (
	"github.com/prometheus/client_golang/prometheus"

	"meshery.io/operator/pkg/meshsync/wire"
)

// Reasons why a change is not published.
const (
	tooLarge   = "too_large"
	notEncoded = "not_encoded"
)

type metrics struct {
	published *prometheus.CounterVec
	retried   prometheus.Counter
	dropped   *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer, owed func() int) *metrics {
	const namespace, subsystem = "meshery", "meshsync"
	m := &metrics{
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "changes_published_total",
			Help: "Changes of objects that the broker confirmed.",
		}, []string{"event"}),
		retried: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "publish_retries_total",
			Help: "Batches that the broker did not confirm and that are sent again.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "changes_dropped_total",
			Help: "Changes of objects that cannot be published: larger than the broker takes, or not encodable.",
		}, []string{"reason"}),
	}
	for _, event := range []wire.Event{wire.Added, wire.Modified, wire.Deleted} {
		m.published.WithLabelValues(string(event))
	}
	for _, reason := range []string{tooLarge, notEncoded} {
		m.dropped.WithLabelValues(reason)
	}
	registerer.MustRegister(m.published, m.retried, m.dropped, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "pending_objects",
		Help: "Objects with changes that the broker has not confirmed yet.",
	}, func() float64 { return float64(owed()) }))
	return m
}
