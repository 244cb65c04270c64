// Package natsserver runs a real nats-server for a test: with a token, on a port of its own that it keeps across restarts, and
// behind a gate that cuts one client's way to it while others still get through.
package natsserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"meshery.io/operator/test/controlplane"
)

// Options of a server. The zero value is one without a token.
type Options struct {
	Token      string
	MaxPayload int // bytes; 0 is the server's default, 1 MiB

	// DenyPublish is a subject that clients may not publish on. It needs a server without a token.
	DenyPublish string

	// User and Password are asked for instead of a token.
	User, Password string

	// Authority signs a certificate for the server, which then speaks TLS only.
	Authority *Authority

	// JetStream lets streams be made, in a folder that goes with the test.
	JetStream bool
}

// Server is a nats-server process.
type Server struct {
	Addr  string // host:port
	Token string

	binary, config string
	stdin          io.Closer
	process        *exec.Cmd
}

// Start starts a server and returns when it answers. It is stopped at the end of the test at the latest.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	binary, err := controlplane.Binary(t.Context(), "nats-server")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: addr, Token: o.Token, binary: binary, config: filepath.Join(t.TempDir(), "nats.conf")}
	s.Configure(t, o)
	t.Cleanup(s.Kill)
	s.Restart(t)
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
		config += fmt.Sprintf("jetstream { store_dir: %q }\n", s.config+".streams")
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
	// The shell kills the server as soon as its input ends, so that nothing is left when the test binary dies.
	s.process = exec.Command("/bin/sh", "-c", `"$0" "$@" & pid=$!; read -r _; kill -9 $pid; wait $pid 2>/dev/null; true`, s.binary, "-c", s.config)
	stdin, err := s.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	s.stdin = stdin
	if err := waitForInfo(t.Context(), s.Addr); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server without warning and waits until it is gone.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.stdin.Close()
	_ = s.process.Wait()
	s.process = nil
}

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

func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
