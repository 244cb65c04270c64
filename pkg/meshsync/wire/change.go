package wire

import "time"

// Change is what happened to an object, and the message that says so.
type Change struct {
	Event  Event
	Reason Reason // why it is DELETED although it may be there; empty otherwise

	Namespace, Name, UID string // of the object
	ResourceVersion      string // of the state that the message is about
	Kind                 string

	// Message lacks its end, which AppendEnd writes: what happened to the object may change while it waits. Without a message the
	// object has to be read again before anything can be said of it.
	Message []byte
	// Gone is a message of a DELETED that says no more than which object it was. It lacks its end, too.
	Gone []byte
	// Form is how much of the object the message has, and Content a hash of what counts in it; 0 if there is none.
	Form    string
	Content uint64

	// Earlier is set on a DELETED of an object that had the name before the one that was offered last.
	Earlier bool
	// CoreOnly is set if it is said once more to those who listen, who may have missed it: the state stream has it.
	CoreOnly bool

	// Bulk is set if it comes of a list: nothing has just happened.
	Bulk bool
	// Seen is when it was read.
	Seen time.Time
}

// messageStart is what comes before the object.
const messageStart = `{"ObjectType":"` + objectTypeData + `","Request":null,"Object":`

// EndRoom is the most that AppendEnd appends.
const EndRoom = len(`,"EventType":"MODIFIED"}`)

// AppendStart appends to dst what comes before the object in a message for SubjectCore.
func AppendStart(dst []byte) []byte { return append(dst, messageStart...) }

// AppendEnd appends to dst what comes after it.
func AppendEnd(dst []byte, event Event) []byte {
	return append(append(append(dst, `,"EventType":"`...), event...), `"}`...)
}
