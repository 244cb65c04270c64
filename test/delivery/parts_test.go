package delivery

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"meshery.io/operator/test/consumer"
	"meshery.io/operator/test/natsserver"
)

func TestWhatIsOutOfOrder(t *testing.T) {
	for name, c := range map[string]struct {
		versions []string // a minus is DELETED
		want     int
	}{
		"in order, with gaps": {[]string{"1", "2", "5"}, 0},
		"the same again":      {[]string{"1", "2", "2"}, 0},
		"a batch again":       {[]string{"1", "2", "1", "2"}, 0},
		"a batch again, of which a part is missing": {[]string{"1", "2", "1"}, 1},
		"an older one for the first time":           {[]string{"1", "3", "2", "3"}, 1},
		"an older one at last":                      {[]string{"3", "2"}, 2}, // both: it was never said, and it stays
		"an earlier one is deleted":                 {[]string{"1", "3", "-2"}, 0},
		"it comes back after it was deleted":        {[]string{"1", "-3", "2"}, 2},
		"it is withdrawn, and there again":          {[]string{"1", "2", "-2", "2"}, 0},
		"more digits are newer":                     {[]string{"99", "100"}, 0},
	} {
		s := &subscriber{known: states{}, said: map[string]*sayings{}}
		for _, version := range c.versions {
			event := "MODIFIED"
			if deleted, ok := strings.CutPrefix(version, "-"); ok {
				event, version = "DELETED", deleted
			}
			s.hear(consumer.Message{EventType: event, Object: consumer.Object{Kind: "Pod", Metadata: consumer.Metadata{UID: "u", ResourceVersion: version}}})
		}
		if have := s.disorder(); len(have) != c.want || len(s.problems) > 0 {
			t.Errorf("%s: %q, want %d; %q", name, have, c.want, s.problems)
		}
	}
}

func TestWhatAVerdictSays(t *testing.T) {
	there := states{
		"1": {"Pod", "ns", "known", "1", "{}"}, "2": {"Pod", "ns", "lost", "2", "{}"},
		"3": {"Pod", "ns", "older", "3", "{}"}, "4": {"Pod", "ns", "other content", "4", `{"a":1}`},
	}
	known := states{
		"1": there["1"], "3": {"Pod", "ns", "older", "2", "{}"}, "4": {"Pod", "ns", "other content", "4", `{"a": 1}`},
		"5": {"Pod", "ns", "known", "5", "{}"}, "6": {"Pod", "ns", "excused", "6", "{}"},
	}
	v := compare("x", there, known, func(s state) bool { return s.Name == "excused" })
	if len(v.lost) != 1 || len(v.stale) != 2 || len(v.ghosts) != 1 || v.excused != 1 || v.err() == nil {
		t.Errorf("%+v", v)
	}
	if v := compare("x", there, maps.Clone(there), none); v.err() != nil {
		t.Error(v.err())
	}
}

// echo is a server behind a link, and a connection to it.
type echo struct {
	t      *testing.T
	link   *link
	client net.Conn
	lines  *bufio.Reader
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	e := &echo{t: t, link: newLink(t, 0, listener.Addr().String())}
	e.connect()
	return e
}

func (e *echo) connect() {
	e.t.Helper()
	var err error
	if e.client, err = net.Dial("tcp", e.link.addr); err != nil {
		e.t.Fatal(err)
	}
	e.lines = bufio.NewReader(e.client)
}

const moment = 300 * time.Millisecond

// says sends a line and returns what comes back in a while.
func (e *echo) says(line string, within time.Duration) string {
	e.t.Helper()
	if _, err := io.WriteString(e.client, line+"\n"); err != nil {
		return ""
	}
	return e.hears(within)
}

func (e *echo) hears(within time.Duration) string {
	_ = e.client.SetReadDeadline(time.Now().Add(within))
	answer, _ := e.lines.ReadString('\n')
	return answer
}

