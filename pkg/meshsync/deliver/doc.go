// Package deliver decides whether, when and how what is seen goes to the broker.
//
// What flows in: changes of objects; who leads; what becomes of the connection; what the state stream holds. What flows out: changes for
// the publish queue, which is opened and paused; and what is to be offered again, because the broker does not hold it.
//
//	deliver.go   the parts, and what they are asked
//	states.go    the state machine: standing by, connecting, opening, comparing, publishing
//	compare.go   what the state stream holds, against what was offered
//	repeat.go    what is said once more, after a break of the connection
//	listeners.go when somebody begins to listen
//	status.go    what status says of it
//	trimmed.go   what was too large for the broker
//	record.go    what the state stream keeps of an object
//
// Guarantees:
//   - Nothing is sent while another agent leads, nor over a connection before it is known what the broker holds, as far as it can be known.
//   - After every connection, and every few minutes, the state stream holds what was offered, or is sent it: it may have been lost,
//     emptied, or written by another agent.
//   - A stream that cannot be had keeps nobody from being told on the core subject.
//   - Without a stream nothing is known of what consumers have. Everything is sent again at the start, and when another agent has led.
package deliver
