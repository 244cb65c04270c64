package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
)

// workqueueMetrics hands every named workqueue its own series.
type workqueueMetrics struct {
	depth          *prometheus.GaugeVec
	adds           *prometheus.CounterVec
	latency        *prometheus.HistogramVec
	work           *prometheus.HistogramVec
	unfinished     *prometheus.GaugeVec
	longestRunning *prometheus.GaugeVec
	retries        *prometheus.CounterVec
}

var _ workqueue.MetricsProvider = (*workqueueMetrics)(nil)

// NewWorkqueueMetrics registers the metrics of client-go's workqueues as <prefix>_workqueue_*, labelled with the queue's
// name.
func NewWorkqueueMetrics(registerer prometheus.Registerer, prefix string) workqueue.MetricsProvider {
	const subsystem = "workqueue"
	label := []string{"name"}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: prefix, Subsystem: subsystem, Name: name, Help: help}, label)
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: prefix, Subsystem: subsystem, Name: name, Help: help}, label)
	}
	// From 0.1 ms to 100 s.
	buckets := prometheus.ExponentialBuckets(1e-4, 10, 7)
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: prefix, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
		}, label)
	}
	m := &workqueueMetrics{
		depth:          gauge("depth", "Keys waiting."),
		adds:           counter("adds_total", "Keys added."),
		latency:        histogram("queue_duration_seconds", "How long keys waited before they were taken."),
		work:           histogram("work_duration_seconds", "How long keys were worked on."),
		unfinished:     gauge("unfinished_work_seconds", "Sum of the seconds that keys now being worked on have taken."),
		longestRunning: gauge("longest_running_processor_seconds", "How long the oldest key now being worked on has taken."),
		retries:        counter("retries_total", "Keys added again after a failure."),
	}
	registerer.MustRegister(m.depth, m.adds, m.latency, m.work, m.unfinished, m.longestRunning, m.retries)
	return m
}

func (m *workqueueMetrics) NewDepthMetric(name string) workqueue.GaugeMetric {
	return m.depth.WithLabelValues(name)
}

func (m *workqueueMetrics) NewAddsMetric(name string) workqueue.CounterMetric {
	return m.adds.WithLabelValues(name)
}

func (m *workqueueMetrics) NewLatencyMetric(name string) workqueue.HistogramMetric {
	return m.latency.WithLabelValues(name)
}

func (m *workqueueMetrics) NewWorkDurationMetric(name string) workqueue.HistogramMetric {
	return m.work.WithLabelValues(name)
}

func (m *workqueueMetrics) NewUnfinishedWorkSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return m.unfinished.WithLabelValues(name)
}

func (m *workqueueMetrics) NewLongestRunningProcessorSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return m.longestRunning.WithLabelValues(name)
}

func (m *workqueueMetrics) NewRetriesMetric(name string) workqueue.CounterMetric {
	return m.retries.WithLabelValues(name)
}
