package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"k8s.io/klog/v2"
)

const (
	// openTimeout is how long a broker may take to make a stream, or to change one.
	openTimeout = 10 * time.Second
	// readPatience is how long a broker may pause while it sends what a stream holds.
	readPatience = 10 * time.Second
	// readHeartbeat is how often it says then that it is still there. Without, it is asked again: in a cluster a request may come before who
	// is to answer it is ready.
	readHeartbeat = time.Second
	// readBatch is how many records it sends at a time.
	readBatch = 1000
	// mostUnacknowledged is more than who sends lets be in flight.
	mostUnacknowledged = 4096

	epochKey = "meshery.io/epoch"
)

// ErrNoStreams is returned by OpenStream when the broker offers none: there is nothing to wait for.
var ErrNoStreams = errors.New("the broker offers no JetStream")

// StreamOptions say which stream it is and how it is to be.
type StreamOptions struct {
	Name string
	// Stored is where the records are, with a dot at its end.
	Stored string
	// Published makes of an epoch where they are published to. Every opening is an epoch of its own: who opened the stream earlier finds
	// nobody there any more who would store what it sends.
	Published   func(epoch uint64) string
	Description string
	Replicas    int   // 0 is as many as there are, or 1
	MaxBytes    int64 // 0 is as much as the broker lets it have
}

// Stream is a stream that keeps the last record of every subject, and the connection's way to it.
type Stream struct {
	conn      *Conn
	jetStream jetstream.JetStream
	stream    jetstream.Stream
	stored    string
	published string
	epoch     string
	lost      chan struct{}
}

// OpenStream makes the stream as it is to be, with all that is in it, and takes it over: of what others send to it from before, nothing
// is stored from now on. The error is ErrNoStreams if there is no use in trying again on this connection.
func (c *Conn) OpenStream(ctx context.Context, o StreamOptions) (*Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	js := c.jetStream
	config, err := o.next(ctx, js)
	if err != nil {
		return nil, notOffered(err)
	}
	stream, err := js.CreateOrUpdateStream(ctx, config)
	if errors.Is(err, errNoRoom) && config.MaxBytes > 0 {
		klog.FromContext(ctx).Info("The broker cannot promise the state stream its size, it gets what there is", "stream", o.Name, "bytes", config.MaxBytes)
		config.MaxBytes = -1
		stream, err = js.CreateOrUpdateStream(ctx, config)
	}
	if err != nil {
		return nil, notOffered(err)
	}
	return &Stream{
		conn: c, jetStream: js, stream: stream, stored: o.Stored, published: config.SubjectTransform.Source[:len(config.SubjectTransform.Source)-1],
		epoch: config.Metadata[epochKey], lost: make(chan struct{}, 1),
	}, nil
}

// next is the configuration of the next epoch.
func (o StreamOptions) next(ctx context.Context, js jetstream.JetStream) (jetstream.StreamConfig, error) {
	// By the clock, so that a stream that was deleted does not begin anew.
	epoch, replicas := uint64(time.Now().UnixMilli()), max(o.Replicas, 1)
	stream, err := js.Stream(ctx, o.Name)
	switch {
	case err == nil:
		config := stream.CachedInfo().Config
		before, _ := strconv.ParseUint(config.Metadata[epochKey], 10, 64) // 0 if somebody else has made it
		epoch = max(epoch, before+1)
		if o.Replicas == 0 {
			replicas = config.Replicas
		}
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return jetstream.StreamConfig{}, err
	}
	published := o.Published(epoch) + ">"
	maxBytes := o.MaxBytes
	if maxBytes == 0 {
		maxBytes = -1
	}
	return jetstream.StreamConfig{
		Name:              o.Name,
		Description:       o.Description,
		Subjects:          []string{published},
		SubjectTransform:  &jetstream.SubjectTransformConfig{Source: published, Destination: o.Stored + ">"},
		MaxMsgsPerSubject: 1,
		MaxBytes:          maxBytes,
		Discard:           jetstream.DiscardNew, // what is refused is owed; what is discarded is lost
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		AllowDirect:       true,
		AllowMsgTTL:       true,
		Metadata:          map[string]string{epochKey: strconv.FormatUint(epoch, 10)},
	}, nil
}

// errNoRoom is what a server answers that cannot set so much aside for a stream.
var errNoRoom = &jetstream.APIError{ErrorCode: 10047}

// notOffered tells a broker that has no JetStream from one that cannot use it right now.
func notOffered(err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return fmt.Errorf("%w: %w", ErrNoStreams, err)
	}
	return fmt.Errorf("open the state stream: %w", err)
}

// Epoch tells this opening of the stream from others.
func (s *Stream) Epoch() string { return s.epoch }

