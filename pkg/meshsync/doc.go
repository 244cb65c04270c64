// Package meshsync is the agent: it keeps a broker informed of everything that happens to the objects of a cluster.
//
//	API server ─► watch ─► publish ─► bus ─► meshery.meshsync.core
//	                 ▲                 │
//	                 └──── request ◄───┘      meshery.meshsync.request
//
//	watch    what is watched: watch-list and discovery in, changes of objects out
//	wire     what a message looks like
//	publish  the queue of what the broker has not confirmed: order, retries
//	bus      the connection to the broker
//	request  what can be asked for
//	tail     prints the stream for people
//
// watch, publish and request do not know each other; what one needs of another it states as a small interface, and this package
// ties them together. It holds the options, the start and the shutdown order, and the way to write everything to a file instead.
//
// Guarantees, as long as the process lives:
//   - Convergence: whatever fails, once everything is up again every change has reached the broker. What was not confirmed is sent
//     again; messages can arrive twice.
//   - Order: messages of one object are never reordered.
//   - Memory: the name and version of every watched object, and the newest message about each that the broker does not know yet.
//   - Readiness is true only while the broker is connected and every kind that can be watched has been seen.
//   - Values of Secrets do not leave the cluster unless that is asked for.
//
// After a restart everything is sent again as ADDED. Deletes that happened meanwhile, and messages that a consumer missed while it
// was away, are not known: it asks for informer-store.
package meshsync
