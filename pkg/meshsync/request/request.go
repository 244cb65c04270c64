package request

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
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
	Deliver(ctx context.Context, messages ...bus.Message) error
	MaxPayload() int
}

// Store is the state of the cluster.
type Store interface {
	// Objects calls visit with every object as it is now, in its wire form, and tries until it has, visit fails, or ctx ends: some may
	// come twice. catchUp publishes what has happened to them since. It must be called.
	Objects(ctx context.Context, visit func(object []byte) error) (catchUp func(context.Context) error, err error)
	// Resync publishes everything as ADDED, and tries until it has or ctx ends.
	Resync(ctx context.Context) error
}

// Options of a Server.
type Options struct {
	Bus     Bus
	Store   Store
	Version string // of the agent
	Metrics prometheus.Registerer
}

// Server answers requests.
type Server struct {
	bus     Bus
	store   Store
	version string
	metrics *metrics
	inbox   chan []byte
	resync  chan struct{} // holds one element when everything is to be published again
}

// New makes a server. Requests are listened to in Run.
func New(o Options) *Server {
	return &Server{
		bus: o.Bus, store: o.Store, version: o.Version, metrics: newMetrics(o.Metrics),
		inbox: make(chan []byte, maxWaiting), resync: make(chan struct{}, 1),
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
	var resyncing sync.WaitGroup
	defer resyncing.Wait()
	defer stop()
	resyncing.Go(func() { s.resyncWhenDue(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case body := <-s.inbox:
			s.handle(ctx, body)
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
	return s.bus.Deliver(ctx, bus.Message{Subject: wire.SubjectMeta, Body: body})
}

func shorten(text string) string {
	const limit = 64
	return text[:min(limit, len(text))]
}
