package natsserver

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Gate passes connections on to a server while it is open. Closing it breaks those that are there and refuses new ones. While it
// swallows, what a client sends gets lost without a word, as in a network that is down.
type Gate struct {
	Addr string

	server *Server
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	swallows bool
	conns    map[net.Conn]bool
}

// NewGate makes an open gate to the server.
func NewGate(t testing.TB, server *Server) *Gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &Gate{Addr: listener.Addr().String(), server: server, conns: map[net.Conn]bool{}}
	g.wg.Go(func() { g.accept(listener) })
	t.Cleanup(func() {
		_ = listener.Close()
		g.Close()
		g.wg.Wait()
	})
	return g
}

// URL is the server's URL through the gate.
func (g *Gate) URL() string { return urlOf(g.Addr, g.server.Token) }

// Open lets connections through.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.swallows = false, false
}

// Swallow loses what clients send from now on, until the gate is opened. Close it before: the server would take what comes then
// for the rest of what it has.
func (g *Gate) Swallow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.swallows = true
}

// toServer writes to a server what it may get.
type toServer struct {
	gate *Gate
	conn net.Conn
}

func (w toServer) Write(p []byte) (int, error) {
	w.gate.mu.Lock()
	swallows := w.gate.swallows
	w.gate.mu.Unlock()
	if swallows {
		return len(p), nil
	}
	return w.conn.Write(p)
}

// Close breaks every connection and refuses new ones.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for conn := range g.conns {
		_ = conn.Close()
	}
}

func (g *Gate) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // the test is over
		}
		g.wg.Go(func() { g.pass(client) })
	}
}

func (g *Gate) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", g.server.Addr)
	if err != nil {
		return
	}
	defer server.Close()
	if !g.admit(client, server) {
		return
	}
	defer g.forget(client, server)

	var wg sync.WaitGroup
	end := func() {
		_ = client.Close()
		_ = server.Close()
	}
	wg.Go(func() {
		defer end()
		_, _ = io.Copy(toServer{g, server}, client)
	})
	wg.Go(func() {
		defer end()
		_, _ = io.Copy(client, server)
	})
	wg.Wait()
}

func (g *Gate) admit(conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	for _, conn := range conns {
		g.conns[conn] = true
	}
	return true
}

func (g *Gate) forget(conns ...net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range conns {
		delete(g.conns, conn)
	}
}
