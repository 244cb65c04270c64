package delivery

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"meshery.io/operator/test/natsserver"
)

func needsStreams(t *testing.T) {
	t.Helper()
	if !streams {
		t.Skip("agents keep no state stream yet")
	}
}

// TestARestartTellsTheDifference deletes a thousand objects and changes as many while there is no agent.
func TestARestartTellsTheDifference(t *testing.T) {
	needsStreams(t)
	s := newScene(t, theCluster, setup{servers: 1, jetStream: true})
	var gone, changed []place
	for n, p := range places(100) {
		if n%100 < 50 {
			gone = append(gone, p)
		} else {
			changed = append(changed, p)
		}
	}
	t.Cleanup(func() {
		if err := forEach(context.Background(), changed, func(ctx context.Context, p place) error { return s.cluster.remove(ctx, p.kind, p.namespace, p.name) }); err != nil {
			t.Error(err)
		}
	})
	s.must(s.cluster.fill(t.Context(), append(gone, changed...)))
	s.begin()
	s.agent.stop()
	before := s.subscriber.messages()
	s.must(forEach(t.Context(), gone, func(ctx context.Context, p place) error { return s.cluster.remove(ctx, p.kind, p.namespace, p.name) }))
	s.must(forEach(t.Context(), changed, func(ctx context.Context, p place) error { return s.cluster.patch(ctx, p.path(), p.patch(1)) }))
	s.still()

	began := time.Now()
	s.begin()
	t.Logf("all is known %.1f s after the start", time.Since(began).Seconds())
	want := maps.Clone(before)
	want["DELETED"] += len(gone)
	want["MODIFIED"] += len(changed)
	if have := s.subscriber.messages(); !maps.Equal(have, want) {
		t.Errorf("messages are %v, want %v, before the restart %v", have, want, before)
	}

	s.agent.stop()
	s.begin()
	if have := s.subscriber.messages(); !maps.Equal(have, want) {
		t.Errorf("after a restart with nothing changed messages are %v, before %v", have, want)
	}
}

// still waits until no controller changes anything any more.
func (s *scene) still() {
	s.t.Helper()
	var before states
	s.await("nothing changes", func(ctx context.Context) error {
		s.pass(time.Second)
		now, err := s.cluster.list(ctx)
		if err == nil && !maps.Equal(now, before) {
			err = fmt.Errorf("%d objects, before %d", len(now), len(before))
		}
		before = now
		return err
	})
}

// TestTwoClustersNeverMix lets agents of two clusters, for MeshSyncs of the same name, use one broker.
func TestTwoClustersNeverMix(t *testing.T) {
	needsStreams(t)
	second, err := startCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := second.Stop(); err != nil {
			t.Error(err)
		}
	})
	broker := natsserver.StartCluster(t, 1, natsserver.Options{JetStream: true})
	var scenes []*scene
	for _, c := range []*cluster{theCluster, second} {
		s := newScene(t, c, setup{servers: 1, jetStream: true, broker: broker, meshSync: "same"})
		s.must(c.fill(t.Context(), places(4)))
		s.begin()
		s.startChurn(places(8), 50)
		scenes = append(scenes, s)
	}
	scenes[0].pass(3 * time.Second)
	for _, s := range scenes {
		s.churn.stop()
		s.mustSettle()
		if s.subscriber.aboutOthers() == 0 {
			t.Error("the subscriber heard nothing of the other cluster: this test proves nothing")
		}
	}
}

// TestABrokerThatGrowsAndShrinks replaces a server by three that have nothing, and these by one, while objects change.
func TestABrokerThatGrowsAndShrinks(t *testing.T) {
	needsStreams(t)
	s := newScene(t, theCluster, setup{servers: 1, jetStream: true})
	s.must(s.cluster.fill(t.Context(), places(4)))
	s.begin()
	s.startChurn(places(8), 100)
	for _, servers := range []int{3, 1} {
		s.pass(time.Second)
		s.broker.Kill()
		s.lossy = true
		s.broker = natsserver.StartCluster(t, servers, s.options())
		s.useBroker()
		s.pass(2 * time.Second)
	}
	s.churn.stop()
	t.Logf("all is known %.1f s after the last change", s.mustSettle().took.Seconds())
}

// TestAFullBrokerKeepsCoreGoing lets the broker have no room for records while objects change.
func TestAFullBrokerKeepsCoreGoing(t *testing.T) {
	needsStreams(t)
	s := newScene(t, theCluster, setup{servers: 1, jetStream: true})
	s.must(s.cluster.fill(t.Context(), places(4)))
	s.begin()
	end := diskIsFull(s)
	s.startChurn(places(8), 100)
	s.pass(3 * time.Second)
	s.churn.stop()
	s.await("the subscriber knows everything meanwhile", func(ctx context.Context) error {
		there, err := s.cluster.list(ctx)
		if err != nil {
			return err
		}
		return compare("subscriber", there, s.subscriber.states(), none).err()
	})
	end()
	t.Logf("the stream has everything %.1f s after there is room", s.mustSettle().took.Seconds())
}
