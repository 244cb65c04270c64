// Package natsserver runs real nats-servers for a test: with a token, on ports of their own that they keep across restarts, alone or
// as one cluster, and behind a gate that cuts one client's way to a server while others still get through.
package natsserver

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"meshery.io/operator/test/controlplane"
	"meshery.io/operator/test/process"
)

// Options of a server. The zero value is one without a token.
type Options struct {
	Token      string
	MaxPayload int // bytes; 0 is the server's default, 1 MiB

	// DenyPublish is a subject that clients may not publish on. It needs a server without a token.
	DenyPublish string

	// User and Password are asked for instead of a token.
	User, Password string

	// Logins are lines of the configuration that say who else may log in: see NKeys and Account.
	Logins string

	// Authority signs a certificate for the server, which then speaks TLS only.
	Authority *Authority

	// JetStream lets streams be made, in a folder that goes with the test. MaxFileStore is how many bytes they may take together, as
	// on a disk of that size; 0 is what there is.
	JetStream    bool
	MaxFileStore int64
}

// Server is a nats-server process.
type Server struct {
	Addr  string // host:port
	Token string

	binary, config string
	member         *member // of a cluster; nil for a server alone
	process        *process.Process
}

// Start starts a server and returns when it answers. It is stopped at the end of the test at the latest.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := newServer(t, binary(t), o, nil)
	s.Restart(t)
	return s
}

func binary(t testing.TB) string {
	t.Helper()
	path, err := controlplane.Binary(t.Context(), "nats-server")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func newServer(t testing.TB, binary string, o Options, member *member) *Server {
	t.Helper()
	s := &Server{Addr: freeAddr(t), Token: o.Token, binary: binary, config: filepath.Join(t.TempDir(), "nats.conf"), member: member}
	s.Configure(t, o)
	t.Cleanup(s.Kill)
	return s
}

// Configure sets other options, which are in force from the next Restart on. The token stays.
func (s *Server) Configure(t testing.TB, o Options) {
	t.Helper()
	o.Token = s.Token
	config := o.config(s.Addr)
	if o.Authority != nil {
		config += s.tls(t, o.Authority)
	}
	if o.JetStream {
		config += fmt.Sprintf("jetstream { store_dir: %q", s.streams())
		if o.MaxFileStore > 0 {
			config += fmt.Sprintf(", max_file_store: %d", o.MaxFileStore)
		}
		config += " }\n"
	}
	if s.member != nil {
		config += s.member.config()
	}
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tls writes a new certificate and returns the configuration that names it.
func (s *Server) tls(t testing.TB, authority *Authority) string {
	t.Helper()
	certificate, key := authority.Issue(t)
	certFile, keyFile := s.config+".crt", s.config+".key"
	for file, text := range map[string][]byte{certFile: certificate, keyFile: key} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("tls { cert_file: %q, key_file: %q }\n", certFile, keyFile)
}

func (o Options) config(addr string) string {
	lines := []string{"listen: " + addr}
	if o.Token != "" {
		lines = append(lines, "authorization { token: "+strconv.Quote(o.Token)+" }")
	}
	if o.User != "" {
		lines = append(lines, "authorization { user: "+strconv.Quote(o.User)+", password: "+strconv.Quote(o.Password)+" }")
	}
	if o.Logins != "" {
		lines = append(lines, o.Logins)
	}
	if o.DenyPublish != "" {
		lines = append(lines, "authorization { users: [{user: anybody, password: any, permissions: {publish: {deny: "+strconv.Quote(o.DenyPublish)+"}}}] }",
			"no_auth_user: anybody")
	}
	if o.MaxPayload > 0 {
		lines = append(lines, fmt.Sprintf("max_payload: %d", o.MaxPayload))
	}
	return strings.Join(lines, "\n") + "\n"
}

// URL is the server's URL with the token in it.
func (s *Server) URL() string { return urlOf(s.Addr, s.Token) }

func urlOf(addr, token string) string {
	if token == "" {
		return "nats://" + addr
	}
	return "nats://" + token + "@" + addr
}

// Restart starts the server again after Kill, on the same port.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.start(t)
	if err := waitForInfo(t.Context(), s.Addr); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) start(t testing.TB) {
	t.Helper()
	var err error
	if s.process, err = process.Start(nil, nil, s.binary, "-c", s.config, "-l", s.config+".log"); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server without warning and waits until it is gone.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	s.process.Kill()
	s.process = nil
}

// Pause lets the server hang, with its connections, until Resume or Kill.
func (s *Server) Pause(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Resume lets the server go on, if it is there.
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.Signal(signal); err != nil {
		t.Fatalf("signal nats-server: %v", err)
	}
}

// Wipe removes everything that the server has kept. It must have been killed.
func (s *Server) Wipe(t testing.TB) {
	t.Helper()
	if s.process != nil {
		t.Fatal("wiped while it runs")
	}
	if err := os.RemoveAll(s.streams()); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) streams() string { return s.config + ".streams" }

// waitForInfo returns when the server greets a client.
func waitForInfo(ctx context.Context, addr string) error {
	const patience, pause = 20 * time.Second, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		greeting, err := greet(ctx, addr)
		if err == nil && strings.HasPrefix(greeting, "INFO ") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nats-server on %s does not answer: %q, %w", addr, greeting, err)
		case <-time.After(pause):
		}
	}
}

func greet(ctx context.Context, addr string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return bufio.NewReader(conn).ReadString('\n')
}

// freeAddr picks below the ports that the kernel hands out by itself: one of those can be somebody's when the server comes back, even
// that of a client that tries to reach the server meanwhile.
func freeAddr(t testing.TB) string {
	t.Helper()
	const first, count = 10000, 10000
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(count)))
		if listener, err := net.Listen("tcp", addr); err == nil {
			_ = listener.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}
