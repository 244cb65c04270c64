// Package request answers what Meshery Server asks over the broker.
//
// What flows in: messages on the request subject, shared among the agents of a queue group. What flows out: replies on the subject
// that a request names, or everything once more through the publish queue.
//
//	request.go   from message to handler: one table
//	store.go     informer-store: the current state of all watches
//	resync.go    resync-discovery: everything again as ADDED
//
// Guarantees: requests are handled one after another, in their order; one that is malformed or unknown is logged and counted and
// does nothing else, and no error is ever published, because Meshery Server dies of one. What informer-store replies is complete
// but for what the log says is missing: an object that is too large, a kind that cannot be read. It is consistent with what is published
// afterwards: an object that changes during the reply is published once more after it.
package request
