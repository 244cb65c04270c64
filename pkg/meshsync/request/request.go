package request

import (
	"context"
	"encoding/json"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

// maxWaiting is how many requests may wait for the one that is being handled. More are dropped: whoever asks that often will ask
// again.
const maxWaiting = 64

// Bus is what requests need of the connection to the broker.
type Bus interface {
	Subscribe(subject, queue string, handle func(body []byte)) (stop func(), err error)
	Send(ctx context.Context, messages ...bus.Message) error
	MaxPayload() int
}

// Store is the state of the cluster as it was seen.
type Store interface {
	// Snapshot returns the current objects, and a function that publishes what has happened to them since.
	Snapshot() (objects []*unstructured.Unstructured, catchUp func())
	// Resync publishes everything as ADDED.
	Resync()
}

// Encoder writes an object for a reply.
type Encoder interface {
	EncodeObject(obj *unstructured.Unstructured) (json.RawMessage, error)
}

// Options of a Server.
type Options struct {
	Bus     Bus
	Store   Store
	Encoder Encoder
	Version string // of the agent
	Metrics prometheus.Registerer
}

// Server answers requests.
type Server struct {
	bus     Bus
	store   Store
	encoder Encoder
	version string
	metrics *metrics
	inbox   chan []byte

	// The rest belongs to the goroutine of Run.
	resync    *time.Timer
	resyncDue bool // the timer is running
}

// New makes a server. Requests are listened to in Run.
func New(o Options) *Server {
	resync := time.NewTimer(0)
	resync.Stop()
	return &Server{
		bus: o.Bus, store: o.Store, encoder: o.Encoder, version: o.Version, metrics: newMetrics(o.Metrics),
		inbox: make(chan []byte, maxWaiting), resync: resync,
	}
}

// handlers is what can be asked for.
func (s *Server) handlers() map[string]func(ctx context.Context, payload json.RawMessage) error {
	return map[string]func(context.Context, json.RawMessage) error{
		wire.EntityStore:  s.sendStore,
		wire.EntityResync: s.scheduleResync,
		wire.EntityMeta:   s.sendMeta,
	}
}

// Run listens and answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	stop, err := s.bus.Subscribe(wire.SubjectRequest, wire.RequestQueue, func(body []byte) { s.receive(ctx, body) })
	if err != nil {
		return err
	}
	defer stop()
	defer s.resync.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case body := <-s.inbox:
			s.handle(ctx, body)
		case <-s.resync.C:
			s.resyncDue = false
			klog.FromContext(ctx).Info("Publishing everything again")
			s.store.Resync()
		}
	}
}

func (s *Server) receive(ctx context.Context, body []byte) {
	select {
	case s.inbox <- body:
	default:
		s.metrics.count("", resultDropped)
		klog.FromContext(ctx).Info("Request dropped, too many are waiting", "waiting", maxWaiting)
	}
}

func (s *Server) handle(ctx context.Context, body []byte) {
	logger := klog.FromContext(ctx)
	request, err := wire.DecodeRequest(body)
	if err != nil {
		s.metrics.count("", resultMalformed)
		logger.Info("Malformed request ignored", "bytes", len(body), "reason", err.Error())
		return
	}
	handler, ok := s.handlers()[request.Entity]
	if !ok {
		s.metrics.count("", resultUnknown) // the name is anybody's choice and must not become a label
		logger.Info("Unknown request ignored", "entity", shorten(request.Entity))
		return
	}
	logger.V(2).Info("Request", "entity", request.Entity)
	if err := handler(ctx, request.Payload); err != nil {
		s.metrics.count(request.Entity, resultFailed)
		logger.Error(err, "Request cannot be answered", "entity", request.Entity)
		return
	}
	s.metrics.count(request.Entity, resultAnswered)
}

func (s *Server) sendMeta(ctx context.Context, _ json.RawMessage) error {
	body, err := wire.EncodeMeta(s.version)
	if err != nil {
		return err
	}
	return s.bus.Send(ctx, bus.Message{Subject: wire.SubjectMeta, Body: body})
}

func shorten(text string) string {
	const limit = 64
	return text[:min(limit, len(text))]
}
