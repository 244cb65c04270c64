// Package bus is the agent's connection to the broker.
//
// What flows in: messages to send, subjects to listen to. What flows out: the broker's word that it has the messages, and the
// messages others sent.
//
//	address.go     where the broker is, apart from the login, so that a token is never printed
//	authority.go   whose certificates are trusted
//	bus.go         connect, send, listen, close
//	metrics.go     what is counted
//
// Guarantees: the connection is kept up for ever, whatever fails; Send returns nil only when the broker has handled every message
// in the order given, over one unbroken connection, and has refused none; nothing is buffered while there is no connection, so that nothing is lost in
// such a buffer; no token or password is ever logged or part of an error. It knows nothing of Kubernetes.
package bus