// Lost holds one element when something sent to the stream has found nobody there: it was deleted, or somebody else has opened it.
func (s *Stream) Lost() <-chan struct{} { return s.lost }

// KeepsRecords tells that records are kept.
func (s *Stream) KeepsRecords() bool { return true }

// MaxPayload is the size in bytes of the largest message that the broker takes.
func (s *Stream) MaxPayload() int { return s.conn.MaxPayload() - RecordRoom }

// RecordRoom is what the headers of a record may take: they count as payload.
const RecordRoom = 2 << 10

// Send writes messages to their subjects, each followed by its record if it has one, in order, and returns at once. The server handles what
// comes over one connection in order, so that the acknowledgement of a record is one of the message before it.
func (s *Stream) Send(_ context.Context, messages ...Message) (Receipt, error) {
	written, err := s.conn.begin(len(messages))
	if err != nil {
		return nil, err
	}
	receipt := &kept{sent: written, stream: s, acks: make([]jetstream.PubAckFuture, len(messages))}
	for i, message := range messages {
		if err := s.conn.tell(&message); err != nil {
			return nil, err
		}
		written.bytes += len(message.Body)
		if message.Record == nil {
			receipt.unrecorded = true
		} else if receipt.acks[i], err = s.keep(&message); err != nil {
			return nil, err
		}
	}
	if receipt.unrecorded {
		s.conn.barrier.add(written)
	}
	return receipt, nil
}

// keep publishes the record of a message.
func (s *Stream) keep(message *Message) (jetstream.PubAckFuture, error) {
	body := message.Record.Body
	if body == nil {
		body = message.Body
	}
	ack, err := s.jetStream.PublishMsgAsync(&nats.Msg{Subject: s.published + message.Record.Subject, Header: message.Record.Header, Data: body})
	if err != nil {
		return nil, fmt.Errorf("publish the record %s: %w", message.Record.Subject, err)
	}
	return ack, nil
}

// kept is the receipt for messages and their records.
type kept struct {
	*sent
	stream     *Stream
	acks       []jetstream.PubAckFuture // nil for a message without a record
	unrecorded bool                     // there is one
}

// Wait implements Receipt.
func (k *kept) Wait(ctx context.Context) []error {
	errs, failed := make([]error, len(k.acks)), 0
	for i, ack := range k.acks {
		if ack == nil {
			continue
		}
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			errs[i] = k.stream.failure(err)
			failed++
		case <-ctx.Done():
			return k.all(fmt.Errorf("%w: %w", ErrNotConfirmed, context.Cause(ctx)))
		}
	}
	err := k.unbroken()
	if err == nil && k.unrecorded {
		err = k.conn.barrier.wait(ctx, k.sent)
	}
	if err != nil {
		return k.all(fmt.Errorf("%w: %w", ErrNotConfirmed, err))
	}
	k.conn.confirmed(len(errs)-failed, k.bytes)
	if failed == 0 {
		return nil
	}
	return errs
}

// failure tells what the stream has refused, and so what its subject has had, from what nobody knows of.
func (s *Stream) failure(err error) error {
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		select {
		case s.lost <- struct{}{}:
		default:
		}
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if _, ok := errors.AsType[*jetstream.APIError](err); ok {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", ErrNotConfirmed, err)
}

// Records calls visit with the subject, below the prefix, and the headers of every record, in the order in which they were stored. After
// an error visit was called for some of them.
func (s *Stream) Records(ctx context.Context, visit func(subject string, header map[string][]string)) error {
	consumer, err := s.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{s.stored + ">"}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, HeadersOnly: true, InactiveThreshold: 2 * readPatience,
	})
	if err != nil {
		return fmt.Errorf("read the state stream: %w", err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("read the state stream: %w", err)
	}
	defer func() { // it would go by itself later
		_ = s.stream.DeleteConsumer(context.WithoutCancel(ctx), consumer.CachedInfo().Name)
	}()
	left := info.NumPending
	if left == 0 {
		return nil
	}
	records, err := consumer.Messages(jetstream.PullMaxMessages(readBatch), jetstream.PullHeartbeat(readHeartbeat))
	if err != nil {
		return fmt.Errorf("read the state stream: %w", err)
	}
	defer records.Stop()
	for left > 0 {
		record, err := records.Next(jetstream.NextMaxWait(readPatience))
		if err != nil {
			return fmt.Errorf("read the state stream, %d records before its end: %w", left, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		metadata, err := record.Metadata()
		if err != nil {
			return fmt.Errorf("read the state stream: %w", err)
		}
		left = metadata.NumPending
		visit(record.Subject()[len(s.stored):], record.Headers())
	}
	return nil
}
