package publish

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// newVersion makes a change of an object, with a message that says "name uid version" and has at least size bytes.
func newVersion(event wire.Event, name, uid string, version, size int) wire.Change {
	return wire.Change{
		Event: event, Name: name, UID: uid, ResourceVersion: strconv.Itoa(version), Message: newMessage(name, uid, version, size), Seen: time.Now(),
	}
}

func newMessage(name, uid string, version, size int) []byte {
	text := fmt.Sprintf("%s %s %d", name, uid, version)
	message := append(wire.AppendStart(make([]byte, 0, size+200)), '"')
	message = append(message, text...)
	message = append(message, strings.Repeat(" ", max(0, size-len(text)))...)
	return append(message, '"')
}

func added(name, uid string, version int) wire.Change {
	return newVersion(wire.Added, name, uid, version, 0)
}

// told is what a message says.
type told struct {
	event     wire.Event
	name, uid string
	version   int
}

func (m told) String() string { return fmt.Sprintf("%s %s %s %d", m.event, m.name, m.uid, m.version) }

var errBytes = errors.New("the message is not as it was written")

// read reads a message byte by byte: it must be as newVersion and AppendEnd have written it.
func read(body []byte) (told, error) {
	rest, ok := bytes.CutPrefix(body, wire.AppendStart(nil))
	if !ok || len(rest) == 0 {
		return told{}, errBytes
	}
	text, end, ok := bytes.Cut(rest[1:], []byte(`"`))
	fields := strings.Fields(string(text))
	if !ok || len(fields) != 3 {
		return told{}, errBytes
	}
	version, err := strconv.Atoi(fields[2])
	for _, event := range []wire.Event{wire.Added, wire.Modified, wire.Deleted} {
		if string(wire.AppendEnd(nil, event)) == string(end) {
			return told{event, fields[0], fields[1], version}, err
		}
	}
	return told{}, errBytes
}

// testRecord is a record as the queue is given them: what it is about is in its subject.
func testRecord(_ Key, change wire.Change) *bus.Record {
	return &bus.Record{Subject: fmt.Sprintf("%s %s %s %s", change.Event, change.Name, change.UID, change.ResourceVersion)}
}

// testOutlet hands every message to those who listen, unless a test has it fail.
type testOutlet struct {
	records bool
	limit   int                              // of a message; 0 is 1000 bytes
	delay   time.Duration                    // until the answer
	answer  func([]bus.Message) []error      // nil: all are confirmed
	send    func([]bus.Message) (int, error) // how many arrive although sending fails; nil: all do

	mu        sync.Mutex
	delivered []string // what the core subject was told
	recorded  []string // the subjects of the records
	batches   int      // without an answer
	most      int      // messages in flight at a time
	inFlight  int
}

func (o *testOutlet) MaxPayload() int    { return cmp.Or(o.limit, 1000) }
func (o *testOutlet) KeepsRecords() bool { return o.records }

func (o *testOutlet) Send(_ context.Context, messages ...bus.Message) (bus.Receipt, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.send != nil {
		if n, err := o.send(messages); err != nil {
			return nil, errors.Join(err, o.deliver(messages[:n], nil))
		}
	}
	var errs []error
	if o.answer != nil {
		errs = o.answer(messages)
	}
	if err := o.deliver(messages, errs); err != nil {
		return nil, err
	}
	o.batches++
	o.inFlight += len(messages)
	o.most = max(o.most, o.inFlight)
	return testReceipt{o, len(messages), time.Now().Add(o.delay), errs}, nil
}

// deliver tells the core subject what it has not been told, and records what is not refused.
func (o *testOutlet) deliver(messages []bus.Message, errs []error) error {
	for i, message := range messages {
		if len(message.Body) > o.MaxPayload() {
			return errors.New("too large for the broker")
		}
		text, err := read(message.Body)
		if err != nil {
			return fmt.Errorf("%w: %s", err, message.Body)
		}
		if !message.Told {
			o.delivered = append(o.delivered, text.String())
		}
		if message.Record != nil && (errs == nil || !errors.Is(errs[i], bus.ErrRefused)) {
			o.recorded = append(o.recorded, message.Record.Subject)
		}
	}
	return nil
}

func (o *testOutlet) told() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.delivered...)
}

type testReceipt struct {
	outlet *testOutlet
	n      int
	at     time.Time
	errs   []error
}

func (r testReceipt) Wait(ctx context.Context) []error {
	var stopped []error
	select {
	case <-time.After(time.Until(r.at)): // fake time
	case <-ctx.Done():
		stopped = all(r.n, bus.ErrNotConfirmed)
	}
	r.outlet.mu.Lock()
	defer r.outlet.mu.Unlock()
	r.outlet.batches--
	r.outlet.inFlight -= r.n
	if stopped != nil {
		return stopped
	}
	return r.errs
}

func all(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}
