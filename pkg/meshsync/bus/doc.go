// Package bus is the agent's connection to the broker.
//
// What flows in: messages to send, subjects to listen to. What flows out: the broker's word that it has the messages, and the
// messages others sent.
//
//	address.go     where the broker is, apart from the login, so that a token is never printed
//	authority.go   whose certificates are trusted
//	login.go       how to log in with what is in files, and what happens when that changes
//	dial.go        what becomes of a connection that is given up
//	bus.go         connect, listen, close
//	send.go        messages, and one confirmation for many of them
//	stream.go      the state stream: opened, written to, read
//	receipt.go     what is sent, and what the broker answers
//	listeners.go   who else listens, as the broker's servers say
//	metrics.go     what is counted
//
// Guarantees: the connection is kept up for ever, whatever fails; a message counts as delivered only when the broker has handled it, in the
// order given, over one unbroken connection, and has not refused it; nothing is buffered while there is no connection, so that nothing is
// lost in such a buffer, and nothing of a connection that was given up arrives later; no token or password is ever logged or part of an
// error. It knows nothing of Kubernetes.
package bus
