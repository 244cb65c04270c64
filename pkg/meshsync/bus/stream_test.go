package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/test/natsserver"
)

var streamOptions = bus.StreamOptions{
	Name: "state", Stored: "state.a.", Published: func(epoch uint64) string { return fmt.Sprintf("publish.%d.a.", epoch) }, MaxBytes: 1 << 20,
}

func openStream(t *testing.T, conn *bus.Conn) *bus.Stream {
	t.Helper()
	stream, err := conn.OpenStream(t.Context(), streamOptions)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// put sends a message about an object, of which the stream is to keep the version.
func put(object, version string) bus.Message {
	return bus.Message{Subject: "x." + object, Body: []byte(version), Record: &bus.Record{Subject: object, Header: map[string][]string{"Version": {version}}}}
}

func send(t *testing.T, outlet interface {
	Send(context.Context, ...bus.Message) (bus.Receipt, error)
}, messages ...bus.Message,
) []error {
	t.Helper()
	receipt, err := outlet.Send(t.Context(), messages...)
	if err != nil {
		t.Fatal(err)
	}
	return receipt.Wait(t.Context())
}

// records returns the versions that a stream holds, by object.
func records(t *testing.T, stream *bus.Stream) map[string]string {
	t.Helper()
	held := map[string]string{}
	err := stream.Records(t.Context(), func(subject string, header map[string][]string) { held[subject] = nats.Header(header).Get("Version") })
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func wantRecords(t *testing.T, stream *bus.Stream, want map[string]string) {
	t.Helper()
	if got := records(t, stream); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the stream holds %v, want %v", got, want)
	}
}

func TestTheLastRecordOfEveryObjectIsKept(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{JetStream: true})
	conn := connect(t, server.URL())
	waitConnected(t, conn)
	bodies := observe(t, server)
	stream := openStream(t, conn)
	wantRecords(t, stream, nil)
	if errs := send(t, stream, put("a", "1"), put("b", "1"), put("a", "2")); errs != nil {
		t.Fatal(errs)
	}
	told := put("b", "2")
	told.Told = true
	if errs := send(t, stream, told); errs != nil {
		t.Fatal(errs)
	}
	for _, want := range []string{"1", "1", "2"} {
		if got := receive(t, bodies); got != want {
			t.Errorf("the subject got %q, want %q", got, want)
		}
	}
	wantRecords(t, stream, map[string]string{"a": "2", "b": "2"})
	if len(bodies) > 0 {
		t.Error("the subject was told what it had been told")
	}
	wantRecords(t, openStream(t, conn), map[string]string{"a": "2", "b": "2"})
}

// TestNothingOfAnEarlierEpochIsStored is about an agent that goes on sending when another has taken over.
func TestNothingOfAnEarlierEpochIsStored(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{JetStream: true})
	old, successor := connect(t, server.URL()), connect(t, server.URL())
	waitConnected(t, old)
	waitConnected(t, successor)
	before := openStream(t, old)
	send(t, before, put("a", "1"))
	after := openStream(t, successor)
	for _, err := range send(t, before, put("a", "stale"), put("b", "stale")) {
		if !errors.Is(err, bus.ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
	select {
	case <-before.Lost():
	case <-time.After(10 * time.Second):
		t.Error("nobody is told that the stream is another's")
	}
	if errs := send(t, after, put("b", "1")); errs != nil {
		t.Fatal(errs)
	}
	wantRecords(t, after, map[string]string{"a": "1", "b": "1"})
}

func TestWhatAStreamRefusesWasTold(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{JetStream: true})
	conn := connect(t, server.URL())
	waitConnected(t, conn)
	bodies := observe(t, server)
	stream := openStream(t, conn)
	large := make([]byte, 600<<10)
	message := func(object string) bus.Message {
		m := put(object, "1")
		m.Record.Body = large
		return m
	}
	errs := send(t, stream, message("a"), message("b"), put("c", "2"))
	if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], bus.ErrRefused) {
		t.Fatalf("got %v", errs)
	}
	for _, want := range []string{"1", "1", "2"} {
		if got := receive(t, bodies); got != want {
			t.Errorf("got %q", got)
		}
	}
}

func TestABrokerWithoutStreams(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{})
	conn := connect(t, server.URL())
	waitConnected(t, conn)
	if _, err := conn.OpenStream(t.Context(), streamOptions); !errors.Is(err, bus.ErrNoStreams) {
		t.Errorf("got %v", err)
	}
}

func TestAStreamThatIsDeletedIsLost(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{JetStream: true})
	conn := connect(t, server.URL())
	waitConnected(t, conn)
	stream := openStream(t, conn)
	send(t, stream, put("a", "1"))
	client, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	js, err := jetstream.New(client)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), streamOptions.Name); err != nil {
		t.Fatal(err)
	}
	if errs := send(t, stream, put("a", "2")); len(errs) != 1 || !errors.Is(errs[0], bus.ErrRefused) {
		t.Errorf("got %v", errs)
	}
	<-stream.Lost()
	wantRecords(t, openStream(t, conn), nil)
}

func TestManyRecordsAreRead(t *testing.T) {
	const objects = 5000
	server := natsserver.Start(t, natsserver.Options{JetStream: true})
	conn := connect(t, server.URL())
	waitConnected(t, conn)
	stream := openStream(t, conn)
	var messages []bus.Message
	for i := range objects {
		messages = append(messages, put(fmt.Sprint("o", i%objects), "1"))
		if len(messages) == 250 {
			if errs := send(t, stream, messages...); errs != nil {
				t.Fatal(errs)
			}
			messages = nil
		}
	}
	began := time.Now()
	if got := len(records(t, stream)); got != objects {
		t.Errorf("%d records", got)
	}
	t.Logf("%d records in %s", objects, time.Since(began))
}

func TestADisconnectedSenderIsToldSo(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{JetStream: true})
	gate := natsserver.NewGate(t, server)
	conn := connect(t, gate.URL())
	connection, err := conn.Connected(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream := openStream(t, conn)
	gate.Swallow()
	receipt, err := stream.Send(t.Context(), put("a", "1"))
	if err != nil {
		t.Fatal(err)
	}
	gate.Close()
	if errs := receipt.Wait(t.Context()); len(errs) != 1 || !errors.Is(errs[0], bus.ErrNotConfirmed) {
		t.Errorf("got %v", errs)
	}
	select {
	case <-connection.Done():
	case <-time.After(10 * time.Second):
		t.Error("the connection does not end")
	}
	gate.Open()
	if _, err := conn.Connected(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAStreamOfThreeServers(t *testing.T) {
	cluster := natsserver.StartCluster(t, 3, natsserver.Options{JetStream: true})
	cluster.WaitReady(t)
	old, successor := connect(t, cluster[0].URL()), connect(t, cluster[1].URL())
	waitConnected(t, old)
	waitConnected(t, successor)
	options := streamOptions
	options.Replicas = 3
	before, err := old.OpenStream(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	var messages []bus.Message
	want := map[string]string{}
	for i := range 500 {
		messages = append(messages, put(fmt.Sprint("o", i%250), strconv.Itoa(i)))
		want[fmt.Sprint("o", i%250)] = strconv.Itoa(i)
	}
	if errs := send(t, before, messages...); errs != nil {
		t.Fatal(errs)
	}
	after, err := successor.OpenStream(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range send(t, before, put("o1", "stale"), put("new", "stale")) {
		if !errors.Is(err, bus.ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
	if errs := send(t, after, put("o1", "newest")); errs != nil {
		t.Fatal(errs)
	}
	want["o1"] = "newest"
	wantRecords(t, after, want)
}
