package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/test/natsserver"
)

const listenedTo = "a.b.core"

// lookout is a running watch for listeners.
type lookout struct {
	appeared chan []bus.Listener
	looks    atomic.Int64
	log      *infos

	mu        sync.Mutex
	addresses []string
	err       error
}

func (l *lookout) resolve(addresses []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addresses, l.err = addresses, err
}

// startLookout starts one and waits until it has seen who is there.
func startLookout(t *testing.T, port int, addresses ...string) *lookout {
	t.Helper()
	l := &lookout{appeared: make(chan []bus.Listener, 100), log: &infos{}}
	l.resolve(addresses, nil)
	listeners := bus.NewListeners(bus.ListenersOptions{
		Host: "all-servers", Port: port, Subject: listenedTo, Interval: 10 * time.Millisecond,
		Lookup: func(_ context.Context, host string) ([]string, error) {
			if host != "all-servers" {
				t.Errorf("%s is looked up", host)
			}
			l.looks.Add(1)
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.addresses, l.err
		},
	})
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klog.New(l.log)))
	var running sync.WaitGroup
	running.Go(func() { listeners.Run(ctx, func(listeners []bus.Listener) { l.appeared <- listeners }) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	l.looksAgain(t)
	return l
}

// looksAgain waits until it has looked from the beginning to the end.
func (l *lookout) looksAgain(t *testing.T) {
	t.Helper()
	before := l.looks.Load()
	eventually(t, "another look", func() bool { return l.looks.Load() >= before+2 })
}

// sees waits until so many are reported as new.
func (l *lookout) sees(t *testing.T, n int) {
	t.Helper()
	seen := 0
	for seen < n {
		select {
		case listeners := <-l.appeared:
			seen += len(listeners)
		case <-time.After(10 * time.Second):
			t.Fatalf("%d appeared, not %d", seen, n)
		}
	}
	if seen > n {
		t.Errorf("%d appeared, not %d", seen, n)
	}
	l.seesNobody(t)
}

func (l *lookout) seesNobody(t *testing.T) {
	t.Helper()
	l.looksAgain(t)
	select {
	case listeners := <-l.appeared:
		t.Errorf("appeared: %v", listeners)
	default:
	}
}

// listenTo subscribes a new client to a subject.
func listenTo(t *testing.T, server *natsserver.Server, subject string) *nats.Conn {
	t.Helper()
	client, err := nats.Connect(server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if _, err := client.Subscribe(subject, func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := client.Flush(); err != nil {
		t.Fatal(err)
	}
	return client
}

func TestWhoBeginsToListenIsSeen(t *testing.T) {
	server := natsserver.Start(t, natsserver.Options{Token: "token"})
	port := server.Monitor(t, "127.0.0.1", 0)
	listenTo(t, server, listenedTo) // was there before
	l := startLookout(t, port, "127.0.0.1")
	l.seesNobody(t)
	for _, subject := range []string{"a.b.other", "a.b", "a.*", "b.>", "a.b.core.more"} {
		listenTo(t, server, subject)
	}
	l.seesNobody(t)
	var last *nats.Conn
	for _, subject := range []string{listenedTo, ">", "a.>", "a.*.core", "*.*.*"} {
		last = listenTo(t, server, subject)
		l.sees(t, 1)
	}
	if _, err := last.Subscribe(listenedTo, func(*nats.Msg) {}); err != nil { // has heard everything already
		t.Fatal(err)
	}
	if err := last.Flush(); err != nil {
		t.Fatal(err)
	}
	l.seesNobody(t)
	if err := last.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	l.sees(t, 1)
	last.Close()
	l.seesNobody(t)
	if said := l.log.all(); len(said) > 0 {
		t.Errorf("logged: %q", said)
	}
}

func TestWhoListensIsSeenOnAllServers(t *testing.T) {
	second, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skipf("this machine has no second address for itself: %v", err)
	}
	_ = second.Close()
	one, two := natsserver.Start(t, natsserver.Options{}), natsserver.Start(t, natsserver.Options{})
	port := one.Monitor(t, "127.0.0.1", 0)
	two.Monitor(t, "127.0.0.2", port)
	listenTo(t, one, listenedTo)
	listenTo(t, two, listenedTo)
	l := startLookout(t, port, "127.0.0.1", "127.0.0.2")
	l.seesNobody(t)
	listenTo(t, two, listenedTo)
	l.sees(t, 1)

	two.Kill()
	l.seesNobody(t)
	if said := l.log.all(); len(said) != 1 || !strings.Contains(said[0], "Cannot see all who listen") {
		t.Errorf("logged: %q", said)
	}
	listenTo(t, one, listenedTo)
	l.sees(t, 1)
	two.Restart(t) // its two clients come back, as new ones
	l.sees(t, 2)

	l.resolve(nil, errors.New("no such host"))
	l.seesNobody(t)
	l.resolve([]string{"127.0.0.1", "127.0.0.2", "127.0.0.1"}, nil)
	l.seesNobody(t)
	if said := l.log.all(); len(said) != 2 {
		t.Errorf("logged: %q", said)
	}
}

const (
	oneListener  = `{"server_id":"S","total":1,"subscriptions_list":[{"cid":1}]}`
	twoListeners = `{"server_id":"S","total":2,"subscriptions_list":[{"cid":1},{"cid":2}]}`
)

// pretend starts something that answers as a server does, and another way when it is told to. Under the name localhost it always answers
// well.
func pretend(t *testing.T, answer *atomic.Value) (port int) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := answer.Load().(string)
		switch {
		case strings.HasPrefix(r.Host, "localhost"):
			fmt.Fprint(w, `{"server_id":"L"}`)
		case answer == "refused":
			http.Error(w, "not now", http.StatusServiceUnavailable)
		case answer == "elsewhere":
			http.Redirect(w, r, "/other", http.StatusFound)
		default:
			fmt.Fprint(w, answer)
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).Port
}

func TestWhatAServerDoesNotAnswerIsAsBefore(t *testing.T) {
	var answer atomic.Value
	answer.Store(oneListener)
	l := startLookout(t, pretend(t, &answer), "127.0.0.1", "localhost")
	for _, bad := range []string{
		"refused", "elsewhere", "<html>", "{" + strings.Repeat(" ", 3<<20) + twoListeners[1:],
		`{"server_id":"S","total":5000,"subscriptions_list":[{"cid":1},{"cid":2}]}`,
	} {
		answer.Store(bad)
		l.seesNobody(t)
	}
	if said := l.log.all(); len(said) != 1 {
		t.Errorf("logged: %q", said)
	}
	answer.Store(twoListeners)
	l.sees(t, 1)
}

func TestTheFirstAnswerIsWhoWasThere(t *testing.T) {
	var answer atomic.Value
	answer.Store("refused")
	l := startLookout(t, pretend(t, &answer), "127.0.0.1")
	l.seesNobody(t)
	answer.Store(oneListener)
	l.seesNobody(t)
	answer.Store(twoListeners)
	l.sees(t, 1)
}

// infos keeps what is logged.
type infos struct {
	logged
	mu   sync.Mutex
	said []string
}

func (i *infos) Enabled(int) bool               { return true }
func (i *infos) WithValues(...any) klog.LogSink { return i }
func (i *infos) WithName(string) klog.LogSink   { return i }

func (i *infos) Info(_ int, message string, values ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.said = append(i.said, fmt.Sprint(message, values))
}

func (i *infos) all() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.said
}
