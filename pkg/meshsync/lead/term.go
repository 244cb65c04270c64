package lead

import (
	"context"
	"sync/atomic"
	"time"
)

// Term is a time in which this agent leads.
type Term struct {
	// Continued means that nobody else has led since this agent's term before, so that nothing has been published meanwhile.
	Continued bool

	ctx      context.Context // ends with the term
	end      context.CancelCauseFunc
	renewed  atomic.Pointer[time.Time] // when the last renewal that succeeded was asked for; nil where there is none to ask for
	deadline time.Duration             // how long that counts
}

// Context ends when the term is known to be over. Its cause says why.
func (t *Term) Context() context.Context { return t.ctx }

// Valid tells whether nobody else can lead now. It knows before the context does when this program, or its way to the API server, stood
// still for a while. It is cheap enough to be asked before anything is sent.
func (t *Term) Valid() bool {
	renewed := t.renewed.Load()
	return t.ctx.Err() == nil && (renewed == nil || time.Since(*renewed) < t.deadline)
}
