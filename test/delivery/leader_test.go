package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"meshery.io/operator/pkg/meshsync/wire"
)

// TestALeaderThatWasPausedStoresNothing pauses one of two agents while it publishes, and lets it go on when the other has taken over.
func TestALeaderThatWasPausedStoresNothing(t *testing.T) {
	needsStreams(t)
	s := newScene(t, theCluster, setup{servers: 1, jetStream: true})
	s.must(s.cluster.fill(t.Context(), places(4)))
	s.begin()
	old := s.agent
	standby := s.newAgent("agent-1")
	standby.start()
	s.await("the standby watches everything", func(context.Context) error { return standby.watches(len(kinds)) })
	s.startChurn(places(8), 100)
	s.pass(time.Second)

	before, err := s.epochs(t.Context())
	s.must(err)
	old.pause()
	paused := time.Now()
	s.await("the standby leads", func(ctx context.Context) error {
		holder, err := s.leader(ctx)
		if err == nil && !strings.HasPrefix(holder, "agent-1") {
			err = fmt.Errorf("%s leads", holder)
		}
		return err
	})
	s.await("the new leader stores", func(ctx context.Context) error {
		now, err := s.epochs(ctx)
		for epoch := range before {
			delete(now, epoch)
		}
		if err == nil && len(now) == 0 {
			err = errors.New("nothing yet")
		}
		return err
	})
	t.Logf("taken over after %s", time.Since(paused).Round(100*time.Millisecond))

	stored := s.follow()
	s.agent = standby
	s.subscriber.begin()
	old.resume()
	s.pass(3 * time.Second)
	s.churn.stop()
	o := s.settle()
	if o.failure != nil {
		t.Error(o.failure)
	}
	t.Logf("said by the old leader on the core subject, where nothing keeps it from that: %d versions that were older than the newest", len(o.reordered))
	for epoch, n := range stored() {
		if before[epoch] {
			t.Errorf("%d records of a leader from before were stored", n)
		}
	}
}

// leader is who holds the Lease of the MeshSync.
func (s *scene) leader(ctx context.Context) (string, error) {
	var lease struct {
		Spec struct{ HolderIdentity string }
	}
	err := s.cluster.get(ctx, "/apis/coordination.k8s.io/v1/namespaces/"+namespaces[0]+"/leases/"+s.meshSync, &lease)
	return lease.Spec.HolderIdentity, err
}

// epochOf is in which epoch a record was stored.
func epochOf(record jetstream.Msg) string { return record.Headers().Get(wire.HeaderEpoch) }

// epochs are those in which what the stream has now was stored.
func (s *scene) epochs(ctx context.Context) (map[string]bool, error) {
	epochs := map[string]bool{}
	err := s.stream.read(ctx, func(record jetstream.Msg) error {
		epochs[epochOf(record)] = true
		return nil
	})
	return epochs, err
}

// follow counts what is stored from now on, by epoch.
func (s *scene) follow() (stored func() map[string]int) {
	s.t.Helper()
	from, err := s.stream.js.OrderedConsumer(s.t.Context(), s.stream.name, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	s.must(err)
	var mu sync.Mutex
	byEpoch := map[string]int{}
	following, err := from.Consume(func(record jetstream.Msg) {
		mu.Lock()
		defer mu.Unlock()
		byEpoch[epochOf(record)]++
	})
	s.must(err)
	s.t.Cleanup(following.Stop)
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		s.t.Logf("records by epoch: %v", slices.Collect(maps.Values(byEpoch)))
		return maps.Clone(byEpoch)
	}
}
