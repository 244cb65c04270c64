package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// confirmTimeout is how long the broker may take to confirm what was sent.
	confirmTimeout = 10 * time.Second
	// A PING costs as much as a message. While there is little to confirm it waits for as long as gatherFor, so that one confirms what
	// is sent meanwhile, too; gatherUpTo messages do not wait. Messages are never held back.
	gatherFor  = 10 * time.Millisecond
	gatherUpTo = 32
)

// KeepsRecords tells that the core subject has no use for records.
func (c *Conn) KeepsRecords() bool { return false }

// Send writes messages to their subjects, in order, and returns at once. What the broker says to them comes with the receipt; after an
// error any number of them may have arrived. Records are left out.
func (c *Conn) Send(_ context.Context, messages ...Message) (Receipt, error) {
	sent, err := c.begin(len(messages))
	if err != nil {
		return nil, err
	}
	for _, message := range messages {
		if err := c.tell(&message); err != nil {
			return nil, err
		}
		sent.bytes += len(message.Body)
	}
	c.barrier.add(sent)
	return sent, nil
}

// Deliver sends messages in their order and waits until the broker has handled them all.
func (c *Conn) Deliver(ctx context.Context, messages ...Message) error {
	receipt, err := c.Send(ctx, messages...)
	if err != nil {
		return err
	}
	c.barrier.hurry()
	for _, err := range receipt.Wait(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}

// tell writes a message to its subject, unless that has had it.
func (c *Conn) tell(message *Message) error {
	if message.Told {
		return nil
	}
	if err := c.nats.Publish(message.Subject, message.Body); err != nil {
		return fmt.Errorf("publish %d bytes on %s: %w", len(message.Body), message.Subject, err)
	}
	return nil
}

// sent is messages that were written, and the connection as it was then. It is their receipt where no stream is.
//
// What confirms them is a PING answered by a PONG, which the server handles in order with the messages before it. It counts only when
// the connection is the one that the messages were written to: what a broken connection had buffered is gone. And it counts only when
// the server has reported no error in between: a message that this client may not publish is an error of the connection. The error
// comes before the PONG and is the connection's last one when that arrives; error handlers may run later.
type sent struct {
	conn       *Conn
	number     uint64 // in the order of the barrier
	messages   int
	bytes      int
	reconnects uint64
	failure    error // the connection's last one
}

func (c *Conn) begin(messages int) (*sent, error) {
	if err := c.Ready(); err != nil {
		return nil, err
	}
	return &sent{conn: c, messages: messages, reconnects: c.nats.Stats().Reconnects, failure: c.nats.LastError()}, nil
}

// Wait implements Receipt: the messages stand or fall together.
func (s *sent) Wait(ctx context.Context) []error {
	err := s.conn.barrier.wait(ctx, s)
	if err == nil {
		err = s.unbroken()
	}
	if err != nil {
		return s.all(fmt.Errorf("%w: %w", ErrNotConfirmed, err))
	}
	s.conn.confirmed(s.messages, s.bytes)
	return nil
}

var errReconnected = errors.New("reconnected in between")

// unbroken returns what has happened to the connection since the messages were written.
func (s *sent) unbroken() error {
	if s.conn.nats.Stats().Reconnects != s.reconnects {
		return errReconnected
	}
	if err := s.conn.nats.LastError(); err != nil && err != s.failure { //nolint:errorlint // the same text again is another value
		return err
	}
	return nil
}

func (s *sent) all(err error) []error {
	errs := make([]error, s.messages)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// confirmed notes what the broker has.
func (c *Conn) confirmed(messages, bytes int) {
	c.setFailure(nil)
	c.metrics.messages.Add(float64(messages))
	c.metrics.bytes.Add(float64(bytes))
}

// barrier confirms all that was sent before it at once.
type barrier struct {
	turn   chan struct{} // holds one element while nobody waits for a PONG
	enough chan struct{} // holds one element when a PING is worth its while

	mu      sync.Mutex
	sent    uint64 // numbers given
	waiting int    // messages since the last PING
	done    uint64 // up to this number there is an answer
	failed  uint64 // up to this number it is err, or was for some: what is sent twice does no harm
	err     error
}

func newBarrier() *barrier {
	b := &barrier{turn: make(chan struct{}, 1), enough: make(chan struct{}, 1)}
	b.turn <- struct{}{}
	return b
}

// add puts what was sent behind what was sent before.
func (b *barrier) add(s *sent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent++
	s.number = b.sent
	b.waiting += s.messages
	if b.waiting >= gatherUpTo {
		b.hurry()
	}
}

// hurry lets nothing wait for more.
func (b *barrier) hurry() {
	select {
	case b.enough <- struct{}{}:
	default:
	}
}

// wait returns when the broker has handled what was sent.
func (b *barrier) wait(ctx context.Context, s *sent) error {
	select {
	case <-b.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { b.turn <- struct{}{} }()
	if done, err := b.answer(s); done {
		return err
	}
	b.gather(ctx)
	covered := b.begin()
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	err := s.conn.nats.FlushWithContext(ctx)
	b.end(covered, err)
	return err
}

func (b *barrier) answer(s *sent) (done bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case s.number > b.done:
		return false, nil
	case s.number <= b.failed:
		return true, b.err
	}
	return true, nil
}

// gather waits for more to be sent.
func (b *barrier) gather(ctx context.Context) {
	patience := time.NewTimer(gatherFor)
	defer patience.Stop()
	select {
	case <-b.enough:
	case <-patience.C:
	case <-ctx.Done():
	}
}

// begin returns the last number that a PING after it confirms.
func (b *barrier) begin() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = 0
	select {
	case <-b.enough:
	default:
	}
	return b.sent
}

func (b *barrier) end(covered uint64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = covered
	if err != nil {
		b.failed, b.err = covered, err
	}
}
