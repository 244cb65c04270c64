package publish

import (
	"github.com/prometheus/client_golang/prometheus"

	"meshery.io/operator/pkg/meshsync/wire"
)

// Reasons why a change is not published.
const (
	tooLarge = "too_large"
)

type metrics struct {
	published *prometheus.CounterVec
	retried   prometheus.Counter
	dropped   *prometheus.CounterVec

	toSent, toAcknowledged prometheus.Observer
}

func newMetrics(registerer prometheus.Registerer, owed *pending) *metrics {
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
			Help: "Changes of objects that cannot be published: larger than the broker takes.",
		}, []string{"reason"}),
	}
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "delivery_seconds",
		Help:    "How long a change has taken from the API server's bytes to the broker, by stage: sent or acknowledged. Of changes that collapse, the first counts.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18), // 0.5 ms to a minute
	}, []string{"stage"})
	m.toSent, m.toAcknowledged = latency.WithLabelValues("sent"), latency.WithLabelValues("acknowledged")
	for _, event := range []wire.Event{wire.Added, wire.Modified, wire.Deleted} {
		m.published.WithLabelValues(string(event))
	}
	for _, reason := range []string{tooLarge} {
		m.dropped.WithLabelValues(reason)
	}
	registerer.MustRegister(m.published, m.retried, m.dropped, latency, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "pending_objects",
		Help: "Objects with changes that the broker has not confirmed yet.",
	}, func() float64 { return float64(owed.len()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "pending_bytes",
		Help: "Size of the messages that the broker has not confirmed yet.",
	}, func() float64 { return float64(owed.size()) }))
	return m
}
