// Package watch is what is watched in the cluster, and how.
//
// What flows in: a watch-list that may change at any time, what the API server serves, and its objects. What flows out: changes of
// objects, offered to a Sink in the order in which they were seen; the current state of everything when it is asked for; and the
// truth about every kind on the list.
//
//	watcher.go    the loop: list, served kinds or permissions have changed -> which watches are wanted -> start and stop
//	list.go       where the watch-list comes from
//	discovery.go  what the API server serves, and when that may have changed
//	access.go     what may be listed and watched, asked before it is tried
//	set.go        the running watches: keeps the wanted, starts the missing, stops the others
//	gate.go       whose turn it is to list for the first time: a few at a time, tier by tier
//	watch.go      one kind, in one namespace or all: a shared informer factory of its own
//	client.go     how its requests are made: patient{observed{fresh{direct}}}, each of which hands on what it does not change
//	raw/          the requests themselves, and what the bytes of their answers are cut into
//	intake.go     an object's bytes -> what happened to it -> the sink
//	index.go      what was offered, and so what something seen means: pure
//	encode.go     an object's bytes -> its message
//	relist.go     everything once more, beside the informer
//	everything.go the same of all watches
//	health.go     how requests went: how far a watch is, and when a kind counts as not watched any more
//	absent.go     when a kind counts as not served any more: pure
//	truth.go      what status says of it all: pure
//	metrics.go    what is counted
//
// Which kinds a list means is decided in package watchlist.
//
// Guarantees:
//   - A change of the list touches exactly the kinds that changed; another set of events needs no new list. A kind whose selectors,
//     namespaces or depth change is watched anew, and only the difference is offered.
//   - A kind that is not served, or that the agent may not read, is reported, counted and looked at again. It costs no attempts to
//     list it, never holds up the others and does not count against readiness for ever.
//   - A kind that was watched and cannot be for half a minute counts against readiness again; a watch that ends and is begun anew
//     does not.
//   - A kind that the API server does not name any more, although its definition was not deleted, is given up only after half a minute.
//   - Whatever is waited for, a watch can be stopped at once, and leaves nothing running.
//   - A list that cannot be read changes nothing. Without any list that could be read, nothing is watched.
//   - The objects of a kind that is not wanted, or not served, any more are withdrawn, unless the list says to keep them. Those of a
//     kind that may not be read any more are left as they were: nothing is known of them.
//   - An object that was deleted and made again under its name is offered as DELETED, then ADDED, also when only the difference
//     was seen.
//   - What is offered of an object is never older than what was offered before, unless the API server itself went back, as after it was
//     restored from a backup. Nothing is concluded from a list that broke off, or of which something could not be read.
//   - Of an object only its name and version are kept.
//   - The Sink is called from many goroutines, but for one object from one at a time. Offer must not wait; MakeWay may, for a moment, and
//     is where a reader of lists and watches waits for a broker that is slower.
package watch
