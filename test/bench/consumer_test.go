package bench

import (
	"bytes"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/test/bench/replay"
)

// consumer takes what agents publish. It reads no more of a message than which object it is about, and when it was written.
type consumer struct {
	conn *nats.Conn

	mu       sync.Mutex
	awaiting *awaited
}

// awaited is objects of which there will be messages.
type awaited struct {
	seen      []bool // by their number
	missing   int
	last      time.Time       // when the last of them was new
	latencies []time.Duration // from when an event was written
	done      chan struct{}
}

func listen(t *testing.T, broker string) *consumer {
	t.Helper()
	conn, err := nats.Connect(broker, nats.Name("bench"), nats.MaxReconnects(-1), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		t.Errorf("consumer: %v", err)
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	c := &consumer{conn: conn}
	subscription, err := conn.Subscribe(wire.SubjectCore, func(message *nats.Msg) { c.take(message.Data, time.Now()) })
	if err != nil {
		t.Fatal(err)
	}
	if err := subscription.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return c
}

// await begins to wait for a message about each of the objects from 0 on.
func (c *consumer) await(objects int) *awaited {
	a := &awaited{seen: make([]bool, objects), missing: objects, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaiting = a
	return a
}

func (c *consumer) take(message []byte, now time.Time) {
	n, ok := numberBehind(message, `"name":"`+replay.NamePrefix, 7)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.awaiting
	if a == nil || n >= int64(len(a.seen)) || a.seen[n] {
		return
	}
	a.seen[n], a.last = true, now
	if sent, _ := numberBehind(message, replay.SentPrefix, 19); sent > 0 {
		a.latencies = append(a.latencies, now.Sub(time.Unix(0, sent)))
	}
	if a.missing--; a.missing == 0 {
		close(a.done)
	}
}

// numberBehind reads a number of so many digits behind the first place of a text.
func numberBehind(message []byte, text string, digits int) (int64, bool) {
	at := bytes.Index(message, []byte(text))
	if at < 0 || at+len(text)+digits > len(message) {
		return 0, false
	}
	number, err := strconv.ParseInt(string(message[at+len(text):][:digits]), 10, 64)
	return number, err == nil
}

// wait returns when there was a message about each of the objects.
func (c *consumer) wait(t *testing.T, a *awaited, patience time.Duration) {
	t.Helper()
	select {
	case <-a.done:
	case <-time.After(patience):
		c.mu.Lock()
		defer c.mu.Unlock()
		t.Fatalf("no message about %d of %d objects in %s", a.missing, len(a.seen), patience)
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// percentile of the latencies, once all messages are there, in milliseconds.
func (a *awaited) percentile(percent int) float64 {
	slices.Sort(a.latencies)
	if len(a.latencies) == 0 {
		return 0
	}
	return float64(a.latencies[(len(a.latencies)-1)*percent/100].Microseconds()) / 1000
}

// forget deletes all streams of the broker.
func (c *consumer) forget(t *testing.T) {
	t.Helper()
	broker, err := jetstream.New(c.conn)
	if err != nil {
		t.Fatal(err)
	}
	streams := broker.StreamNames(t.Context())
	for name := range streams.Name() {
		if err := broker.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
}

// stored is how many messages there are in all streams of the broker.
func (c *consumer) stored(t *testing.T) uint64 {
	t.Helper()
	broker, err := jetstream.New(c.conn)
	if err != nil {
		t.Fatal(err)
	}
	streams, stored := broker.ListStreams(t.Context()), uint64(0)
	for stream := range streams.Info() {
		stored += stream.State.Msgs
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
	return stored
}
