// Package raw lists and watches one kind, and leaves its objects as they are: the bytes that the API server sent.
//
// What flows in: what an API server sends over HTTP. What flows out: the bytes of every object, to a Handler, while they are there; and
// to an informer what the Handler keeps of them, which is small.
//
//	client.go  requests to list and to watch
//	buffer.go  what was read and not used yet
//	list.go    a list, cut into its items while it is read
//	stream.go  a watch, cut into its events
//	object.go  what an informer keeps
//
// Guarantees:
//   - A list is never in memory as a whole, nor is a page of it.
//   - Bytes that are no event, and objects that a Handler cannot read, never end a watch.
//   - An object is handed over before anything that follows it is looked at, so that a Handler knows of each what came before.
//   - Stop returns when nothing is handed over any more.
package raw
