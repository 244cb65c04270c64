// Package wire is the contract with Meshery Server: subjects, the envelope, and how a Kubernetes object looks in it.
//
// What flows in: an object as the API server gave it, and what happened to it. What flows out: the bytes of one message.
//
//	subjects.go   where messages go and where requests come from
//	envelope.go   the four members around every message, and requests
//	encode.go     object -> message
//	object.go     the members of an object on the wire
//	service.go    where a Service can be reached
//	redact.go     what of a Secret may leave the cluster
//
// Guarantees: pure, no Kubernetes client and no NATS; the object passed in is never changed; the same object always gives the
// same bytes; values of a Secret leave only when the encoder was told so; an object that cannot be encoded is an error, never
// a message with a part missing. The bytes are fixed by the golden files in testdata.
package wire
