package tail

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/test/natsserver"
)

func TestLine(t *testing.T) {
	now := time.Date(2026, 11, 20, 15, 4, 5, 678e6, time.UTC)
	tests := map[string]string{
		`{"EventType":"ADDED","Object":{"kind":"Pod","metadata":{"name":"web","namespace":"demo"}}}`:   "15:04:05.678  ADDED     Pod                       demo/web                                               90\n",
		`{"EventType":"DELETED","Object":{"kind":"Node","metadata":{"name":"node-1","namespace":""}}}`: "15:04:05.678  DELETED   Node                      node-1                                                 92\n",
		`nonsense`: "15:04:05.678  ?         no JSON object                                                                    8\n",
	}
	for body, want := range tests {
		if got := line(now, []byte(body)); got != want {
			t.Errorf("got  %qwant %q", got, want)
		}
	}
}

func TestRunStopsInTime(t *testing.T) {
	address, err := bus.ParseAddress("127.0.0.1:1") // nobody listens
	if err != nil {
		t.Fatal(err)
	}
	for _, resync := range []bool{false, true} {
		done := make(chan error, 1)
		go func() {
			done <- Run(t.Context(), Options{Address: address, Out: io.Discard, Notes: io.Discard, Resync: resync, StopAfter: 50 * time.Millisecond})
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it runs on")
		}
	}
	if err := Run(t.Context(), Options{Address: address, StopAfter: -1}); err == nil {
		t.Error("a negative time is no error")
	}
}

func TestRunComesBackWithTheBroker(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{Token: "t"})
	address, err := bus.ParseAddress(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	reader, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var notes strings.Builder
	defer cancel()
	requester, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer requester.Close()
	requests, err := requester.SubscribeSync("meshery.meshsync.request")
	if err != nil {
		t.Fatal(err)
	}
	if err := requester.Flush(); err != nil {
		t.Fatal(err)
	}
	go func() { done <- Run(ctx, Options{Address: address, Out: out, Notes: &notes, Resync: true}) }()

	client, err := nats.Connect(server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	lines := make(chan string, 100)
	go func() {
		buffer := make([]byte, 1000)
		for {
			n, err := reader.Read(buffer)
			if err != nil {
				return
			}
			lines <- string(buffer[:n])
		}
	}()
	publishUntilSeen := func(name string) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			_ = client.Publish("meshery.meshsync.core", []byte(`{"EventType":"ADDED","Object":{"kind":"Pod","metadata":{"name":"`+name+`"}}}`))
			select {
			case line := <-lines:
				if strings.Contains(line, " "+name+" ") {
					return
				}
			case <-time.After(50 * time.Millisecond): // it may not listen yet
			case <-deadline:
				t.Fatalf("%s was not printed", name)
			}
		}
	}
	publishUntilSeen("before")
	if request, err := requests.NextMsg(20 * time.Second); err != nil || !strings.Contains(string(request.Data), `"Entity":"resync-discovery"`) {
		t.Errorf("request %v, %v; want one for a resync", request, err)
	}
	server.Kill()
	server.Restart(t)
	publishUntilSeen("after")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if notes.Len() > 0 && !strings.Contains(notes.String(), "connected to broker "+address.String()) {
		t.Errorf("notes: %s", notes.String())
	}
}
