package publish

import "meshery.io/operator/pkg/meshsync/wire"

// class is how urgent a change is, the most urgent first.
type class int

const (
	deletion class = iota
	event          // something has just happened
	listed         // it comes of a list
	classes
)

func (c class) String() string { return [classes]string{"deletion", "event", "listed"}[c] }

func classOf(change *owed) class {
	switch {
	case change.Event == wire.Deleted:
		return deletion
	case change.Bulk:
		return listed
	default:
		return event
	}
}

// lowestTurn is how often what is least urgent goes first: every eighth time, so that it moves on however much else happens.
const lowestTurn = 8

// lanes is the order of the workqueue, which calls it under its own lock: one lane for every class.
type lanes struct {
	classOf func(Key) class
	lanes   [classes]lane
	places  map[Key]place
	pops    int
	pushes  uint64
}

// place is where a key stands.
type place struct {
	class  class
	number uint64
}

func newLanes(classOf func(Key) class) *lanes {
	return &lanes{classOf: classOf, places: map[Key]place{}}
}

// Push puts a key at the end of its lane.
func (l *lanes) Push(key Key) { l.put(key, l.classOf(key)) }

// Touch moves a key up that has become more urgent. It leaves an empty place behind.
func (l *lanes) Touch(key Key) {
	if now := l.classOf(key); now < l.places[key].class {
		l.put(key, now)
	}
}

func (l *lanes) put(key Key, c class) {
	l.pushes++
	l.places[key] = place{c, l.pushes}
	l.lanes[c].push(ticket{key, l.pushes})
}

// Len is the number of keys.
func (l *lanes) Len() int { return len(l.places) }

// Pop takes the key whose turn it is. There must be one.
func (l *lanes) Pop() Key {
	l.pops++
	for i := range l.lanes {
		if l.pops%lowestTurn == 0 {
			i = len(l.lanes) - 1 - i
		}
		for ticket, ok := l.lanes[i].pop(); ok; ticket, ok = l.lanes[i].pop() {
			if l.places[ticket.key].number == ticket.number {
				delete(l.places, ticket.key)
				return ticket.key
			}
		}
	}
	return Key{}
}

// ticket is a place in a lane.
type ticket struct {
	key    Key
	number uint64
}

// lane is first in, first out. Its memory is used again.
type lane struct {
	tickets []ticket
	first   int
}

func (l *lane) push(t ticket) {
	if l.first > len(l.tickets)/2 {
		n := copy(l.tickets, l.tickets[l.first:])
		clear(l.tickets[n:])
		l.tickets, l.first = l.tickets[:n], 0
	}
	l.tickets = append(l.tickets, t)
}

func (l *lane) pop() (ticket, bool) {
	if l.first == len(l.tickets) {
		l.tickets, l.first = l.tickets[:0], 0
		return ticket{}, false
	}
	t := l.tickets[l.first]
	l.tickets[l.first] = ticket{}
	l.first++
	return t, true
}
