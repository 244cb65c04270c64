package wire

import "time"

// Change is what happened to an object, and the message that says so.
type Change struct {
	Event  Event
	Reason Reason // why it is DELETED although it may be there; empty otherwise

	Namespace, Name, UID string // of the object

	// Message lacks its end, which AppendEnd writes: what happened to the object may change while it waits.
	Message []byte
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
