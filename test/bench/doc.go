// Package bench measures what the agent costs, and compares it with the reference path: a small agent that takes the same steps as the
// existing MeshSync.
//
//	reference/         the reference path, a program
//	replay/            an API server that sends from memory
//	bench_test.go      the run, step by step
//	agent_test.go      a process, and what it uses
//	cluster_test.go    a real API server, its pods and their changes
//	consumer_test.go   what arrives, and when
//	encode_test.go     no processes: one event, again and again
//	histogram_test.go  the agent's own measurement of latency
//	report_test.go     targets, medians, verdicts
//	plot_test.go       the same as a picture
//	profile_test.go    where the time goes
//
// Both agents run as processes of their own, one after the other, on the same objects of the same server, with a real nats-server and one
// consumer. What they use is read from the kernel, for each process alone.
package bench
