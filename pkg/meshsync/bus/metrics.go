package bus

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connected   prometheus.Gauge
	disconnects prometheus.Counter
	errors      prometheus.Counter
	messages    prometheus.Counter
	bytes       prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "meshery", Subsystem: "meshsync", Name: name, Help: help}
	}
	m := &metrics{
		connected:   prometheus.NewGauge(prometheus.GaugeOpts(opts("broker_connected", "1 while the agent is connected to the broker."))),
		disconnects: prometheus.NewCounter(prometheus.CounterOpts(opts("broker_disconnects_total", "Connections to the broker that broke."))),
		errors:      prometheus.NewCounter(prometheus.CounterOpts(opts("broker_errors_total", "Errors that the broker reported, such as a missing permission."))),
		messages:    prometheus.NewCounter(prometheus.CounterOpts(opts("broker_messages_total", "Messages that the broker confirmed."))),
		bytes:       prometheus.NewCounter(prometheus.CounterOpts(opts("broker_bytes_total", "Bytes in messages that the broker confirmed."))),
	}
	registerer.MustRegister(m.connected, m.disconnects, m.errors, m.messages, m.bytes)
	return m
}
