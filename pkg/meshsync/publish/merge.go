package publish

import (
	"slices"

	"meshery.io/operator/pkg/meshsync/wire"
)

// merge adds a change to those of the same key that wait. What it returns takes their place and is what must be sent, in order: the
// DELETED of objects that are gone, and at last one change of the newest. Changes of one object become one, but for what is in flight.
//
// An object that was added and deleted while it waited is still reported as DELETED: an agent that ran before may have told of it. It is
// not when it is known that nobody did: the name was free before, and may be used again and again while nothing can be sent.
func merge(waiting []owed, next owed) []owed {
	if len(waiting) == 0 {
		return append(waiting, next)
	}
	i := len(waiting) - 1
	last := &waiting[i]
	switch {
	case next.Earlier && saysGone(waiting, next.UID):
		return waiting
	case next.Earlier && last.UID != next.UID:
		first := inFlight(waiting)
		next.CoreOnly = next.CoreOnly || first > 0 // its record would take the place of a later one
		return slices.Insert(waiting, first, next)
	case last.inFlight:
		return append(waiting, next)
	case !last.repeat.IsZero(): // nothing is owed of it
	case last.UID == next.UID:
		next.Event, next.Seen = mergeEvents(last.Event, next.Event), last.Seen // it waits since then
		next.Bulk, next.CoreOnly, next.fresh = last.Bulk && next.Bulk, last.CoreOnly && next.CoreOnly, last.fresh
	case last.told: // the next record takes the place of the one that is missing
	case next.Event == wire.Deleted && saysGone(waiting[:i], next.UID):
		return waiting
	case last.Event == wire.Deleted && (i == 0 || !last.fresh):
		return append(waiting, next)
	default: // it is gone without anybody having heard of it, or without anybody wanting to hear that it is gone
	}
	*last = next
	return waiting
}

// inFlight is how many of the changes are in flight, which are the first.
func inFlight(changes []owed) int {
	if changes[0].inFlight {
		return 1
	}
	return 0
}

// saysGone reports whether some of the changes say that an object is gone.
func saysGone(changes []owed, uid string) bool {
	return slices.ContainsFunc(changes, func(c owed) bool { return c.Event == wire.Deleted && c.UID == uid })
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

// mergeAll merges changes one after the other: one that was in flight is not any more.
func mergeAll(changes []owed) []owed {
	merged := changes[:0]
	for _, change := range changes {
		merged = merge(merged, change)
	}
	clear(changes[len(merged):])
	return merged
}
