// Package publish is the queue between what was seen and what the broker has.
//
// What flows in: changes of objects, offered in the order in which they were seen. What flows out: messages on the core subject.
//
//	merge.go    what two changes of one object come to: pure
//	pending.go  what is owed to the broker, per object
//	queue.go    keys, batches, retries, draining
//	pace.go     how fast
//	metrics.go  what is counted
//
// Guarantees:
//   - Order: messages of one object are never reordered; one batch is in flight at a time. Across objects no order is promised.
//   - At least once: a change is owed until the broker has confirmed it. What is not confirmed is sent again.
//   - Latest state: changes of one object that wait together collapse into the newest. A delete-and-recreate does not: DELETED is
//     sent, then ADDED.
//   - Memory: an outage of the broker costs one entry per changed object, not per change.
//   - Offer never waits for the broker. Who asks first (MakeWay) waits while more is owed than a few batches, so that a burst costs no
//     more memory than that; not while the broker confirms nothing, for an API server would end a watch that is not read.
//
// A message larger than the broker takes is logged, counted and left out.
package publish
