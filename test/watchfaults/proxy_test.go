package watchfaults

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"meshery.io/operator/test/natsserver"
)

// The verbs of requests. Those that are not named here are those of the API server's audit log.
const (
	discovery = "discovery"
	list      = "list"
	watch     = "watch"
	// streamList is a watch that begins with all that is there: the one way to list of a client that asks for it.
	streamList = "streamlist"
)

// request is what was asked for, without names and namespaces.
type request struct{ verb, resource string }

// ofWatchList is the resource of requests for the watch-list itself.
const ofWatchList = "watch-list"

func requestOf(r *http.Request) request {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		parts = parts[3:]
	default:
		return request{verb: discovery}
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	query := r.URL.Query()
	resource := parts[0]
	if strings.Contains(query.Get("fieldSelector"), "metadata.name=") {
		resource = ofWatchList
	}
	switch {
	case r.Method != http.MethodGet:
		return request{strings.ToLower(r.Method), resource}
	case len(parts) > 1:
		return request{"get", resource}
	case query.Get("sendInitialEvents") == "true":
		return request{streamList, resource}
	case query.Get("watch") == "true":
		return request{watch, resource}
	default:
		return request{list, resource}
	}
}

// answer takes the place of the API server's. It returns false to let the API server answer after all.
type answer func(w http.ResponseWriter, r *http.Request) bool

// refuse answers with an error of the API server's.
func refuse(code int32, reason metav1.StatusReason, header ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(int(code))
		_ = json.NewEncoder(w).Encode(statusOf(code, reason))
		return true
	}
}

func statusOf(code int32, reason metav1.StatusReason) metav1.Status {
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: code, Reason: reason,
		Message: "injected: " + string(reason),
	}
}

var (
	expired   = refuse(http.StatusGone, metav1.StatusReasonExpired)
	throttled = refuse(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "Retry-After", "1")
	// throttledForLong leaves it to the client how long it waits.
	throttledForLong = refuse(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests)
	// cannotStream is what API servers say that do not know of streaming lists.
	cannotStream = refuse(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid)
)

// delayUntil lets the API server answer when the channel is closed.
func delayUntil(over <-chan struct{}) answer {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-over:
			return false
		case <-r.Context().Done():
			return true
		}
	}
}

// cut says what becomes of the data that came last in a stream, and how the stream ends then. io.EOF is the ordinary end, nil is
// none yet, and any other error breaks the stream off; the connection lives on.
type cut func(data []byte) (passOn []byte, end error)

var errBroken = errors.New("broken off")

// whole is the ordinary end, after all of an event.
func whole(data []byte) ([]byte, error) { return data, io.EOF }

// halfEnded looks like the ordinary end, in the middle of an event.
func halfEnded(data []byte) ([]byte, error) { return data[:len(data)/2], io.EOF }

// halfBroken breaks the stream off in the middle of an event.
func halfBroken(data []byte) ([]byte, error) { return data[:len(data)/2], errBroken }

// expiredInStream ends a stream of JSON with an event that says that what it went on from is too old.
func expiredInStream(data []byte) ([]byte, error) {
	event, _ := json.Marshal(map[string]any{"type": "ERROR", "object": statusOf(http.StatusGone, metav1.StatusReasonExpired)})
	return append(append(slices.Clone(data), event...), '\n'), io.EOF
}

// stallUntil keeps the data back.
func stallUntil(over <-chan struct{}) cut {
	return func(data []byte) ([]byte, error) {
		<-over
		return data, nil
	}
}

// proxy stands between an agent and the API server.
type proxy struct {
	t         *testing.T
	authority *natsserver.Authority
	addr      string
	upstream  http.Handler
	serving   sync.WaitGroup

	certificate atomic.Pointer[tls.Certificate]
	token       atomic.Pointer[string] // that is asked for; nil for none
	closed      atomic.Pointer[chan struct{}]

	mu      sync.Mutex
	server  *http.Server // nil while connections are refused
	rules   []*rule
	asked   counts
	resumed map[string][]string // by resource, the versions that watches went on from
	streams map[*stream]bool
	links   map[*link]bool
}

type rule struct {
	of     request // an empty resource is any
	times  int     // how often it still holds; less than 0 is for ever
	answer answer
}

