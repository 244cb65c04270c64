package bus

import (
	"context"
	"errors"
)

// Message is bytes for a subject and, where there is a state stream, what that keeps of them.
type Message struct {
	Subject string
	Body    []byte
	Record  *Record // nil: nothing is kept
	Told    bool    // the subject has had it before: only the record is missing
}

// Record is what a state stream keeps about one object: the last one of its subject.
type Record struct {
	Subject string // below the stream's prefix
	Header  map[string][]string
	Body    []byte // nil is the message's
}

// Receipt is the broker's answer to messages that were sent, which comes later.
type Receipt interface {
	// Wait returns nil when the broker has all messages; otherwise as many errors as there are messages, nil for those that it has.
	Wait(ctx context.Context) []error
}

var (
	// ErrNotConfirmed says that the broker may or may not have a message: it is to be sent again.
	ErrNotConfirmed = errors.New("not confirmed by the broker")
	// ErrRefused says that the subject has had a message, and that the state stream does not take the record of it.
	ErrRefused = errors.New("refused by the state stream")
)
