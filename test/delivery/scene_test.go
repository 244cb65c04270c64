package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"meshery.io/operator/test/natsserver"
)

const (
	// streams: agents keep a state stream where the broker has JetStream.
	streams = true
	// replays: agents send again on the core subject what a subscriber may have missed around a break. Without, who has missed
	// something asks.
	replays = true

	// fileStore is what the streams of one server may take.
	fileStore = 256 << 20
)

// setup says what a scene has.
type setup struct {
	servers   int // of the broker
	jetStream bool

	broker   natsserver.Cluster // that there is already, with so many servers
	meshSync string             // its name; empty for one that no other scene has
}

func (o setup) String() string {
	if o.jetStream {
		return fmt.Sprintf("servers: %d, with JetStream", o.servers)
	}
	return fmt.Sprintf("servers: %d", o.servers)
}

// scene is one agent with everything around it.
type scene struct {
	t          *testing.T
	cluster    *cluster
	setup      setup
	meshSync   string
	broker     natsserver.Cluster
	toBroker   *link // from the agent
	toAPI      *link
	fromBroker *link // to the subscriber: always in order
	agent      *agent
	subscriber *subscriber
	stream     stream // with JetStream
	churn      *churn // nil while nothing changes

	chance     *rand.Rand
	disturbed  time.Time // since when something fails; zero for not
	blind      time.Time // since when deletes may have been unseen, if no stream knows; zero for not
	streamLost bool
	lossy      bool // the broker may have lost what it had confirmed
}

// newScene prepares a scene, whose agent does not run yet.
func newScene(t *testing.T, c *cluster, o setup) *scene {
	t.Helper()
	s := &scene{t: t, cluster: c, setup: o, meshSync: o.meshSync, broker: o.broker, chance: chanceOf(seed)}
	if s.meshSync == "" {
		s.meshSync = fmt.Sprintf("m%d", rand.Uint32())
	}
	s.must(c.permit(t.Context(), kinds)) // a test that failed may have taken permissions
	s.must(c.createMeshSync(t.Context(), s.meshSync))
	t.Cleanup(func() {
		if err := c.deleteMeshSync(context.Background(), s.meshSync); err != nil {
			t.Error(err)
		}
	})
	s.toAPI = newLink(t, 0, strings.TrimPrefix(c.Server, "https://"))
	s.toBroker, s.fromBroker = newLink(t, 0), newLink(t, 1)
	if s.broker == nil {
		s.broker = natsserver.StartCluster(t, o.servers, s.options())
	}
	s.useBroker()
	s.subscriber = subscribe(t, c.id, "nats://"+s.fromBroker.addr)
	s.agent = s.newAgent("agent-0")
	s.agent.started = s.subscriber.begin
	return s
}

// useBroker lets everybody find the servers that there are now.
func (s *scene) useBroker() {
	s.t.Helper()
	s.toBroker.lead(s.broker.Addrs()...)
	s.fromBroker.lead(s.broker.Addrs()...)
	if s.setup.jetStream {
		s.stream = streamOf(s.jetStream(), s.cluster.id, s.meshSync)
	}
}

func (s *scene) keepsStream() bool { return streams && s.setup.jetStream }

func (s *scene) options() natsserver.Options {
	return natsserver.Options{JetStream: s.setup.jetStream, MaxFileStore: fileStore}
}

// newAgent prepares an agent of the same MeshSync.
func (s *scene) newAgent(name string) *agent {
	s.t.Helper()
	return newAgent(s.t, name, s.meshSync, s.cluster.kubeconfigFor(s.t, s.toAPI.addr), "nats://"+s.toBroker.addr)
}

// jetStream is the broker's, for an administrator.
func (s *scene) jetStream() jetstream.JetStream {
	s.t.Helper()
	conn, err := nats.Connect(strings.Join(s.broker.URLs(), ","), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

// begin starts the agent, and waits until everybody knows everything.
func (s *scene) begin() {
	s.t.Helper()
	s.agent.start()
	s.mustSettle()
}

// outcome is how it ended.
type outcome struct {
	verdict   verdict // of the subscriber and, with a stream, of its snapshot
	failure   error   // why one of them cannot be judged, or what the verdict says
	reordered []string
	took      time.Duration
}

func (o outcome) err() error {
	err := o.failure
	if len(o.reordered) > 0 {
		err = errors.Join(err, fmt.Errorf("%d reordered:\n  %s", len(o.reordered), strings.Join(o.reordered[:min(len(o.reordered), 10)], "\n  ")))
	}
	return err
}

// mustSettle fails the test if not everybody knows everything in the end.
func (s *scene) mustSettle() outcome {
	s.t.Helper()
	o := s.settle()
	if err := o.err(); err != nil {
		s.t.Fatal(err)
	}
	return o
}

// settle waits until everybody knows exactly what there is, once nothing fails any more and nothing is changed.
func (s *scene) settle() outcome {
	s.t.Helper()
	began := time.Now()
	s.await("the agent is ready", func(context.Context) error { return s.agent.ready() })
	// Who asks while a kind cannot be read is not told of its objects.
	s.await("the agent watches everything", func(context.Context) error { return s.agent.watches(len(kinds)) })
	s.await("the subscriber is connected", func(context.Context) error { return s.subscriber.conn.FlushTimeout(requestPatience) })
	if (s.subscriber.hasMissed() || s.lossy) && !replays {
		s.subscriber.forget()
		if err := s.subscriber.ask(); err != nil {
			s.t.Fatal(err)
		}
	}
	nobodyKnows := !s.blind.IsZero() && (!s.keepsStream() || s.streamLost)
	excused := func(of state) bool { return nobodyKnows && s.churn.removedBetween(of, s.blind, began) }
	var o outcome
	o.verdict, o.failure = s.agree(excused)
	o.took = time.Since(began)
	s.pass(afterwards)
	if o.failure == nil {
		o.verdict, o.failure = s.agree(excused)
	}
	o.reordered = s.subscriber.disorder()
	s.blind, s.disturbed, s.lossy, s.streamLost = time.Time{}, time.Time{}, false, false
	return o
}

// agreeInterval is the time between two looks at everything, which cost something.
const agreeInterval = 200 * time.Millisecond

// afterwards is how long after all is known something may still arrive that would change it.
const afterwards = time.Second

// agree polls until nothing is wrong, for a while.
func (s *scene) agree(excused func(state) bool) (v verdict, err error) {
	err = every(s.t.Context(), agreeInterval, "in the end", func(ctx context.Context) error {
		there, err := s.cluster.list(ctx)
		if err != nil {
			return err
		}
		v = compare("subscriber", there, s.subscriber.states(), excused)
		if s.keepsStream() {
			kept, err := s.stream.snapshot(ctx)
			if err != nil {
				return err
			}
			v = v.and(compare("snapshot", there, kept, none))
		}
		return v.err()
	})
	return v, err
}

func (s *scene) await(what string, try func(context.Context) error) {
	s.t.Helper()
	if err := eventually(s.t.Context(), what, try); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// pass lets time pass.
func (s *scene) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.t.Context().Done():
	}
}

// startChurn changes objects, as a chance of their own has it, until the churn is stopped.
func (s *scene) startChurn(all []place, rate int) {
	s.churn = startChurn(s.t.Context(), s.cluster, chanceOf(s.chance.Uint64()), all, rate)
	s.t.Cleanup(s.churn.stop)
}