// newProxy starts a proxy with an authority of its own, which lasts until the end of the test.
func newProxy(t *testing.T, config *rest.Config) *proxy {
	t.Helper()
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, authority: natsserver.NewAuthority(t), asked: counts{}, resumed: map[string][]string{},
		streams: map[*stream]bool{}, links: map[*link]bool{}}
	p.upstream = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Authorization")
		},
		Transport:      transport,
		FlushInterval:  -1,
		ModifyResponse: p.track,
		ErrorLog:       log.New(io.Discard, "", 0),
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.renewCertificate()
	p.listen("127.0.0.1:0")
	t.Cleanup(func() {
		p.open()
		p.refuseConnections()
		p.serving.Wait()
	})
	return p
}

// renewCertificate makes a new certificate of the same authority. Connections that there are stay.
func (p *proxy) renewCertificate() {
	p.t.Helper()
	certificate, key := p.authority.Issue(p.t)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.certificate.Store(&pair)
}

func (p *proxy) listen(addr string) {
	p.t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		p.t.Fatal(err)
	}
	server := &http.Server{
		Handler:  http.HandlerFunc(p.serve),
		ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return p.certificate.Load(), nil
		}},
		ReadHeaderTimeout: time.Minute,
	}
	p.mu.Lock()
	p.addr, p.server = listener.Addr().String(), server
	p.mu.Unlock()
	p.serving.Go(func() { _ = server.ServeTLS(tracked{listener, p}, "", "") })
}

// refuseConnections breaks every connection and refuses new ones, as an API server does that is not there.
func (p *proxy) refuseConnections() {
	p.mu.Lock()
	server := p.server
	p.server = nil
	p.mu.Unlock()
	p.breakConnections((*link).reset) // first: the server would say goodbye, which waits while the proxy is closed
	if server != nil {
		_ = server.Close()
	}
}

// acceptConnections is the end of refuseConnections.
func (p *proxy) acceptConnections() { p.listen(p.addr) }

// close lets nothing through any more, in neither direction, as a network that is down: connections neither end nor fail. What
// was on its way arrives after open, unless somebody has given up.
func (p *proxy) close() { p.closed.Store(new(make(chan struct{}))) }

func (p *proxy) open() {
	if closed := p.closed.Swap(nil); closed != nil {
		close(*closed)
	}
}

// breakConnections does something to every connection that there is, and returns how many.
func (p *proxy) breakConnections(how func(*link)) int {
	p.mu.Lock()
	links := slices.Collect(maps.Keys(p.links))
	p.mu.Unlock()
	for _, l := range links {
		how(l)
	}
	return len(links)
}

// on lets requests be answered otherwise, the next times; less than 0 is until the returned function is called.
func (p *proxy) on(verb, resource string, times int, answer answer) (off func()) {
	added := &rule{request{verb, resource}, times, answer}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, added)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		added.times = 0
	}
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	asked := requestOf(r)
	if answer := p.count(asked, r); answer != nil && answer(w, r) {
		return
	}
	if token := p.token.Load(); token != nil && r.Header.Get("Authorization") != "Bearer "+*token {
		refuse(http.StatusUnauthorized, metav1.StatusReasonUnauthorized)(w, r)
		return
	}
	p.upstream.ServeHTTP(w, r)
}

// count returns the answer of the first rule that holds, if any.
func (p *proxy) count(asked request, r *http.Request) answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[asked]++
	if asked.verb == watch {
		p.resumed[asked.resource] = append(p.resumed[asked.resource], r.URL.Query().Get("resourceVersion"))
	}
	for _, rule := range p.rules {
		if rule.times != 0 && rule.of.verb == asked.verb && (rule.of.resource == "" || rule.of.resource == asked.resource) {
			rule.times--
			return rule.answer
		}
	}
	return nil
}

// cutNext ends every stream of a resource that there is, with the next event after the first.
func (p *proxy) cutNext(resource string, how cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.streams {
		if s.of.resource == resource {
			s.cut.Store(&how)
		}
	}
}

// early lets the next streaming lists of a resource end with their first data.
func (p *proxy) early(resource string, times int, how cut) (off func()) {
	return p.on(streamList, resource, times, func(w http.ResponseWriter, r *http.Request) bool {
		p.upstream.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), earlyCut{}, how)))
		return true
	})
}

type earlyCut struct{}

