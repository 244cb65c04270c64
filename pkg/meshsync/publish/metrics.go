package publish

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"meshery.io/operator/pkg/meshsync/wire"
)

// Reasons why a change is not published.
const (
	tooLarge = "too_large"
)

type metrics struct {
	published  *prometheus.CounterVec
	retried    *prometheus.CounterVec
	refused    prometheus.Counter
	trimmed    prometheus.Counter
	dropped    *prometheus.CounterVec
	fetches    prometheus.Counter
	lastAnswer prometheus.Gauge

	toSent, toAcknowledged prometheus.Observer
}

func newMetrics(registerer prometheus.Registerer, owed *pending, flying *window) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "meshery", Subsystem: "meshsync", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), []string{label})
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), value)
	}
	m := &metrics{
		published:  counters("changes_published_total", "Changes of objects that the broker confirmed.", "event"),
		retried:    counters("publish_retries_total", "Messages that the broker did not confirm and that are sent again.", "class"),
		refused:    counter("records_refused_total", "Records that the state stream did not take and that are sent again."),
		trimmed:    counter("changes_trimmed_total", "Changes of objects that are published without a part, because they are larger than the broker takes."),
		dropped:    counters("changes_dropped_total", "Changes of objects that cannot be published: larger than the broker takes.", "reason"),
		fetches:    counter("fetches_total", "Lists of a kind for messages that there was no room for."),
		lastAnswer: prometheus.NewGauge(prometheus.GaugeOpts(opts("last_acknowledgement_timestamp_seconds", "When the broker last confirmed something, in Unix time; 0 before it has."))),
	}
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "meshery", Subsystem: "meshsync", Name: "delivery_seconds",
		Help:    "How long a change has taken from the API server's bytes to the broker, by stage: sent or acknowledged. Of changes that collapse, the first counts.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18), // 0.5 ms to a minute
	}, []string{"stage"})
	m.toSent, m.toAcknowledged = latency.WithLabelValues("sent"), latency.WithLabelValues("acknowledged")
	for _, event := range []wire.Event{wire.Added, wire.Modified, wire.Deleted} {
		m.published.WithLabelValues(string(event))
	}
	for c := range classes {
		m.retried.WithLabelValues(c.String())
	}
	for _, reason := range []string{tooLarge} {
		m.dropped.WithLabelValues(reason)
	}
	registerer.MustRegister(m.published, m.retried, m.refused, m.trimmed, m.dropped, m.fetches, m.lastAnswer, latency,
		gauge("pending_objects", "Objects with changes that the broker has not confirmed yet.", func() float64 { return float64(owed.len()) }),
		gauge("pending_bytes", "Size of the messages that the broker has not confirmed yet.", func() float64 { return float64(owed.weighs().bytes) }),
		gauge("pending_records", "Objects of which only the record in the state stream is missing.", func() float64 { return float64(owed.weighs().told) }),
		gauge("pending_oldest_seconds", "For how long the oldest change has waited that the broker has not confirmed yet.", func() float64 { return owed.lag(time.Now()).Seconds() }),
		gauge("in_flight_messages", "Messages that were sent and not answered yet.", func() float64 { return float64(flying.inFlight()) }),
	)
	return m
}