func TestALinkIsDisturbed(t *testing.T) {
	t.Run("a hole keeps what was sent", func(t *testing.T) {
		e := newEcho(t)
		e.link.dig()
		if heard := e.says("a", moment); heard != "" {
			t.Errorf("heard %q", heard)
		}
		e.link.fill()
		if heard := e.hears(patience); heard != "a\n" {
			t.Errorf("heard %q afterwards", heard)
		}
	})
	t.Run("latency", func(t *testing.T) {
		e := newEcho(t)
		e.link.slow(moment)
		began := time.Now()
		if heard, took := e.says("a", patience), time.Since(began); heard != "a\n" || took < 2*moment {
			t.Errorf("heard %q after %s", heard, took)
		}
	})
	t.Run("a reset", func(t *testing.T) {
		e := newEcho(t)
		e.says("a", patience)
		e.link.reset()
		if _, err := e.client.Read(make([]byte, 1)); err == nil {
			t.Error("the connection lives")
		}
		e.connect()
		if heard := e.says("b", patience); heard != "b\n" {
			t.Errorf("a new connection heard %q", heard)
		}
	})
	t.Run("half open", func(t *testing.T) {
		e := newEcho(t)
		e.says("a", patience)
		e.link.orphan()
		if _, err := io.WriteString(e.client, "b\n"); err != nil {
			t.Errorf("the client is told: %v", err)
		}
		if heard := e.hears(moment); heard != "" {
			t.Errorf("heard %q", heard)
		}
		e.connect()
		if heard := e.says("c", patience); heard != "c\n" {
			t.Errorf("a new connection heard %q", heard)
		}
	})
	t.Run("refused", func(t *testing.T) {
		e := newEcho(t)
		e.link.refuse()
		if conn, err := net.Dial("tcp", e.link.addr); err == nil {
			if n, err := conn.Read(make([]byte, 1)); err == nil {
				t.Errorf("a new connection heard %d bytes", n)
			}
			_ = conn.Close()
		}
		e.link.admit()
		e.connect()
		if heard := e.says("b", patience); heard != "b\n" {
			t.Errorf("heard %q afterwards", heard)
		}
	})
}

// TestASnapshotIsTheLastOfEverything writes a stream as an agent does.
func TestASnapshotIsTheLastOfEverything(t *testing.T) {
	broker := natsserver.StartCluster(t, 1, natsserver.Options{JetStream: true})
	conn, err := nats.Connect(broker[0].URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s := streamOf(js, "cluster", "meshsync")
	if _, err := s.snapshot(t.Context()); err == nil {
		t.Error("there is no stream, and no error")
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: s.name, Subjects: []string{s.prefix + ">"}, MaxMsgsPerSubject: 1}); err != nil {
		t.Fatal(err)
	}
	if have, err := s.snapshot(t.Context()); err != nil || len(have) > 0 {
		t.Errorf("of an empty stream: %v, %v", have, err)
	}
	tell := func(event, name, uid, version, body string) {
		t.Helper()
		message := &nats.Msg{Subject: s.prefix + "pods.v1._.ns." + token(name), Data: []byte(body), Header: nats.Header{}}
		for header, value := range map[string]string{"Meshery-Event": event, "Meshery-Uid": uid, "Meshery-Resource-Version": version} {
			message.Header.Set(header, value)
		}
		if _, err := js.PublishMsg(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
	pod := func(event, name, uid, version string) string {
		return fmt.Sprintf(`{"ObjectType":"meshsync-data","EventType":%q,"Request":null,"Object":{"id":"","apiVersion":"v1","kind":"Pod","model":"",
			"metadata":{"id":"","name":%q,"namespace":"ns","uid":%q,"resourceVersion":%q,"cluster_id":""},"spec":{"id":"","attribute":"{}"},
			"cluster_id":"cluster","pattern_resource":null,"component_metadata":null}}`, event, name, uid, version)
	}
	tell("ADDED", "a.b", "1", "1", pod("ADDED", "a.b", "1", "1"))
	tell("MODIFIED", "a.b", "1", "2", pod("MODIFIED", "a.b", "1", "2"))
	tell("ADDED", "gone", "3", "3", pod("ADDED", "gone", "3", "3"))
	tell("DELETED", "gone", "3", "4", "{}")
	have, err := s.snapshot(t.Context())
	if want := (states{"1": {"Pod", "ns", "a.b", "2", "{}"}}); err != nil || !maps.Equal(have, want) {
		t.Errorf("%v, %v; want %v", have, err, want)
	}
	tell("MODIFIED", "a.b", "1", "3", pod("MODIFIED", "a.b", "1", "2"))
	if _, err := s.snapshot(t.Context()); err == nil {
		t.Error("headers of another version than the body's, and no error")
	}
}

// A plan is the same for the same seed.
func TestASeedRepeatsItsRound(t *testing.T) {
	of := func(seed uint64) []string {
		var names []string
		for _, p := range plan(chanceOf(seed), setup{servers: 3}) {
			names = append(names, p.String())
		}
		return names
	}
	if a, b := of(1), of(1); !slices.Equal(a, b) {
		t.Errorf("%v and %v", a, b)
	}
	if a, b := of(1), of(2); slices.Equal(a, b) {
		t.Errorf("%v twice", a)
	}
}
