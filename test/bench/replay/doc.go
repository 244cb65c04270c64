// Package replay is an API server that has nothing to do but to send: objects are templates in memory with a few digits of their own, so
// that what a client costs is measured, and not how fast an API server and its etcd are.
//
// It speaks TLS and HTTP/2 and answers what an agent asks: discovery, which cluster it is, its rights, lists in pages, watches with and
// without the objects that are there at the start. What happens after that, the test says.
//
//	shapes.yaml  what is in a cluster
//	shapes.go    templates
//	server.go    everything but objects
//	objects.go   lists and watches
package replay
