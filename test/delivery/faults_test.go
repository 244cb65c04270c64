package delivery

import (
	"context"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// fault is something that goes wrong until end is called. Those of one victim do not come together.
type fault struct {
	victim string
	name   string
	begin  func(s *scene) (end func())

	servers int  // of the broker that it needs; 0 is any
	stream  bool // it needs a state stream
	long    bool // it is noticed so late that a short round is too short for it
}

// possible tells whether there can be such a fault.
func (f fault) possible(o setup, short bool) bool {
	return (f.servers == 0 || f.servers == o.servers) && (!f.stream || streams && o.jetStream) && (!f.long || !short)
}

// faults are all that can go wrong.
func faults() []fault {
	return []fault{
		{victim: "agent", name: "agent killed", begin: agentDies},
		{victim: "agent", name: "agent restarted", begin: agentRestarts},
		{victim: "agent", name: "agent paused", begin: agentHangs},
		{victim: "broker", name: "broker killed", begin: brokerDies},
		{victim: "broker", name: "one server killed", begin: oneServerDies, servers: 3},
		{victim: "broker", name: "broker paused", begin: brokerHangs, servers: 1},
		{victim: "broker", name: "one server paused", begin: oneServerHangs, servers: 3},
		{victim: "broker", name: "broker wiped", begin: brokerForgets, stream: true},
		{victim: "broker", name: "disk full", begin: diskIsFull, stream: true},
		{victim: "stream", name: "stream purged", begin: streamIsPurged, stream: true},
		{victim: "stream", name: "stream deleted", begin: streamIsDeleted, stream: true},
		{victim: "API server", name: "API server killed", begin: apiServerDies},
		{victim: "API server", name: "API server paused", begin: apiServerHangs},
		{victim: "API server", name: "compacted (410)", begin: historyIsLost},
		{victim: "way to broker", name: "no way to broker", begin: func(s *scene) func() { return hole(s.toBroker) }},
		{victim: "way to broker", name: "slow way to broker", begin: func(s *scene) func() { return latency(s, s.toBroker) }},
		{victim: "way to broker", name: "way to broker reset", begin: func(s *scene) func() { return reset(s.toBroker) }},
		{victim: "way to broker", name: "way to broker half open", begin: func(s *scene) func() { return halfOpen(s.toBroker) }, long: true},
		{victim: "way to API server", name: "no way to API server", begin: func(s *scene) func() { return hole(s.toAPI) }},
		{victim: "way to API server", name: "slow way to API server", begin: func(s *scene) func() { return latency(s, s.toAPI) }},
		{victim: "way to API server", name: "way to API server reset", begin: func(s *scene) func() { return reset(s.toAPI) }},
		{victim: "way to API server", name: "way to API server half open", begin: func(s *scene) func() { return halfOpen(s.toAPI) }, long: true},
		{victim: "permissions", name: "permissions taken", begin: permissionsAreTaken},
		{victim: "watch-list", name: "watch-list edited", begin: watchListIsEdited},
	}
}

func over() {}

// goBlind notes that the agent forgets what it knew. Without a stream, or if that is lost as well, it never learns of what is deleted from
// now on until it has started, nor of what it was not able to tell before.
func (s *scene) goBlind() {
	const underWay = time.Second // at most, of what is told when nothing fails
	since := time.Now().Add(-underWay)
	if s.disturbed.Before(since) {
		since = s.disturbed
	}
	if s.blind.IsZero() || since.Before(s.blind) {
		s.blind = since
	}
}

func agentDies(s *scene) func() {
	s.goBlind()
	s.agent.kill()
	return s.agent.start
}

func agentRestarts(s *scene) func() {
	s.goBlind()
	s.agent.stop()
	return s.agent.start
}

func agentHangs(s *scene) func() {
	s.agent.pause()
	return s.agent.resume
}

func brokerDies(s *scene) func() {
	s.lossy = true
	s.broker.Kill()
	return func() { s.broker.Restart(s.t) }
}

func oneServerDies(s *scene) func() {
	s.lossy = true // what it had confirmed may not have reached the others
	s.broker[s.chance.IntN(len(s.broker))].Kill()
	return func() { s.broker.Restart(s.t) }
}

func brokerHangs(s *scene) func() {
	s.broker[0].Pause(s.t)
	return func() { s.broker[0].Resume(s.t) }
}

func oneServerHangs(s *scene) func() {
	s.lossy = true // the others give up its routes
	server := s.broker[s.chance.IntN(len(s.broker))]
	server.Pause(s.t)
	return func() {
		server.Resume(s.t)
		s.broker.WaitReady(s.t)
	}
}

func brokerForgets(s *scene) func() {
	s.streamLost = true
	s.lossy = true
	s.broker.Kill()
	for _, server := range s.broker {
		server.Wipe(s.t)
	}
	return func() { s.broker.Restart(s.t) }
}

// diskIsFull lets another stream take all that there is.
func diskIsFull(s *scene) func() {
	const another, piece = "another", 512 << 10
	s.await("another stream", func(ctx context.Context) error {
		_, err := s.stream.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: another, Subjects: []string{another}, Replicas: len(s.broker)})
		return err
	})
	for range fileStore/piece + 1 {
		if _, err := s.stream.js.Publish(s.t.Context(), another, make([]byte, piece)); err != nil {
			break
		}
	}
	return func() {
		s.await("room again", func(ctx context.Context) error { return s.stream.js.DeleteStream(ctx, another) })
	}
}

