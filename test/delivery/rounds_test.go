package delivery

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

const (
	// mostMemory is what an agent may take at most here.
	mostMemory = 128 << 20
	// moreGoroutines than after the start may run in the end: connections differ.
	moreGoroutines = 10
)

// TestFaults lets several things go wrong at a time while objects change, as the seed has it. In the end everybody must know exactly
// what there is. Round n has the seed plus n, so that one round can be repeated alone.
func TestFaults(t *testing.T) {
	var rows []row
	for n := range rounds {
		r := row{result: "ok"}
		if !t.Run(fmt.Sprint("round ", n+1), func(t *testing.T) { playRound(t, seed+uint64(n), &r) }) {
			r.result = "FAILED"
		}
		if r.faults != nil { // it was not left out by -run
			rows = append(rows, r)
		}
	}
	t.Log("\n" + table(rows))
}

// row is what is known of a round.
type row struct {
	result     string
	seed       uint64
	faults     []string
	changes    int64
	messages   int
	outcome    outcome
	memory     int64
	goroutines float64
}

func table(rows []row) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "round\tseed\tresult\tchanges\tmessages\tlost\tstale\tghosts\texcused\treordered\tpeak RSS\tgoroutines\tconverged\tfaults")
	for n, r := range rows {
		v := r.outcome.verdict
		fmt.Fprintf(w, "%d\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f MiB\t%.0f\t%.1f s\t%s\n", n+1, r.seed, r.result, r.changes, r.messages, len(v.lost), len(v.stale), len(v.ghosts),
			v.excused, len(r.outcome.reordered), mib(r.memory), r.goroutines, r.outcome.took.Seconds(), strings.Join(r.faults, "; "))
	}
	_ = w.Flush()
	return text.String()
}

func playRound(t *testing.T, seed uint64, r *row) {
	chance := chanceOf(seed)
	o := setup{servers: 1 + 2*chance.IntN(2), jetStream: streams && chance.IntN(4) > 0}
	r.seed, r.faults = seed, []string{o.String()}
	s := newScene(t, theCluster, o)
	s.chance = chance
	s.must(s.cluster.fill(t.Context(), places(4)))
	s.begin()
	baseline := s.goroutines()
	before := s.subscriber.messages()

	s.startChurn(places(8), 50+chance.IntN(150))
	plan := plan(chance, o)
	for _, p := range plan {
		r.faults = append(r.faults, p.String())
	}
	t.Logf("seed %d: %s", seed, strings.Join(r.faults, "; "))
	s.play(plan)
	s.churn.stop()

	r.outcome = s.settle()
	r.changes, r.memory = s.churn.changes.Load(), s.agent.peakMemory()
	for event, n := range s.subscriber.messages() {
		r.messages += n - before[event]
	}
	if err := r.outcome.err(); err != nil {
		t.Error(err)
	}
	s.boundMemory()
	if err := eventually(t.Context(), "goroutines", func(context.Context) error {
		if r.goroutines = s.goroutines(); r.goroutines > baseline+moreGoroutines {
			return fmt.Errorf("%.0f run, there were %.0f", r.goroutines, baseline)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	s.agent.stop()
}

func (s *scene) goroutines() float64 {
	s.t.Helper()
	n, err := s.agent.metric("go_goroutines ")
	if err != nil {
		s.t.Error(err)
	}
	return n
}

func chanceOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// planned is a fault and its time.
type planned struct {
	fault
	from, until time.Duration
}

func (p planned) String() string {
	return fmt.Sprintf("%s %.1f-%.1fs", p.name, p.from.Seconds(), p.until.Seconds())
}

// plan chooses some faults, of one victim each.
func plan(chance *rand.Rand, o setup) []planned {
	most, begins, longest := 5, 10*time.Second, 45*time.Second
	if short {
		most, begins, longest = 3, 2*time.Second, 3*time.Second
	}
	byVictim := map[string][]fault{}
	var victims []string
	for _, f := range faults() {
		if f.possible(o, short) {
			if byVictim[f.victim] == nil {
				victims = append(victims, f.victim)
			}
			byVictim[f.victim] = append(byVictim[f.victim], f)
		}
	}
	chance.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	var all []planned
	for _, victim := range victims[:1+chance.IntN(most)] {
		of := byVictim[victim]
		p := planned{fault: of[chance.IntN(len(of))], from: time.Second/2 + time.Duration(chance.Int64N(int64(begins)))}
		part := chance.Float64()
		p.until = p.from + time.Duration(part*part*float64(longest)) // more short ones than long ones
		all = append(all, p)
	}
	return all
}

// play lets the faults happen, each at its time, and a moment pass before and after.
func (s *scene) play(plan []planned) {
	s.t.Helper()
	type turn struct {
		at time.Duration
		do func()
	}
	var turns []turn
	for _, p := range plan {
		end := over
		turns = append(turns, turn{p.from, func() {
			if s.disturbed.IsZero() {
				s.disturbed = time.Now()
			}
			end = p.begin(s)
		}}, turn{p.until, func() { end() }})
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return cmp.Compare(a.at, b.at) })
	began := time.Now()
	for _, turn := range turns {
		s.pass(turn.at - time.Since(began))
		turn.do()
	}
	s.restore()
	s.pass(time.Second / 2)
}
