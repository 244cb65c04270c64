package delivery

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"meshery.io/operator/test/consumer"
)

const (
	coreSubject    = "meshery.meshsync.core"
	requestSubject = "meshery.meshsync.request"
	// serverWait is the pause between two attempts of Meshery Server to reach the broker.
	serverWait = 2 * time.Second
)

// subscriber listens on the core subject as Meshery Server does: it comes back for ever, and is told nothing of what it missed.
//
// It keeps the last state of every object, by uid. And it watches the order of what is said about each: an older state that follows a
// newer one is forgiven if it was said before, since messages may arrive twice, but what was said last must be the newest. DELETED is
// the last word, whichever version it has: who says it may know an earlier one only. Both counts begin anew with each connection of the
// subscriber, and with each agent, which may begin by telling everything.
type subscriber struct {
	conn    *nats.Conn
	cluster string // whose objects are kept

	mu        sync.Mutex
	known     states
	said      map[string]*sayings // by uid
	reordered []string            // what was said out of order for the first time
	events    map[string]int      // messages by event
	foreign   int                 // messages about other clusters
	missed    bool                // since when it knows everything: it was not connected all the time
	problems  []string
}

// sayings are the versions of an object that were told of.
type sayings struct {
	all          map[uint64]bool
	newest, last uint64
}

// subscribe connects to a broker until the end of the test. Whatever breaks the contract fails it.
func subscribe(t *testing.T, cluster, url string) *subscriber {
	t.Helper()
	s := &subscriber{cluster: cluster, known: states{}, said: map[string]*sayings{}, events: map[string]int{}}
	var err error
	s.conn, err = nats.Connect(url, nats.Name("meshery-server"), nats.MaxReconnects(-1), nats.ReconnectWait(serverWait),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { s.lost() }), nats.ReconnectHandler(func(*nats.Conn) { s.begin() }))
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := s.conn.Subscribe(coreSubject, s.receive)
	if err == nil {
		err = subscription.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = s.conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, problem := range s.problems {
			t.Error(problem)
		}
	})
	return s
}

func (s *subscriber) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missed = true
}

// begin forgets in which order something was said: another may say it.
func (s *subscriber) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.said)
}

// forget lets the subscriber know nothing, as one that was started anew.
func (s *subscriber) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
	clear(s.said)
	s.missed = false
}

func (s *subscriber) receive(received *nats.Msg) {
	message, err := consumer.Decode(received.Data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.complain("breaks the contract: %v\n%.2000s", err, received.Data)
		return
	}
	if message.Object.ClusterID != s.cluster {
		s.foreign++
		return
	}
	s.events[message.EventType]++
	object := message.Object
	if message.EventType == "DELETED" {
		delete(s.known, object.Metadata.UID)
	} else {
		s.known[object.Metadata.UID] = stateOf(object)
	}
	s.hear(message)
}

// hear notes what was said of an object, and whether that was in order.
func (s *subscriber) hear(message consumer.Message) {
	m := message.Object.Metadata
	version, err := strconv.ParseUint(m.ResourceVersion, 10, 64)
	if err != nil {
		s.complain("%s %s/%s: %v", message.Object.Kind, m.Namespace, m.Name, err)
		return
	}
	of := s.said[m.UID]
	if of == nil {
		of = &sayings{all: map[uint64]bool{}}
		s.said[m.UID] = of
	}
	if message.EventType == "DELETED" {
		of.newest = max(of.newest, version)
		of.last = of.newest
		return
	}
	if version < of.newest && !of.all[version] {
		s.reordered = append(s.reordered, fmt.Sprintf("%s %s/%s: %s %d after %d", message.Object.Kind, m.Namespace, m.Name, message.EventType, version, of.newest))
	}
	of.all[version], of.last, of.newest = true, version, max(of.newest, version)
}

func (s *subscriber) complain(format string, args ...any) {
	const enough = 5
	if len(s.problems) < enough {
		s.problems = append(s.problems, fmt.Sprintf(format, args...))
	}
}

func stateOf(object consumer.Object) state {
	s := state{Kind: object.Kind, Namespace: object.Metadata.Namespace, Name: object.Metadata.Name, Version: object.Metadata.ResourceVersion}
	switch {
	case object.Kind == "ConfigMap":
		s.Content = object.Data
	case object.Spec != nil:
		s.Content = object.Spec.Attribute
	}
	return s
}

// states are those that the subscriber knows.
func (s *subscriber) states() states {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.known)
}

// disorder names what was said out of order, for good.
func (s *subscriber) disorder() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := append([]string{}, s.reordered...)
	for uid, of := range s.said {
		if of.last < of.newest {
			all = append(all, fmt.Sprintf("%s: %d is the last, after %d", uid, of.last, of.newest))
		}
	}
	return all
}

// messages so far, by event.
func (s *subscriber) messages() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.events)
}

// hasMissed tells whether the subscriber was disconnected since it began or forgot.
func (s *subscriber) hasMissed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missed
}

// ask lets the agent tell everything, as Meshery Server does when its handler starts.
func (s *subscriber) ask() error {
	body, err := json.Marshal(map[string]any{
		"ObjectType": "", "EventType": "", "Object": nil,
		"Request": map[string]any{"Entity": "resync-discovery", "Payload": nil},
	})
	if err != nil {
		return err
	}
	if err := s.conn.Publish(requestSubject, body); err != nil {
		return err
	}
	return s.conn.FlushTimeout(requestPatience)
}

// aboutOthers is how many messages there were about other clusters.
func (s *subscriber) aboutOthers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.foreign
}