func streamIsPurged(s *scene) func() {
	s.streamLost = true
	s.attempt("purge the stream", func(ctx context.Context) error {
		stream, err := s.stream.js.Stream(ctx, s.stream.name)
		if err != nil {
			return err
		}
		return stream.Purge(ctx)
	})
	return over
}

func streamIsDeleted(s *scene) func() {
	s.streamLost = true
	s.attempt("delete the stream", func(ctx context.Context) error { return s.stream.js.DeleteStream(ctx, s.stream.name) })
	return over
}

func apiServerDies(s *scene) func() {
	s.must(s.cluster.signalAPIServer(syscall.SIGKILL))
	return over
}

func apiServerHangs(s *scene) func() {
	s.must(s.cluster.signalAPIServer(syscall.SIGSTOP))
	resume := func() { s.must(s.cluster.signalAPIServer(syscall.SIGCONT)) }
	s.t.Cleanup(resume) // whatever comes in between
	return resume
}

// historyIsLost lets an agent that was away come back to an API server that does not know how things were then.
func historyIsLost(s *scene) func() {
	s.toAPI.refuse()
	return func() {
		s.await("compact", s.cluster.compact)
		s.must(s.cluster.signalAPIServer(syscall.SIGKILL))
		s.await("the API server is back", func(ctx context.Context) error {
			_, err := s.cluster.list(ctx)
			return err
		})
		s.toAPI.admit()
	}
}

func hole(l *link) func() {
	l.dig()
	return l.fill
}

func latency(s *scene, l *link) func() {
	l.slow(10*time.Millisecond + time.Duration(s.chance.Int64N(int64(300*time.Millisecond))))
	return func() { l.slow(0) }
}

// reset breaks all connections when a lot is on its way, which is lost.
func reset(l *link) func() {
	l.dig()
	return func() {
		l.reset()
		l.fill()
	}
}

func halfOpen(l *link) func() {
	l.orphan()
	return over
}

// permissionsAreTaken lets the agent not read some kinds.
func permissionsAreTaken(s *scene) func() {
	s.attempt("take permissions", func(ctx context.Context) error { return s.cluster.permit(ctx, some(s.chance)) })
	s.toAPI.reset()
	return func() {
		s.attempt("give permissions back", func(ctx context.Context) error { return s.cluster.permit(ctx, kinds) })
	}
}

// watchListIsEdited lets the agent not watch some kinds.
func watchListIsEdited(s *scene) func() {
	s.attempt("edit the watch-list", func(ctx context.Context) error { return s.cluster.watch(ctx, s.meshSync, some(s.chance)) })
	return func() {
		s.attempt("edit the watch-list back", func(ctx context.Context) error { return s.cluster.watch(ctx, s.meshSync, kinds) })
	}
}

// restore puts right what could not be while something else was out of order.
func (s *scene) restore() {
	s.await("give permissions back", func(ctx context.Context) error { return s.cluster.permit(ctx, kinds) })
	s.await("edit the watch-list back", func(ctx context.Context) error { return s.cluster.watch(ctx, s.meshSync, kinds) })
}

// attempt does something now, if that is possible: other faults may be there, and wait for their end.
func (s *scene) attempt(what string, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), requestPatience)
	defer cancel()
	if err := do(ctx); err != nil {
		s.t.Logf("%s: not now: %v", what, err)
	}
}

// some kinds, not all.
func some(chance *rand.Rand) []kind {
	shuffled := slices.Clone(kinds)
	chance.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	return shuffled[:len(kinds)/2+chance.IntN(len(kinds)/2)]
}
