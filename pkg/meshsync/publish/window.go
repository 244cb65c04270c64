package publish

import (
	"context"
	"sync"
	"time"

	"meshery.io/operator/pkg/meshsync/bus"
)

const (
	// What may be in flight at a time. More gains nothing and holds more memory.
	maxInFlight      = 256
	maxInFlightBytes = 8 << 20
	// A batch is written at once and confirmed at once. While one is confirmed the next ones are on their way.
	maxBatch      = maxInFlight / 4
	maxBatchBytes = maxInFlightBytes / 4
	// spareBatches is how many batches are kept for use once more.
	spareBatches = 4
)

// Outlet is where messages go: the connection to the broker, or a state stream.
type Outlet interface {
	// Send writes messages in their order and returns at once; the answer comes with the receipt. After an error none counts as sent, and
	// any number of them may have arrived. It does not keep the slice.
	Send(ctx context.Context, messages ...bus.Message) (bus.Receipt, error)
	// MaxPayload is the size in bytes of the largest message.
	MaxPayload() int
	// KeepsRecords reports whether the record of a message is of any use.
	KeepsRecords() bool
}

// batch is messages that are sent together.
type batch struct {
	outlet   Outlet
	messages []bus.Message
	about    []about // the messages
	bytes    int
	sent     time.Time
	receipt  bus.Receipt
	err      error // instead of a receipt

	mostMessages, mostBytes int
}

// about says what a message is about.
type about struct {
	key    Key
	change owed
}

// window is what may be in flight: nothing while it is not open.
type window struct {
	mu       sync.Mutex
	changed  *sync.Cond
	outlet   Outlet // nil while it is not open
	batches  int    // being made or in flight
	messages int    // in flight
	bytes    int
	spare    []*batch
}

func newWindow() *window {
	w := &window{}
	w.changed = sync.NewCond(&w.mu)
	return w
}

func (w *window) open(outlet Outlet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outlet = outlet
	w.changed.Broadcast()
}

// pause returns when nothing is in flight any more.
func (w *window) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outlet = nil
	for w.batches > 0 {
		w.changed.Wait()
	}
}

func (w *window) isOpen() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.outlet != nil
}

// wake lets everybody see that ctx has ended.
func (w *window) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed.Broadcast()
}

// awaitOpen returns false if ctx ends before it is open.
func (w *window) awaitOpen(ctx context.Context) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.outlet == nil && ctx.Err() == nil {
		w.changed.Wait()
	}
	return ctx.Err() == nil
}

// enter waits until something may be sent, and returns a batch for it; nil when ctx ends.
func (w *window) enter(ctx context.Context) *batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	for (w.outlet == nil || w.messages >= maxInFlight || w.bytes >= maxInFlightBytes) && ctx.Err() == nil {
		w.changed.Wait()
	}
	if ctx.Err() != nil {
		return nil
	}
	b := &batch{}
	if n := len(w.spare); n > 0 {
		b, w.spare = w.spare[n-1], w.spare[:n-1]
	}
	w.batches++
	b.outlet = w.outlet
	b.mostMessages, b.mostBytes = min(maxBatch, maxInFlight-w.messages), min(maxBatchBytes, maxInFlightBytes-w.bytes)
	return b
}

// depart counts a batch as in flight.
func (w *window) depart(b *batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages += len(b.messages)
	w.bytes += b.bytes
}

// land ends what enter and depart have begun.
func (w *window) land(b *batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages -= len(b.messages)
	w.bytes -= b.bytes
	w.batches--
	if len(w.spare) < spareBatches {
		clear(b.messages)
		clear(b.about)
		*b = batch{messages: b.messages[:0], about: b.about[:0]}
		w.spare = append(w.spare, b)
	}
	w.changed.Broadcast()
}

func (w *window) inFlight() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.messages
}
