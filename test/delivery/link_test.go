package delivery

import (
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// chunks of data that are on their way in one direction; more is held back by whoever sends.
	chunks, chunkSize = 64, 32 << 10
	// late is how much later than all else arrives what was on its way when a sender gave up: its kernel tries it again, seldom.
	late = 3 * time.Second
)

// link is the network between an agent and a server, at an address of its own.
type link struct {
	addr     string
	listener net.Listener
	upstream atomic.Pointer[[]string] // where connections lead to: to each in turn, but for those that do not answer
	turn     atomic.Int64
	wg       sync.WaitGroup

	delay   atomic.Int64                  // of everything that passes
	hole    atomic.Pointer[chan struct{}] // nothing passes until it is closed
	refuses atomic.Bool                   // connections

	mu    sync.Mutex
	pipes map[*pipe]bool
}

// newLink makes a link that is in order, until the end of the test. The first connection leads to the server whose turn it is.
func newLink(t *testing.T, turn int, servers ...string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{addr: listener.Addr().String(), listener: listener, pipes: map[*pipe]bool{}}
	l.turn.Store(int64(turn))
	l.lead(servers...)
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		l.fill()
		l.reset()
		l.wg.Wait()
	})
	return l
}

// lead lets new connections lead to other servers.
func (l *link) lead(servers ...string) { l.upstream.Store(&servers) }

// slow makes everything take longer; 0 is as usual.
func (l *link) slow(delay time.Duration) { l.delay.Store(int64(delay)) }

// dig loses everything until fill: nothing arrives, and nobody is told. What was on its way arrives afterwards, as does what
// kernels try again.
func (l *link) dig() { l.hole.Store(new(make(chan struct{}))) }

func (l *link) fill() {
	if hole := l.hole.Swap(nil); hole != nil {
		close(*hole)
	}
}

// refuse breaks all connections and takes no new ones, until admit.
func (l *link) refuse() {
	l.refuses.Store(true)
	l.reset()
}

func (l *link) admit() { l.refuses.Store(false) }

// reset breaks all connections, and what was on its way is lost.
func (l *link) reset() {
	for _, p := range l.all() {
		p.end(true)
	}
}

// orphan ends the server's side of all connections without the client's being told, as when a machine dies: what the client sends is
// lost. New connections are in order.
func (l *link) orphan() {
	for _, p := range l.all() {
		p.orphan()
	}
}

func (l *link) all() []*pipe {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.pipes))
}

func (l *link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return // the test is over
		}
		l.wg.Go(func() { l.serve(conn) })
	}
}

func (l *link) serve(client net.Conn) {
	p := &pipe{link: l, client: client, ended: make(chan struct{})}
	l.mu.Lock()
	l.pipes[p] = true
	l.mu.Unlock()
	p.serve()
	p.end(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pipes, p)
}

func (l *link) dial() (conn net.Conn, err error) {
	servers := *l.upstream.Load()
	first := int(l.turn.Add(1) - 1)
	for n := range servers {
		if conn, err = net.DialTimeout("tcp", servers[(first+n)%len(servers)], requestPatience); err == nil {
			return conn, nil
		}
	}
	return nil, errors.Join(err, net.ErrClosed)
}

// pipe is one connection through a link.
type pipe struct {
	link     *link
	client   net.Conn
	orphaned atomic.Bool
	ended    chan struct{}

	mu     sync.Mutex
	server net.Conn // nil until there is one
	over   bool
}

func (p *pipe) serve() {
	if !p.wait(time.Now()) || p.link.refuses.Load() {
		return
	}
	server, err := p.link.dial()
	if err != nil || !p.use(server) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		p.pass(p.client, server)
		p.end(false)
	})
	wg.Go(func() {
		p.pass(server, p.client)
		if !p.orphaned.Load() {
			p.end(false)
		}
	})
	wg.Wait()
}

func (p *pipe) use(server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		_ = server.Close()
		return false
	}
	p.server = server
	return true
}

func (p *pipe) orphan() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orphaned.Store(true)
	if p.server != nil {
		_ = p.server.Close()
	}
}

// end closes both sides. If abruptly, what is on its way is lost.
func (p *pipe) end(abruptly bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.over = true
	close(p.ended)
	for _, conn := range []net.Conn{p.client, p.server} {
		if conn == nil {
			continue
		}
		if tcp, ok := conn.(*net.TCPConn); ok && abruptly {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

// onWay is data that has been sent and has not arrived.
type onWay struct {
	data []byte
	due  time.Time
}

// pass brings data from one side to the other until from ends. Then what it has sent arrives, unless it broke the connection.
func (p *pipe) pass(from, to net.Conn) {
	way := make(chan onWay, chunks)
	var wg sync.WaitGroup
	var gaveUp atomic.Bool
	wg.Go(func() { p.deliver(way, &gaveUp, to) })
	err := p.read(from, way)
	gaveUp.Store(p.link.hole.Load() != nil)
	close(way)
	if !errors.Is(err, io.EOF) && !p.orphaned.Load() {
		p.end(true)
	}
	wg.Wait()
}

func (p *pipe) read(from net.Conn, way chan<- onWay) error {
	for {
		data := make([]byte, chunkSize)
		n, err := from.Read(data)
		if n > 0 {
			select {
			case way <- onWay{data[:n], time.Now().Add(time.Duration(p.link.delay.Load()))}:
			case <-p.ended:
				return net.ErrClosed
			}
		}
		if err != nil {
			return err
		}
	}
}

// deliver writes what is on its way when it is due. What its sender did not wait for is late.
func (p *pipe) deliver(way <-chan onWay, gaveUp *atomic.Bool, to net.Conn) {
	for sent := range way {
		if !p.wait(sent.due) || gaveUp.Swap(false) && !p.wait(time.Now().Add(late)) {
			return
		}
		if _, err := to.Write(sent.data); err != nil && !p.orphaned.Load() {
			p.end(true)
			return
		}
	}
}

// wait returns when it is time and something gets through, or false when the connection ends before.
func (p *pipe) wait(until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ended:
		return false
	}
	for hole := p.link.hole.Load(); hole != nil; hole = p.link.hole.Load() {
		select {
		case <-*hole:
		case <-p.ended:
			return false
		}
	}
	return true
}
