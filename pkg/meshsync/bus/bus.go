package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"
)

const (
	reconnectWait   = 2 * time.Second
	reconnectJitter = 500 * time.Millisecond
	// A broken network is noticed after pingInterval * (maxPings + 1).
	pingInterval = 10 * time.Second
	maxPings     = 2
	// writeTimeout frees a sender that is stuck in a network that swallows everything.
	writeTimeout = 10 * time.Second
	closeTimeout = 5 * time.Second
	// writeBuffer is how much of a batch is written at a time.
	writeBuffer = 256 << 10

	// defaultMaxPayload is the broker's own default. It is used until the broker has said otherwise.
	defaultMaxPayload = 1 << 20
)

// Options of a connection.
type Options struct {
	Address Address
	Name    string // of the client, as the broker shows it
	Metrics prometheus.Registerer

	// ReconnectWait is the pause between two attempts to connect, and between two looks at the files of the Address. 0 is 2 s.
	ReconnectWait time.Duration
}

// Conn is a connection that comes back for ever. It is safe for concurrent use.
type Conn struct {
	nats *nats.Conn
	// jetStream is one for all streams: it has goroutines of its own, which end with the connection.
	jetStream jetstream.JetStream
	address   Address
	metrics   *metrics
	closed    chan struct{}
	set       chan struct{} // closed when nats is set: reconnecting may begin before

	watching sync.WaitGroup // what looks whether files change

	mu      sync.Mutex
	failure error // the last one, until there is a connection again or something is confirmed
	closing bool

	barrier *barrier
}

// Connect starts to connect and returns at once, whether there is a broker or not: only bad options are an error. Close it.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	c := &Conn{
		address: o.Address, metrics: newMetrics(o.Metrics), failure: errors.New("no answer yet"), barrier: newBarrier(),
		closed: make(chan struct{}), set: make(chan struct{}),
	}
	files, _ := o.Address.digest()
	conn, err := nats.Connect(o.Address.URL, append(o.nats(c), c.report(klog.FromContext(ctx), o.reconnectWait())...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to broker %s: %w", o.Address, err)
	}
	c.nats = conn
	c.jetStream, err = jetstream.New(conn, jetstream.WithPublishAsyncTimeout(confirmTimeout), jetstream.WithPublishAsyncMaxPending(mostUnacknowledged))
	if err != nil {
		return nil, err
	}
	close(c.set)
	if o.Address.hasFiles() {
		c.watching.Go(func() { c.watchFiles(klog.FromContext(ctx), o.reconnectWait(), files) })
	}
	return c, nil
}

func (o Options) reconnectWait() time.Duration {
	if o.ReconnectWait == 0 {
		return reconnectWait
	}
	return o.ReconnectWait
}

func (o Options) nats(c *Conn) []nats.Option {
	options := []nats.Option{
		nats.Name(o.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a token that is put right later must be enough
		nats.ReconnectBufSize(-1),   // a message in it would count as sent and be lost
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.FlusherTimeout(writeTimeout),
		nats.DrainTimeout(closeTimeout),
		nats.WriteBufferSize(writeBuffer),
		nats.SetCustomDialer(dialer{}),
	}
	options = append(options, o.Address.login(c)...)
	if o.Address.CAFile != "" {
		options = append(options, nats.ClientTLSConfig(nil, o.Address.authority))
	}
	return options
}

// report logs what becomes of the connection and keeps the reason while there is none.
func (c *Conn) report(logger klog.Logger, wait time.Duration) []nats.Option {
	logger = klog.LoggerWithValues(logger, "url", c.address.URL)
	var met atomic.Bool // until then nats.go calls no handler for what a server answers
	connected := func(message string) nats.ConnHandler {
		return func(*nats.Conn) {
			met.Store(true)
			c.setFailure(nil)
			c.metrics.connected.Set(1)
			logger.Info(message)
		}
	}
	unreachable := func(err error) {
		if c.setFailure(reason(err, "no connection")) {
			logger.Info("Broker cannot be reached, will keep trying", "reason", err.Error())
		} else {
			logger.V(4).Info("Broker still cannot be reached", "reason", err.Error())
		}
	}
	return []nats.Option{
		nats.ConnectHandler(connected("Connected to broker")),
		nats.ReconnectHandler(connected("Connected to broker again")),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.metrics.connected.Set(0)
			if c.isClosing() {
				return
			}
			c.metrics.disconnects.Inc()
			c.setFailure(reason(err, "disconnected"))
			logger.Info("Disconnected from broker, will reconnect", "reason", reason(err, "disconnected").Error())
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { unreachable(err) }),
		nats.CustomReconnectDelay(func(int) time.Duration {
			<-c.set
			if err := c.nats.LastError(); err != nil && (!met.Load() || withoutHandler(err)) {
				unreachable(err)
			}
			return wait + rand.N(reconnectJitter) //nolint:gosec // keeps agents apart; no secret
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.metrics.errors.Inc()
			if c.setFailure(err) {
				logger.Error(err, "Broker reports an error")
			} else {
				logger.V(4).Info("Broker still reports an error", "reason", err.Error())
			}
		}),
		nats.ClosedHandler(func(*nats.Conn) {
			c.metrics.connected.Set(0)
			logger.Info("Connection to broker closed")
			close(c.closed)
		}),
	}
}

