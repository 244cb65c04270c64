// Package telemetry is what the operator and the agent show of themselves: a log, and over HTTP Prometheus metrics, liveness
// and readiness. It knows nothing of either: they pass in a registry and a function that says why they are not ready.
package telemetry
