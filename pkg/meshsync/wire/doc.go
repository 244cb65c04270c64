// Package wire is the contract with Meshery Server: subjects, the envelope, and how a Kubernetes object looks in it.
//
// What flows in: an object, and what happened to it. What flows out: the bytes of one message. The object in it is as a rule written by
// package walk, straight from the API server's bytes; what is here of that is the obvious way, from a decoded object.
//
//	subjects.go   where messages go and where requests come from
//	envelope.go   the four members around every message, and requests
//	change.go     what happened to an object, and what stands before and after it in a message
//	state.go      what a state stream keeps of an object besides its message, and under which subject
//	trim.go       what is left out of a message that is too large for the broker
//	encode.go     decoded object -> wire form
//	object.go     the members of an object on the wire
//	service.go    where a Service can be reached
//	redact.go     what of a Secret may leave the cluster
//
// Guarantees: pure, no Kubernetes client and no NATS; the object passed in is never changed; the same object always gives the
// same bytes; values of a Secret leave only when the encoder was told so; an object that cannot be encoded is an error, never
// a message with a part missing; where one is for want of room, the message says so. The bytes are fixed by the golden files in testdata.
package wire
