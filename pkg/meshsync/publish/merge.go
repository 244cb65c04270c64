package publish

import (
	"slices"

	"meshery.io/operator/pkg/meshsync/wire"
)

// merge adds a change to those of the same key that wait. The result is what must be sent, in order: one change, or the DELETED of
// an object followed by one change of its successor, which has the same name and another uid.
//
// An object that was added and deleted while it waited is still reported as DELETED: the ADDED may have been sent before and not
// been confirmed.
func merge(waiting []wire.Change, next wire.Change) []wire.Change {
	if len(waiting) == 0 {
		return []wire.Change{next}
	}
	older, last := slices.Clip(waiting[:len(waiting)-1]), waiting[len(waiting)-1]
	switch {
	case last.UID == next.UID:
		next.Event, next.Seen = mergeEvents(last.Event, next.Event), last.Seen // it waits since then
		return append(older, next)
	case last.Event == wire.Deleted && len(older) == 0:
		return []wire.Change{last, next}
	default: // last is gone without anybody having heard of it, or without anybody wanting to hear that it is gone
		return append(older, next)
	}
}

// mergeEvents is the event that tells the whole story of one object.
func mergeEvents(last, next wire.Event) wire.Event {
	switch {
	case next == wire.Deleted:
		return wire.Deleted
	case last == wire.Modified && next == wire.Modified:
		return wire.Modified
	default: // it is new to the consumer, or back
		return wire.Added
	}
}
