package bus_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/test/natsserver"
)

const oddToken = `t/ok@en?#"1`

func connect(t *testing.T, url string) *bus.Conn {
	t.Helper()
	address, err := bus.ParseAddress(url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := bus.Connect(t.Context(), bus.Options{Address: address, Name: "test", Metrics: prometheus.NewRegistry(), ReconnectWait: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func waitConnected(t *testing.T, conn *bus.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := conn.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	const interval, patience = 5 * time.Millisecond, 10 * time.Second
	err := wait.PollUntilContextTimeout(t.Context(), interval, patience, true, func(context.Context) (bool, error) { return holds(), nil })
	if err != nil {
		t.Fatalf("%s: not so after %s", what, patience)
	}
}

// receive returns what comes next, or fails the test.
func receive(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		return ""
	}
}

// observe returns what arrives on every subject below "x".
func observe(t *testing.T, server *natsserver.Server) <-chan string {
	t.Helper()
	client, err := nats.Connect("nats://"+server.Addr, nats.Token(server.Token), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	bodies := make(chan string, 1000)
	if _, err := client.Subscribe("x.>", func(message *nats.Msg) { bodies <- string(message.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := client.Flush(); err != nil {
		t.Fatal(err)
	}
	return bodies
}

func TestSendIsConfirmedAndInOrder(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{Token: oddToken, MaxPayload: 2048})
	conn := connect(t, server.URL())
	waitConnected(t, conn)
	bodies := observe(t, server)

	messages := []bus.Message{{Subject: "x.1", Body: []byte("a")}, {Subject: "x.2", Body: []byte("b")}, {Subject: "x.1", Body: []byte("c")}}
	if err := conn.Deliver(t.Context(), messages...); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a", "b", "c"} {
		if got := receive(t, bodies); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := conn.MaxPayload(); got != 2048 {
		t.Errorf("MaxPayload is %d", got)
	}
	if err := conn.Ready(); err != nil {
		t.Error(err)
	}
}

func TestConnectionComesBackAndNeverKeepsWhatItCouldNotSend(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{Token: oddToken})
	gate := natsserver.NewGate(t, server)
	gate.Close()
	conn := connect(t, gate.URL())
	if err := conn.Ready(); err == nil || strings.Contains(err.Error(), oddToken) {
		t.Errorf("without a broker Ready says %v", err)
	}
	gate.Open()
	waitConnected(t, conn)
	bodies := observe(t, server)

	gate.Close()
	for conn.Ready() == nil { // until the broken connection is noticed, sending must fail too
		if err := conn.Deliver(t.Context(), bus.Message{Subject: "x.1", Body: []byte("lost")}); err == nil {
			t.Fatal("sent through a closed gate")
		}
	}
	if err := conn.Deliver(t.Context(), bus.Message{Subject: "x.1", Body: []byte("lost")}); err == nil {
		t.Error("sent without a connection")
	}
	gate.Open()
	waitConnected(t, conn)
	if err := conn.Deliver(t.Context(), bus.Message{Subject: "x.1", Body: []byte("kept")}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, bodies); got != "kept" {
		t.Errorf("got %q: something had been buffered", got)
	}
}

// TestWhatIsConfirmedHasArrived breaks the connection again and again while sending: whatever Send reported as confirmed must be
// there. (The PONG of a new connection says nothing of what was written to the old one.)
func TestWhatIsConfirmedHasArrived(t *testing.T) {
	const batch = 20
	server := natsserver.Start(t, natsserver.Options{})
	gate := natsserver.NewGate(t, server)
	conn := connect(t, gate.URL())
	bodies := observe(t, server)
	confirmed, failed, arrived := map[string]bool{}, 0, map[string]int{}
	for i := 0; i < 2000 && failed < 20; i++ {
		waitConnected(t, conn)
		body := strconv.Itoa(i)
		messages := make([]bus.Message, batch)
		for j := range messages {
			messages[j] = bus.Message{Subject: "x.1", Body: []byte(body)}
		}
		broken := make(chan struct{})
		go func() {
			defer close(broken)
			if i%3 == 0 {
				gate.Close()
				gate.Open()
			}
		}()
		if err := conn.Deliver(t.Context(), messages...); err != nil {
			failed++
		} else {
			confirmed[body] = true
		}
		<-broken
		for len(bodies) > 0 {
			arrived[<-bodies]++
		}
	}
	complete := func() bool {
		for len(bodies) > 0 {
			arrived[<-bodies]++
		}
		for body := range confirmed {
			if arrived[body] != batch {
				return false
			}
		}
		return true
	}
	eventually(t, "everything confirmed has arrived", complete)
	t.Logf("%d batches confirmed, %d not", len(confirmed), failed)
}

func TestWhatTheNetworkSwallowsIsNotConfirmed(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{})
	gate := natsserver.NewGate(t, server)
	conn := connect(t, gate.URL())
	waitConnected(t, conn)
	gate.Swallow()
	sent := make(chan error, 1)
	go func() { sent <- conn.Deliver(t.Context(), bus.Message{Subject: "x.1", Body: []byte("lost")}) }()
	select {
	case err := <-sent:
		t.Errorf("Send returned %v before the broker had anything", err)
	case <-time.After(100 * time.Millisecond):
	}
	gate.Close()
	if err := <-sent; !errors.Is(err, bus.ErrNotConfirmed) {
		t.Errorf("got %v", err)
	}
}

func TestWrongTokenIsRetriedForEver(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{Token: "right"})
	conn := connect(t, "nats://wrong@"+server.Addr)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // dozens of attempts
	defer cancel()
	if err := conn.WaitConnected(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := conn.Ready(); err == nil || !strings.Contains(err.Error(), "Authorization") {
		t.Errorf("Ready says %v", err)
	}
}

func TestWhatTheBrokerRefusesIsNotConfirmed(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{DenyPublish: "x.denied"})
	log := &logged{}
	ctx := klog.NewContext(t.Context(), klog.New(log))
	address, err := bus.ParseAddress(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	conn, err := bus.Connect(ctx, bus.Options{Address: address, Name: "test", Metrics: metrics, ReconnectWait: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	waitConnected(t, conn)
	bodies := observe(t, server)
	allowed, denied := bus.Message{Subject: "x.allowed", Body: []byte("a")}, bus.Message{Subject: "x.denied", Body: []byte("d")}
	for range 100 {
		if err := conn.Deliver(t.Context(), allowed, denied, allowed); !errors.Is(err, bus.ErrNotConfirmed) || !errors.Is(err, nats.ErrPermissionViolation) {
			t.Fatalf("got %v", err)
		}
	}
	eventually(t, "all are reported", func() bool { return counted(t, metrics, "meshery_meshsync_broker_errors_total") == 100 })
	if n := log.errors.Load(); n != 1 {
		t.Errorf("the same error is logged %d times", n)
	}
	if n := counted(t, metrics, "meshery_meshsync_broker_messages_total"); n != 0 {
		t.Errorf("%v messages count as confirmed", n)
	}
	if err := conn.Deliver(t.Context(), allowed); err != nil {
		t.Errorf("what is allowed after what is not: %v", err)
	}
	_ = conn.Deliver(t.Context(), denied)
	eventually(t, "a new occasion is logged again", func() bool { return log.errors.Load() == 2 })

	server.Kill()
	server.Configure(t, natsserver.Options{})
	server.Restart(t)
	waitConnected(t, conn)
	for len(bodies) > 0 {
		<-bodies
	}
	eventually(t, "the observer listens again", func() bool {
		if err := conn.Deliver(t.Context(), denied); err != nil {
			t.Fatal(err)
		}
		return len(bodies) > 0
	})
	if got := receive(t, bodies); got != "d" {
		t.Errorf("got %q", got)
	}
}

func TestWrongTokenLaterIsLoggedOnce(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{Token: "right"})
	log, metrics := &logged{}, prometheus.NewRegistry()
	address, err := bus.ParseAddress(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := bus.Connect(klog.NewContext(t.Context(), klog.New(log)), bus.Options{Address: address, Name: "test", Metrics: metrics, ReconnectWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	waitConnected(t, conn)
	server.Kill()
	server.Token = "another"
	server.Configure(t, natsserver.Options{})
	server.Restart(t)
	eventually(t, "some attempts", func() bool { return counted(t, metrics, "meshery_meshsync_broker_errors_total") >= 3 })
	if n := log.errors.Load(); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if err := conn.Ready(); err == nil || !strings.Contains(strings.ToLower(err.Error()), "authorization") {
		t.Errorf("Ready says %v", err)
	}
}

// logged counts errors that are logged.
type logged struct{ errors atomic.Int64 }

func (l *logged) Init(klog.RuntimeInfo)          {}
func (l *logged) Enabled(int) bool               { return false }
func (l *logged) Info(int, string, ...any)       {}
func (l *logged) Error(error, string, ...any)    { l.errors.Add(1) }
func (l *logged) WithValues(...any) klog.LogSink { return l }
func (l *logged) WithName(string) klog.LogSink   { return l }

// counted reads a counter without labels.
func counted(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

func TestSubscriptionsSurviveARestart(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{Token: oddToken})
	conn, sender := connect(t, server.URL()), connect(t, server.URL())
	requests := make(chan string, 1)
	stop, err := conn.Subscribe("requests", "group", func(body []byte) { requests <- string(body) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, want := range []string{"before", "after"} {
		waitConnected(t, conn)
		waitConnected(t, sender)
		if err := conn.Deliver(t.Context()); err != nil { // the subscription has arrived
			t.Fatal(err)
		}
		if err := sender.Deliver(t.Context(), bus.Message{Subject: "requests", Body: []byte(want)}); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, requests); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		server.Kill()
		eventually(t, "both notice", func() bool { return conn.Ready() != nil && sender.Ready() != nil })
		server.Restart(t)
	}
}
