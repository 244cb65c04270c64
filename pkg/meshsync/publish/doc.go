// Package publish is the queue between what was seen and what the broker has.
//
// What flows in: changes of objects, offered in the order in which they were seen. What flows out: messages on the core subject and,
// where there is a state stream, their records.
//
//	queue.go    what others ask of the queue: offer, open and pause, drain
//	owed.go     a change that is owed to the broker
//	merge.go    what two changes of one object come to: pure
//	pending.go  all that is owed, by object, and how much of it is kept in memory
//	lanes.go    whose turn it is
//	pace.go     how fast
//	window.go   how much is in flight, if anything may be
//	send.go     changes -> messages
//	confirm.go  answers -> what is owed all the same
//	repeat.go   what has to be said once more
//	fetch.go    messages that there was no room for
//	recent.go   what was published lately, for who was not connected then
//	metrics.go  what is counted
//
// Guarantees:
//   - Order: messages of one object are never reordered: one at a time is in flight. Across objects no order is promised; deletes go
//     first, then what has just happened, then what comes of lists, and every eighth time the other way round.
//   - At least once: a change is owed until the broker has confirmed it. What is not confirmed is sent again, with back-off by object.
//     What only the state stream refuses was published all the same, and only its record is sent again; it holds up nothing else. As
//     the stream keeps no more than the last record of an object, the next change of the object takes the place of a missing one.
//   - Latest state: changes of one object that wait together collapse into the newest. A delete-and-recreate does not: DELETED is
//     sent, then ADDED. What may have been heard of is never forgotten before it was said to be gone.
//   - Once more: what is sent within a second after a DELETED of the same name is sent again a second later, if it still is the newest.
//   - Memory: an outage of the broker costs one entry per changed object, not per change, and bodies only up to a budget. Past that a
//     change waits without its message, which is fetched when half of the budget is free and it can be sent. A fetch gives up what is
//     not there any more.
//   - Offer never waits for the broker. Who asks first (MakeWay) waits while more is owed than a few batches, so that a burst costs no
//     more memory than that; not while the broker confirms nothing, for an API server would end a watch that is not read.
//   - Nothing is sent while the queue is not open, and nothing is in flight when Pause returns.
//
// A message larger than the broker takes is published without a part of it or, if that is not enough, logged, counted and left out.
package publish
