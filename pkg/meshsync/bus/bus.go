package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"
)

const (
	reconnectWait   = 2 * time.Second
	reconnectJitter = 500 * time.Millisecond
	// A broken network is noticed after pingInterval * (maxPings + 1).
	pingInterval = 10 * time.Second
	maxPings     = 2
	// writeTimeout frees a sender that is stuck in a network that swallows everything; confirmTimeout is how long the broker
	// may take to confirm what was sent.
	writeTimeout   = 10 * time.Second
	confirmTimeout = 10 * time.Second
	closeTimeout   = 5 * time.Second
	// writeBuffer is how much of a batch is written at a time.
	writeBuffer = 256 << 10

	// defaultMaxPayload is the broker's own default. It is used until the broker has said otherwise.
	defaultMaxPayload = 1 << 20
)

// ErrNotConfirmed is returned by Send when the broker may or may not have the messages.
var ErrNotConfirmed = errors.New("not confirmed by the broker")

// Options of a connection.
type Options struct {
	Address Address
	Name    string // of the client, as the broker shows it
	Metrics prometheus.Registerer

	// ReconnectWait is the pause between two attempts to connect. 0 is 2 s.
	ReconnectWait time.Duration
}

// Message is bytes for a subject, and headers, which a broker without headers is not sent.
type Message struct {
	Subject string
	Header  map[string]string
	Body    []byte
}

// Conn is a connection that comes back for ever. It is safe for concurrent use.
type Conn struct {
	nats    *nats.Conn
	address Address
	metrics *metrics
	closed  chan struct{}
	set     chan struct{} // closed when nats is set: reconnecting may begin before

	mu      sync.Mutex
	failure error // the last one, until there is a connection again or something is confirmed
	closing bool
}

// Connect starts to connect and returns at once, whether there is a broker or not: only bad options are an error. Close it.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	c := &Conn{address: o.Address, metrics: newMetrics(o.Metrics), closed: make(chan struct{}), set: make(chan struct{}), failure: errors.New("no answer yet")}
	conn, err := nats.Connect(o.Address.URL, append(o.nats(), c.report(klog.FromContext(ctx), o.reconnectWait())...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to broker %s: %w", o.Address, err)
	}
	c.nats = conn
	close(c.set)
	return c, nil
}

func (o Options) reconnectWait() time.Duration {
	if o.ReconnectWait == 0 {
		return reconnectWait
	}
	return o.ReconnectWait
}

func (o Options) nats() []nats.Option {
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
	}
	switch {
	case o.Address.User != "":
		options = append(options, nats.UserInfo(o.Address.User, o.Address.Password))
	case o.Address.Token != "":
		options = append(options, nats.Token(o.Address.Token))
	}
	if o.Address.CAFile != "" {
		options = append(options, nats.ClientTLSConfig(nil, o.Address.authority))
	}
	return options
}

// report logs what becomes of the connection and keeps the reason while there is none.
func (c *Conn) report(logger klog.Logger, wait time.Duration) []nats.Option {
	logger = klog.LoggerWithValues(logger, "url", c.address.URL)
	connected := func(message string) nats.ConnHandler {
		return func(*nats.Conn) {
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
			if err := c.nats.LastError(); withoutHandler(err) {
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

// MaxPayload is the size in bytes of the largest message that the broker takes.
func (c *Conn) MaxPayload() int {
	if limit := c.nats.MaxPayload(); limit > 0 {
		return int(limit)
	}
	return defaultMaxPayload
}

// Send sends messages in their order and waits until the broker has handled them all. After an error any number of them may have
// arrived: send all of them again.
//
// The confirmation is a PING answered by a PONG, which the server handles in order with the messages before it. It counts only
// when the connection is the one that the messages were written to: what a broken connection had buffered is gone. And it counts
// only when the server has reported no error in between: a message that this client may not publish is an error of the connection.
// The error comes before the PONG and is the connection's last one when that arrives; error handlers may run later.
func (c *Conn) Send(ctx context.Context, messages ...Message) error {
	if err := c.Ready(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()

	reconnects, failure := c.nats.Stats().Reconnects, c.nats.LastError()
	size := 0
	for _, message := range messages {
		if err := c.publish(message); err != nil {
			return fmt.Errorf("publish %d bytes on %s: %w", len(message.Body), message.Subject, err)
		}
		size += len(message.Body)
	}
	if err := c.nats.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrNotConfirmed, err)
	}
	if c.nats.Stats().Reconnects != reconnects {
		return fmt.Errorf("%w: reconnected in between", ErrNotConfirmed)
	}
	if err := c.nats.LastError(); err != nil && err != failure { //nolint:errorlint // the same text again is another value
		return fmt.Errorf("%w: %w", ErrNotConfirmed, err)
	}
	c.setFailure(nil)
	c.metrics.messages.Add(float64(len(messages)))
	c.metrics.bytes.Add(float64(size))
	return nil
}

// publish writes a message. Hardly any has headers.
func (c *Conn) publish(message Message) error {
	if len(message.Header) == 0 || !c.nats.HeadersSupported() {
		return c.nats.Publish(message.Subject, message.Body)
	}
	msg := &nats.Msg{Subject: message.Subject, Data: message.Body, Header: nats.Header{}}
	for name, value := range message.Header {
		msg.Header.Set(name, value)
	}
	return c.nats.PublishMsg(msg)
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
}
