package bus_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/test/natsserver"
)

// trust writes an authority as Kubernetes writes a mounted Secret: the file is there whole or not at all.
func trust(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func connectByTLS(t *testing.T, address bus.Address) (*bus.Conn, *notes) {
	t.Helper()
	log := &notes{}
	conn, err := bus.Connect(klog.NewContext(t.Context(), klog.New(log)),
		bus.Options{Address: address, Name: "test", Metrics: prometheus.NewRegistry(), ReconnectWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn, log
}

// notes counts what is logged of a broker that cannot be reached, or can again, at the verbosity that everybody sees.
type notes struct {
	logged
	unreachable, again atomic.Int64
}

func (n *notes) Enabled(level int) bool { return level == 0 }
func (n *notes) Info(_ int, message string, _ ...any) {
	switch {
	case strings.HasPrefix(message, "Broker cannot be reached"):
		n.unreachable.Add(1)
	case message == "Connected to broker again":
		n.again.Add(1)
	}
}
func (n *notes) WithValues(...any) klog.LogSink { return n }

func TestTheAuthorityIsReadAtEveryConnection(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.crt")
	before, after := natsserver.NewAuthority(t), natsserver.NewAuthority(t)
	server := natsserver.Start(t, natsserver.Options{User: "me", Password: "s3cret", Authority: before})
	trust(t, file, before.PEM)
	for _, scheme := range []string{"nats", "tls"} {
		conn, _ := connectByTLS(t, bus.Address{URL: scheme + "://" + server.Addr, User: "me", Password: "s3cret", CAFile: file})
		waitConnected(t, conn)
	}

	conn, log := connectByTLS(t, bus.Address{URL: "tls://" + server.Addr, User: "me", Password: "s3cret", CAFile: file})
	waitConnected(t, conn)
	server.Kill()
	server.Configure(t, natsserver.Options{User: "me", Password: "s3cret", Authority: after})
	server.Restart(t)
	eventually(t, "the new certificate is not trusted", func() bool {
		err := conn.Ready()
		return err != nil && strings.Contains(err.Error(), "unknown authority")
	})
	trust(t, file, append(before.PEM, after.PEM...))
	waitConnected(t, conn)
	if err := conn.Deliver(t.Context(), bus.Message{Subject: "x.1", Body: []byte("a")}); err != nil {
		t.Error(err)
	}
	if n := log.unreachable.Load(); n > 2 { // the server was gone, then it was not trusted
		t.Errorf("logged %d times that the broker cannot be reached", n)
	}
}

func TestWhatIsWrongWithTLSIsSaid(t *testing.T) {
	t.Parallel()
	authority := natsserver.NewAuthority(t)
	inClear, byTLS := natsserver.Start(t, natsserver.Options{}), natsserver.Start(t, natsserver.Options{Authority: authority})
	for name, test := range map[string]struct {
		server *natsserver.Server
		ca     []byte // what the file holds once the connection has been set up
		want   string
	}{
		"another authority":            {byTLS, natsserver.NewAuthority(t).PEM, "unknown authority"},
		"a server without TLS":         {inClear, authority.PEM, "secure connection not available"},
		"a file without a certificate": {byTLS, []byte("nonsense"), "ca.crt holds no certificate"},
		"a file that went":             {byTLS, nil, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "ca.crt")
			trust(t, file, authority.PEM)
			gate := natsserver.NewGate(t, test.server)
			gate.Close()
			conn, log := connectByTLS(t, bus.Address{URL: "nats://" + gate.Addr, CAFile: file})
			if test.ca == nil {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			} else {
				trust(t, file, test.ca)
			}
			gate.Open()
			eventually(t, "Ready says what is wrong", func() bool {
				err := conn.Ready()
				return err != nil && strings.Contains(err.Error(), test.want)
			})
			if log.unreachable.Load() == 0 {
				t.Error("nothing is logged")
			}
		})
	}
}

func TestAnAuthorityThatCannotBeReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	trust(t, filepath.Join(dir, "key"), []byte("-----BEGIN PRIVATE KEY-----\n"))
	for file, want := range map[string]string{"missing": "missing: no such file", "key": "key holds no certificate", ".": "is a directory"} {
		err := bus.Address{CAFile: filepath.Join(dir, file)}.CheckAuthority()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
}
