package publish

import (
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/wire"
)

// Key names an object of a kind.
type Key struct {
	Resource        schema.GroupVersionResource
	Namespace, Name string
}

// owed is a change that the broker has not confirmed.
type owed struct {
	wire.Change

	inFlight bool // it was sent, and there is no answer yet
	told     bool // the core subject has had it: only the record is missing
	again    bool // it has to be sent once more after its confirmation
	// fresh is set if nobody can know of the object as long as something else is to be sent before: it came into being while that waited.
	fresh bool
	// round is that of the fetch before which it lacked its message.
	round uint32
	// repeat is set if the broker has it, and when it is to be sent once more.
	repeat time.Time
}

func newOwed(change wire.Change) owed {
	if change.Event == wire.Deleted && change.Message == nil {
		change.Message = change.Gone
	}
	return owed{Change: change, fresh: change.Event == wire.Added && !change.Bulk}
}

// withoutBody leaves no more of a change than is needed to fetch the rest.
func withoutBody(change wire.Change) wire.Change {
	if change.Event != wire.Deleted || change.Gone != nil {
		change.Message = nil
	}
	return change
}

// object is what is owed of the objects of one key, in order. Only the first change may be in flight.
type object struct {
	changes []owed
	room    [1]owed // for them: as a rule there is one
}

// weight is what is counted of all that is owed.
type weight struct {
	bytes int // of messages
	told  int // changes of which only the record is owed
}

func (o *object) weight() weight {
	var sum weight
	for i := range o.changes {
		sum.bytes += len(o.changes[i].Message) + len(o.changes[i].Gone)
		if o.changes[i].told {
			sum.told++
		}
	}
	return sum
}

// ready reports whether there is something to send now.
func (o *object) ready() bool {
	first := &o.changes[0]
	return first.Message != nil && !first.inFlight && !first.told && first.repeat.IsZero()
}

// turn is when to send the first change after an answer.
func (o *object) turn(after answer) turn {
	switch {
	case len(o.changes) == 0, o.changes[0].Message == nil:
		return whenAsked
	case after == unknown, o.changes[0].told:
		return backedOff
	default:
		return atOnce // or, if it is to be sent once more, when take says so
	}
}

// lacksMessage reports whether there is something to fetch.
func (o *object) lacksMessage() bool {
	return len(o.changes) > 0 && o.changes[len(o.changes)-1].Message == nil
}
