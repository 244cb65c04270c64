package consumer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Subjects that the consumer uses; StoreSubject is where it lets the agent reply to.
const (
	coreSubject    = "meshery.meshsync.core"
	recordSubjects = "meshery.meshsync.publish.>"
	requestSubject = "meshery.meshsync.request"
	StoreSubject   = "meshery-server.meshsync.store"
)

// mostWaiting is how many messages may wait to be looked at. Beyond that the library drops some, which a test would notice.
const mostWaiting = 1 << 17

// Patience is how long WaitFor waits.
const Patience = 60 * time.Second

// Consumer listens to an agent.
type Consumer struct {
	conn *nats.Conn
	mark string // subject of messages to itself

	mu       sync.Mutex
	marks    int           // that came back
	arrived  chan struct{} // closed and replaced at every message
	messages []Message
	state    map[string]Object
	store    []Object
	problems []error
}

// Connect listens to a broker, given by a URL with the token in it, until the end of the test. Whatever breaks the contract fails
// the test. It comes back quicker than the agent does when the broker was away.
func Connect(t testing.TB, url string) *Consumer {
	t.Helper()
	c := &Consumer{arrived: make(chan struct{}), state: map[string]Object{}}
	conn, err := nats.Connect(url, nats.Name("meshery-server"), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	c.conn, c.mark = conn, nats.NewInbox()
	all := make(chan *nats.Msg, mostWaiting) // one for all subjects: what comes in order is looked at in order
	var taking sync.WaitGroup
	taking.Go(func() {
		for message := range all {
			c.take(message)
		}
	})
	t.Cleanup(func() {
		conn.Close()
		close(all)
		taking.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, problem := range c.problems {
			t.Error(problem)
		}
	})
	for _, subject := range []string{coreSubject, recordSubjects, StoreSubject, c.mark} {
		if _, err := conn.ChanSubscribe(subject, all); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Consumer) take(received *nats.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	switch received.Subject {
	case coreSubject:
		err = c.receive(received)
	case StoreSubject:
		err = c.receiveStore(received)
	case c.mark:
		c.marks++
	default:
		c.receiveRecord(received)
	}
	if err != nil {
		c.problems = append(c.problems, fmt.Errorf("breaks the contract: %w\n%s", err, received.Data))
	}
	close(c.arrived)
	c.arrived = make(chan struct{})
}

func (c *Consumer) receive(received *nats.Msg) error {
	message, err := Decode(received.Data)
	err = errors.Join(err, noHeader(received.Header))
	c.messages = append(c.messages, message)
	if message.EventType == "DELETED" {
		delete(c.state, message.Object.Key())
	} else {
		c.state[message.Object.Key()] = message.Object
	}
	return err
}

// receiveRecord takes from a record why the object that the message before it is about is DELETED.
func (c *Consumer) receiveRecord(received *nats.Msg) {
	reason, uid := received.Header.Get("Meshery-Reason"), received.Header.Get("Meshery-Uid")
	for i := len(c.messages) - 1; i >= 0 && reason != ""; i-- {
		if message := &c.messages[i]; message.EventType == "DELETED" && message.Object.Metadata.UID == uid {
			message.Reason = reason
			return
		}
	}
}

// CatchUp returns when everything that the broker has had for the consumer was looked at.
func (c *Consumer) CatchUp(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	want := c.marks + 1
	c.mu.Unlock()
	if err := c.conn.Publish(c.mark, nil); err != nil {
		t.Fatal(err)
	}
	c.WaitFor(t, "what is on its way", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.marks >= want
	})
}

func (c *Consumer) receiveStore(received *nats.Msg) error {
	objects, err := DecodeStore(received.Data)
	c.store = append(c.store, objects...)
	return errors.Join(err, noHeader(received.Header))
}

// noHeader refuses headers: anybody's own stream on the subjects must take what is published there.
func noHeader(header nats.Header) error {
	if len(header) > 0 {
		return fmt.Errorf("headers are %v", header)
	}
	return nil
}

// Messages returns all messages on the core subject so far, in the order of their arrival.
func (c *Consumer) Messages() []Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.messages)
}

// About returns the messages about one object, in the order of their arrival.
func (c *Consumer) About(kind, namespace, name string) []Message {
	return slices.DeleteFunc(c.Messages(), func(message Message) bool {
		metadata := message.Object.Metadata
		return message.Object.Kind != kind || metadata.Namespace != namespace || metadata.Name != name
	})
}

// State returns the last state of every object that was not deleted.
func (c *Consumer) State() []Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	objects := make([]Object, 0, len(c.state))
	for _, object := range c.state {
		objects = append(objects, object)
	}
	return objects
}

// Store returns all objects that came as replies to informer-store so far.
func (c *Consumer) Store() []Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.store)
}

// WaitFor returns when something holds, looking again at every message, and fails the test when it does not within Patience.
func (c *Consumer) WaitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	patience := time.NewTimer(Patience)
	defer patience.Stop()
	for {
		c.mu.Lock()
		arrived := c.arrived
		c.mu.Unlock()
		if holds() {
			return
		}
		select {
		case <-arrived:
		case <-patience.C:
			t.Fatalf("%s: not within %s", what, Patience)
		}
	}
}

// Request asks the agent for something. A payload of nil is null.
func (c *Consumer) Request(t testing.TB, entity string, payload any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"ObjectType": "", "EventType": "", "Object": nil,
		"Request": map[string]any{"Entity": entity, "Payload": payload},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.conn.Publish(requestSubject, body); err != nil {
		t.Fatal(err)
	}
}

// WaitConnected returns when the consumer listens again after the broker was away.
func (c *Consumer) WaitConnected(t testing.TB) {
	t.Helper()
	changed := c.conn.StatusChanged(nats.CONNECTED)
	defer c.conn.RemoveStatusListener(changed)
	if !c.conn.IsConnected() {
		select {
		case <-changed:
		case <-time.After(Patience):
			t.Fatalf("no broker within %s", Patience)
		}
	}
	if err := c.conn.Flush(); err != nil { // the subscriptions are there, too
		t.Fatal(err)
	}
}