func reason(err error, otherwise string) error {
	if err == nil {
		return errors.New(otherwise)
	}
	return err
}

// setFailure reports whether the failure is another one than before.
func (c *Conn) setFailure(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := c.failure == nil || err == nil || c.failure.Error() != err.Error()
	c.failure = err
	return changed
}

func (c *Conn) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// Ready returns nil while there is a connection, and otherwise why there is none.
func (c *Conn) Ready() error {
	if c.nats.IsConnected() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("not connected to broker %s: %w", c.address, reason(c.failure, "connecting"))
}

// WaitConnected returns when there is a connection, or with an error when ctx ends or the connection was closed.
func (c *Conn) WaitConnected(ctx context.Context) error {
	if c.nats.IsConnected() {
		return nil
	}
	changed := c.nats.StatusChanged(nats.CONNECTED)
	defer c.nats.RemoveStatusListener(changed)
	if c.nats.IsConnected() { // meanwhile
		return nil
	}
	select {
	case <-changed:
		return nil
	case <-c.closed:
		return nats.ErrConnectionClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Connected waits for a connection and returns a context that ends with it, or with ctx.
func (c *Conn) Connected(ctx context.Context) (context.Context, error) {
	broken := c.nats.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	if err := c.WaitConnected(ctx); err != nil {
		c.nats.RemoveStatusListener(broken)
		return nil, err
	}
	for len(broken) > 0 { // before that
		<-broken
	}
	connection, end := context.WithCancelCause(ctx)
	if !c.nats.IsConnected() {
		end(errDisconnected)
	}
	go func() {
		defer c.nats.RemoveStatusListener(broken)
		select {
		case <-broken:
			end(errDisconnected)
		case <-connection.Done():
			end(nil)
		}
	}()
	return connection, nil
}

var errDisconnected = errors.New("disconnected from the broker")

// MaxPayload is the size in bytes of the largest message that the broker takes.
func (c *Conn) MaxPayload() int {
	if limit := c.nats.MaxPayload(); limit > 0 {
		return int(limit)
	}
	return defaultMaxPayload
}

// Subscribe calls handle, from one goroutine, with every message on a subject until stop is called. Members of a queue group
// share the messages; an empty queue gets all. It may be called before there is a connection.
func (c *Conn) Subscribe(subject, queue string, handle func(body []byte)) (stop func(), err error) {
	subscription, err := c.nats.QueueSubscribe(subject, queue, func(message *nats.Msg) { handle(message.Data) })
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return func() { _ = subscription.Unsubscribe() }, nil // an error means that the connection is closed, and so the subscription
}

// Close lets subscriptions finish, closes the connection and waits for it, at most a few seconds.
func (c *Conn) Close() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	if err := c.nats.Drain(); err != nil { // there is no connection
		c.nats.Close()
	}
	select {
	case <-c.closed:
	case <-time.After(closeTimeout):
		c.nats.Close()
	}
	c.watching.Wait()
}
