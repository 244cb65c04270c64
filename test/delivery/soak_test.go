package delivery

import (
	"testing"
	"time"
)

const (
	soakRate = 300
	// What an agent may grow by from the end of the warm-up to the end, of what a line through all samples says.
	mostGrowth           = 8 << 20
	mostGoroutinesGrowth = 5
)

// TestSoak changes objects for SOAK. Neither memory nor goroutines may grow.
func TestSoak(t *testing.T) {
	s := newScene(t, theCluster, setup{servers: 1, jetStream: streams})
	all := places(25)
	s.must(s.cluster.fill(t.Context(), all))
	s.begin()
	s.startChurn(all, soakRate)
	duration := durationOf(t, "SOAK", 20*time.Second)
	s.pass(duration / 4)

	const samples = 200
	var memory, goroutines line
	began := time.Now()
	for range samples {
		s.pass(duration * 3 / 4 / samples)
		at := time.Since(began).Seconds()
		resident, err := s.agent.process.Memory("VmRSS")
		if err != nil {
			t.Skip(err)
		}
		memory.add(at, float64(resident))
		goroutines.add(at, s.goroutines())
	}
	took := time.Since(began)
	s.churn.stop()
	s.mustSettle()
	t.Logf("%d changes in %s: RSS %.1f MiB on average, %+.2f MiB (%+.1f MiB/h); %.0f goroutines, %+.1f", s.churn.changes.Load(), duration,
		memory.mean()/(1<<20), memory.slope()*took.Seconds()/(1<<20), memory.slope()*3600/(1<<20), goroutines.mean(), goroutines.slope()*took.Seconds())
	if growth := memory.slope() * took.Seconds(); growth > mostGrowth && !race {
		t.Errorf("memory grew by %.1f MiB in %s", growth/(1<<20), took)
	}
	if growth := goroutines.slope() * took.Seconds(); growth > mostGoroutinesGrowth {
		t.Errorf("goroutines grew by %.1f in %s", growth, took)
	}
	s.boundMemory()
}

// line is the straight line that lies nearest to samples.
type line struct{ n, x, y, xx, xy float64 }

func (l *line) add(x, y float64) {
	l.n++
	l.x, l.y, l.xx, l.xy = l.x+x, l.y+y, l.xx+x*x, l.xy+x*y
}

func (l *line) mean() float64  { return l.y / l.n }
func (l *line) slope() float64 { return (l.n*l.xy - l.x*l.y) / (l.n*l.xx - l.x*l.x) }
