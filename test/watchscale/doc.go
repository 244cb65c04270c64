// Package watchscale measures what it costs an agent to watch many kinds of which there are no objects.
//
// In goes a real API server with custom resource definitions, and the agent as the program that users run, in blacklist mode. Out
// come its requests, as the API server's audit log has them, the time until everything is seen, and memory and goroutines per kind.
package watchscale
