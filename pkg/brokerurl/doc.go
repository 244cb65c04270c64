// Package brokerurl reads the URL of a broker, for the operator, which says in a status where an agent publishes to, and for the
// agent, which connects: what one refuses, the other does too.
//
// What flows in: a URL such as nats://token@host:4222, or several. What flows out: where the broker is, and how to log in.
//
// Guarantees: pure; nothing of the login is in an error, in Server or in Endpoint.
package brokerurl
