// Package meshsync is the agent: it keeps a broker informed of everything that happens to the objects of a cluster.
//
//	API server ─► watch ─► deliver ─► publish ─► bus ─► meshery.meshsync.core, state stream
//	                 ▲                            │
//	                 └───────── request ◄─────────┘     meshery.meshsync.request
//
//	watch    what is watched: watch-list and discovery in, changes of objects out
//	wire     what a message looks like, and a record in the state stream
//	deliver  whether, when and how changes go to the broker; what it does not hold is offered again
//	publish  the queue of what the broker has not confirmed: order, retries
//	bus      the connection to the broker, and the state stream
//	lead     which agent of a MeshSync publishes
//	request  what can be asked for
//	status   what the MeshSync's status says
//	canary   how long a change takes to arrive
//	tail     prints the stream for people
//
// watch, publish and request do not know each other; what one needs of another it states as a small interface, and this package
// ties them together. It holds the options, the start and the shutdown order, and the way to write everything to a file instead.
//
// Guarantees:
//   - Convergence: whatever fails, once everything is up again every change has reached the broker. What was not confirmed is sent
//     again; messages can arrive twice.
//   - One agent of a MeshSync publishes at a time; the others are ready to.
//   - Order: messages of one object are never reordered.
//   - Memory: the name and version of every watched object, and the newest message about each that the broker does not know yet.
//   - Readiness is true only while the broker is connected and every kind that can be watched has been seen.
//   - Values of Secrets do not leave the cluster unless that is asked for.
//
// After a restart only what differs from the state stream is sent. Without one everything is sent again as ADDED, and what was deleted
// meanwhile is not known. What a listener has missed around a break of the connection is said once more; who has missed more asks for
// informer-store.
package meshsync