// track makes a stream of the body of a watch.
func (p *proxy) track(response *http.Response) error {
	of := requestOf(response.Request)
	if of.verb != watch && of.verb != streamList || response.StatusCode != http.StatusOK {
		return nil
	}
	s := &stream{proxy: p, of: of, began: time.Now(), body: response.Body}
	if how, ok := response.Request.Context().Value(earlyCut{}).(cut); ok {
		s.passed = true
		s.cut.Store(&how)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams[s] = true
	response.Body = s
	return nil
}

// forget starts to count anew.
func (p *proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.resumed = counts{}, map[string][]string{}
}

func (p *proxy) counts() counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.asked)
}

// resumedFrom returns the versions that watches of a resource went on from.
func (p *proxy) resumedFrom(resource string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.resumed[resource])
}

// youngest is how long all of the resources have been streamed; 0 while one of them is not.
func (p *proxy) youngest(resources []string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	youngest := time.Duration(-1)
	for _, resource := range resources {
		age := time.Duration(0)
		for s := range p.streams {
			if s.of.resource == resource {
				age = max(age, time.Since(s.began))
			}
		}
		if youngest < 0 || age < youngest {
			youngest = age
		}
	}
	return youngest
}

// counts of requests.
type counts map[request]int

func (c counts) String() string {
	var texts []string
	for of, n := range c {
		texts = append(texts, strings.TrimSpace(fmt.Sprintf("%d %s %s", n, of.verb, of.resource)))
	}
	slices.SortFunc(texts, func(a, b string) int {
		_, a, _ = strings.Cut(a, " ")
		_, b, _ = strings.Cut(b, " ")
		return strings.Compare(a, b)
	})
	return strings.Join(texts, ", ")
}

// stream is the body of a watch on its way to the agent.
type stream struct {
	proxy *proxy
	of    request
	began time.Time
	body  io.ReadCloser
	cut   atomic.Pointer[cut]

	passed bool   // something, so that the stream was not one that ended before it began
	rest   []byte // of what is passed on before end
	end    error
}

func (s *stream) Read(p []byte) (int, error) {
	if s.end == nil && len(s.rest) == 0 {
		n, err := s.body.Read(p)
		how := s.cut.Load()
		if err != nil || n == 0 || how == nil || !s.passed {
			s.passed = s.passed || n > 0
			return n, err
		}
		s.rest, s.end = (*how)(slices.Clone(p[:n]))
	}
	if len(s.rest) == 0 {
		return 0, s.end
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) Close() error {
	s.proxy.mu.Lock()
	delete(s.proxy.streams, s)
	s.proxy.mu.Unlock()
	return s.body.Close()
}

// tracked hands out links.
type tracked struct {
	net.Listener
	proxy *proxy
}

func (t tracked) Accept() (net.Conn, error) {
	conn, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l := &link{Conn: conn, proxy: t.proxy, gone: make(chan struct{})}
	l.forget = sync.OnceFunc(func() {
		close(l.gone)
		t.proxy.mu.Lock()
		defer t.proxy.mu.Unlock()
		delete(t.proxy.links, l)
	})
	t.proxy.mu.Lock()
	defer t.proxy.mu.Unlock()
	t.proxy.links[l] = true
	return l, nil
}

// link is a connection of the agent.
type link struct {
	net.Conn
	proxy  *proxy
	halve  atomic.Bool
	gone   chan struct{}
	forget func()
}

// wait returns when the proxy is open.
func (l *link) wait() error {
	for {
		closed := l.proxy.closed.Load()
		if closed == nil {
			return nil
		}
		select {
		case <-*closed:
		case <-l.gone:
			return net.ErrClosed
		}
	}
}

func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if closed := l.wait(); closed != nil {
		return 0, closed
	}
	return n, err
}

func (l *link) Write(p []byte) (int, error) {
	if err := l.wait(); err != nil {
		return 0, err
	}
	if l.halve.Load() {
		n, _ := l.Conn.Write(p[:len(p)/2])
		_ = l.Close()
		return n, net.ErrClosed
	}
	return l.Conn.Write(p)
}

func (l *link) Close() error {
	l.forget()
	return l.Conn.Close()
}

// reset breaks the connection at once.
func (l *link) reset() {
	if tcp, ok := l.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = l.Close()
}

// endHalfway ends the connection in the middle of the next that is written to it, which is seldom the end of an event.
func (l *link) endHalfway() { l.halve.Store(true) }
