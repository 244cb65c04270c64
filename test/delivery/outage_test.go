package delivery

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

// TestABrokerThatIsAwayForLong changes objects 200 times a second while the broker is away, for OUTAGE.
func TestABrokerThatIsAwayForLong(t *testing.T) {
	s := newScene(t, theCluster, setup{servers: 1, jetStream: streams})
	s.must(s.cluster.fill(t.Context(), places(10)))
	s.begin()
	before := s.agent.peakMemory()
	s.startChurn(places(50), 200)
	end := brokerDies(s)
	s.pass(durationOf(t, "OUTAGE", 10*time.Second))
	objects, _ := s.agent.metric("meshery_meshsync_pending_objects ")
	bytes, _ := s.agent.metric("meshery_meshsync_pending_bytes ")
	s.churn.stop()
	end()
	o := s.mustSettle()
	t.Logf("%d changes; owed at the end of the outage: %.0f objects, %.1f MiB; peak RSS %.1f MiB, %.1f before; all is known %.1f s after the broker is back",
		s.churn.changes.Load(), objects, bytes/(1<<20), mib(s.agent.peakMemory()), mib(before), o.took.Seconds())
	s.boundMemory()
}

// durationOf reads a duration from the environment.
func durationOf(t *testing.T, name string, otherwise time.Duration) time.Duration {
	t.Helper()
	duration, err := time.ParseDuration(fromEnvironment(name, otherwise.String()))
	if err != nil {
		t.Fatalf("%s=%q: %v", name, os.Getenv(name), err)
	}
	return duration
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// boundMemory complains if the agent took too much.
func (s *scene) boundMemory() {
	s.t.Helper()
	if peak := s.agent.peakMemory(); peak > mostMemory && !race {
		s.t.Errorf("the agent took %.1f MiB, more than %d", mib(peak), mostMemory>>20)
	}
}

// TestFaultOfANetworkThatDeliversLate lets what an agent has given up arrive after what it has said since.
func TestFaultOfANetworkThatDeliversLate(t *testing.T) {
	if short {
		t.Skip("an agent gives up a silent connection after half a minute; make faults runs this")
	}
	s := newScene(t, theCluster, setup{servers: 1, jetStream: streams})
	s.must(s.cluster.fill(t.Context(), places(4)))
	s.begin()
	s.startChurn(places(8), 100)
	s.toBroker.dig()
	s.await("the agent gives up", func(context.Context) error {
		n, err := s.agent.metric("meshery_meshsync_broker_disconnects_total ")
		if err == nil && n == 0 {
			err = errors.New("not yet")
		}
		return err
	})
	s.toBroker.fill()
	s.pass(2 * late)
	s.churn.stop()
	s.mustSettle()
}
