package meshsync_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"meshery.io/operator/test/consumer"
)

const coreSubject = "meshery.meshsync.core"

// tap hears everything that is said over a broker, in the order of its arrival.
type tap struct {
	mu    sync.Mutex
	heard []*nats.Msg
}

// listen hears everything from now on until the end of the test.
func listen(t *testing.T, url string) *tap {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	heard := &tap{}
	_, err = conn.Subscribe(">", func(message *nats.Msg) {
		heard.mu.Lock()
		defer heard.mu.Unlock()
		heard.heard = append(heard.heard, message)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return heard
}

func (t *tap) messages() []*nats.Msg {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.heard)
}

// state is what somebody knows who takes every message on the core subject and every reply to informer-store, one after the other. The
// strict consumer listens beside: what breaks the contract fails the test there.
func (t *tap) state() []consumer.Object {
	known := map[string]consumer.Object{}
	for _, heard := range t.messages() {
		switch heard.Subject {
		case consumer.StoreSubject:
			objects, _ := consumer.DecodeStore(heard.Data)
			for _, object := range objects {
				known[object.Key()] = object
			}
		case coreSubject:
			message, _ := consumer.Decode(heard.Data)
			known[message.Object.Key()] = message.Object
			if message.EventType == "DELETED" {
				delete(known, message.Object.Key())
			}
		}
	}
	objects := make([]consumer.Object, 0, len(known))
	for _, object := range known {
		objects = append(objects, object)
	}
	return objects
}
