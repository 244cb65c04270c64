// Package watch is what is watched in the cluster, and how.
//
// What flows in: a watch-list that may change at any time, what the API server serves, and its objects. What flows out: changes of
// objects, offered to a Sink in the order in which they were seen, and the current state of everything when it is asked for.
//
//	watcher.go    the loop: list or served kinds have changed -> which watches are wanted -> start and stop
//	list.go       where the watch-list comes from
//	discovery.go  what the API server serves, and when that may have changed
//	targets.go    which kinds to watch: pure
//	set.go        the running watches: keeps the wanted, starts the missing, stops the others
//	watch.go      one kind: a shared informer factory of its own and what its events mean
//	outage.go     when a kind counts as not watched any more
//	metrics.go    what is counted
//
// Guarantees:
//   - A change of the list touches exactly the kinds that changed; another set of events needs no new list.
//   - A kind that is not served, or that the agent may not read, is logged, counted and tried again. It never holds up the others
//     and does not count against readiness for ever.
//   - A kind that was watched and cannot be for half a minute counts against readiness again; a watch that ends and is begun anew
//     does not.
//   - A list that cannot be read changes nothing. Without any list that could be read, nothing is watched.
//   - For a kind that is not wanted any more nothing is offered, no deletes either.
//   - An object that was deleted and made again under its name is offered as DELETED, then ADDED, also when only the difference
//     was seen.
//   - The Sink is called from many goroutines, but for one object from one at a time, and must not wait.
package watch
