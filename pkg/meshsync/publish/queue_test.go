package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// newVersion makes a change of an object, with a message that says "name uid version" and has at least size bytes.
func newVersion(event wire.Event, name, uid string, version, size int) wire.Change {
	text := fmt.Sprintf("%s %s %d", name, uid, version)
	text += strings.Repeat(" ", max(0, size-len(text)))
	message := append(wire.AppendStart(nil), strconv.Quote(text)...)
	return wire.Change{Event: event, Name: name, UID: uid, Message: append(make([]byte, 0, len(message)+wire.EndRoom), message...), Seen: time.Now()}
}

func added(name, uid string, version int) wire.Change {
	return newVersion(wire.Added, name, uid, version, 0)
}

// read puts a message into words, such as "ADDED name uid version", and its reason if there is one.
func read(message bus.Message) (string, error) {
	var body struct {
		EventType wire.Event
		Object    string
	}
	if err := json.Unmarshal(message.Body, &body); err != nil {
		return "", err
	}
	text := string(body.EventType) + " " + strings.TrimSpace(body.Object)
	if reason := message.Header[wire.HeaderReason]; reason != "" {
		text += " " + reason
	}
	return text, nil
}

// flakyBus delivers any number of the messages of a batch before it fails.
type flakyBus struct {
	random    *rand.Rand
	failures  int // in 10 batches
	delivered func(string)
	delay     time.Duration // of a batch

	mu        sync.Mutex
	connected chan struct{} // closed while connected
}

func newFlakyBus(seed uint64, failures int, delivered func(string)) *flakyBus {
	connected := make(chan struct{})
	close(connected)
	return &flakyBus{random: rand.New(rand.NewPCG(seed, 0)), failures: failures, delivered: delivered, connected: connected}
}

func (b *flakyBus) WaitConnected(ctx context.Context) error {
	b.mu.Lock()
	connected := b.connected
	b.mu.Unlock()
	select {
	case <-connected:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *flakyBus) Ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.connected:
		return nil
	default:
		return errors.New("no connection")
	}
}

func (b *flakyBus) MaxPayload() int { return 1000 }

func (b *flakyBus) Send(_ context.Context, messages ...bus.Message) error {
	<-time.After(b.delay) // fake time
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(messages)
	fails := b.random.IntN(10) < b.failures
	if fails {
		n = b.random.IntN(n + 1)
	}
	for _, message := range messages[:n] {
		if len(message.Body) > 1000 {
			return errors.New("too large for the broker")
		}
		text, err := read(message)
		if err != nil {
			return err
		}
		b.delivered(text)
	}
	if fails {
		return errors.New("broken")
	}
	return nil
}

func newTestQueue(b Bus) (*Queue, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	return NewQueue(Options{Bus: b, Metrics: registry}), registry
}

// TestConvergence lets objects live and die at random over a bus that fails at random. In the end the consumer must know exactly
// what there is, and never have heard of an older state after a newer one.
func TestConvergence(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { converge(t, seed) })
		})
	}
}

func converge(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	consumer, newest, heard := map[string]string{}, map[string]int{}, map[string]bool{}
	deliver := func(message string) {
		var event, name, uid string
		var version int
		if _, err := fmt.Sscan(message, &event, &name, &uid, &version); err != nil {
			t.Fatal(err)
		}
		if version < newest[name] && !heard[message] { // a batch that was not confirmed is repeated from its start
			t.Errorf("%s after version %d", message, newest[name])
		}
		heard[message] = true
		newest[name] = version
		known, there := consumer[name]
		if there && known != uid && event != "DELETED" {
			t.Errorf("%s while uid %s was not reported as deleted", message, known)
		}
		if event == "DELETED" {
			delete(consumer, name)
		} else {
			consumer[name] = uid
		}
	}
	q, _ := newTestQueue(newFlakyBus(seed, 5, deliver))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { q.Run(ctx) })

	cluster := map[string]wire.Change{}
	for version := 1; version <= 300; version++ {
		name := fmt.Sprint("x", random.IntN(5))
		event, uid := wire.Modified, cluster[name].UID
		switch {
		case uid == "":
			event, uid = wire.Added, fmt.Sprint("u", version)
		case random.IntN(3) == 0:
			event = wire.Deleted
		}
		change := newVersion(event, name, uid, version, 0)
		q.Offer(configMaps, change)
		if event == wire.Deleted {
			delete(cluster, name)
		} else {
			cluster[name] = change
		}
		if random.IntN(3) == 0 {
			<-time.After(time.Duration(random.IntN(300)) * time.Millisecond) // fake time
		}
	}
	if left := q.Drain(ctx); left != 0 {
		t.Errorf("%d objects left", left)
	}
	cancel()
	wg.Wait()
	if len(consumer) != len(cluster) {
		t.Errorf("consumer knows %d objects, there are %d", len(consumer), len(cluster))
	}
	for name, last := range cluster {
		if want := fmt.Sprintf("%s %s %d", name, consumer[name], newest[name]); !strings.Contains(string(last.Message), want) {
			t.Errorf("consumer has %s, want %s", want, last.Message)
		}
	}
}

// runQueue runs body beside a queue on a bus that never fails, and returns what was delivered until everything was.
func runQueue(t *testing.T, b *flakyBus, body func(*Queue)) (delivered []string, registry *prometheus.Registry) {
	b.delivered = func(message string) { delivered = append(delivered, message) }
	q, registry := newTestQueue(b)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { q.Run(ctx) })
	body(q)
	q.Drain(ctx)
	cancel()
	wg.Wait()
	return delivered, registry
}

func TestWhatWaitsForTheBrokerCollapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFlakyBus(1, 0, nil)
		online := b.connected
		b.connected = make(chan struct{})
		got, _ := runQueue(t, b, func(q *Queue) {
			for version := range 100 {
				q.Offer(configMaps, newVersion(wire.Modified, "x", "u", version, 0))
			}
			if q.pending.len() != 1 {
				t.Errorf("%d objects wait", q.pending.len())
			}
			synctest.Wait()
			offline := b.connected
			b.mu.Lock()
			b.connected = online
			b.mu.Unlock()
			close(offline)
		})
		if len(got) != 1 || got[0] != "MODIFIED x u 99" {
			t.Errorf("got %v", got)
		}
	})
}

func TestWhatIsTooLargeDoesNotHoldUpTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, registry := runQueue(t, newFlakyBus(1, 0, nil), func(q *Queue) {
			q.Offer(configMaps, newVersion(wire.Added, "large", "u1", 1, 1001))
			q.Offer(configMaps, added("fine", "u2", 1))
		})
		if len(got) != 1 || got[0] != "ADDED fine u2 1" {
			t.Errorf("got %v", got)
		}
		if n, _ := measured(t, registry, "meshery_meshsync_changes_dropped_total", tooLarge); n != 1 {
			t.Errorf("counted %v, want 1", n)
		}
	})
}

// TestWhatIsSentAgainIsTheSame: the bytes of a message are the same at every attempt, also after its end was written into the room that
// was left for it.
func TestWhatIsSentAgainIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const attempts = 4
		bodies := map[string][]string{}
		b := refusing{flakyBus: newFlakyBus(1, 0, func(string) {}), refuse: func(messages []bus.Message) bool {
			for _, message := range messages {
				text, err := read(message)
				if err != nil {
					t.Errorf("%v in %s", err, message.Body)
				}
				bodies[text] = append(bodies[text], string(message.Body))
			}
			return len(bodies["ADDED y u2 1"]) < attempts
		}}
		q, _ := newTestQueue(b)
		q.Offer(configMaps, newVersion(wire.Deleted, "x", "u1", 1, 0))
		q.Offer(configMaps, added("x", "u3", 2))
		q.Offer(configMaps, added("y", "u2", 1))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { q.Run(ctx) })
		q.Drain(ctx)
		cancel()
		wg.Wait()
		for _, text := range []string{"DELETED x u1 1", "ADDED x u3 2", "ADDED y u2 1"} {
			if all := bodies[text]; len(all) != attempts || len(slices.Compact(all)) != 1 {
				t.Errorf("%s was sent as %q", text, all)
			}
		}
		if len(bodies) != 3 {
			t.Errorf("sent: %v", slices.Collect(maps.Keys(bodies)))
		}
	})
}

// refusing is a bus that takes the batches that it does not refuse.
type refusing struct {
	*flakyBus
	refuse func([]bus.Message) bool
}

func (b refusing) Send(ctx context.Context, messages ...bus.Message) error {
	if b.refuse(messages) {
		return errors.New("refused")
	}
	return b.flakyBus.Send(ctx, messages...)
}

// TestHowLongAChangeTakesIsMeasured from when it was seen: of those that collapse, from the first.
func TestHowLongAChangeTakesIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFlakyBus(1, 0, nil)
		offline := make(chan struct{})
		b.connected, b.delay = offline, 2*time.Second
		_, registry := runQueue(t, b, func(q *Queue) {
			q.Offer(configMaps, added("x", "u", 1))
			<-time.After(3 * time.Second) // fake time
			q.Offer(configMaps, newVersion(wire.Modified, "x", "u", 2, 0))
			close(offline)
		})
		for stage, want := range map[string]float64{"sent": 3, "acknowledged": 5} {
			if n, took := measured(t, registry, "meshery_meshsync_delivery_seconds", stage); n != 1 || took != want {
				t.Errorf("%s: %v took %v s, want 1 in %v", stage, n, took, want)
			}
		}
	})
}

// measured returns the count of the metric whose only label has this value, and the sum if it is a histogram.
func measured(t *testing.T, registry *prometheus.Registry, name, label string) (count, sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name && metric.GetLabel()[0].GetValue() == label {
				took := metric.GetHistogram()
				return metric.GetCounter().GetValue() + float64(took.GetSampleCount()), took.GetSampleSum()
			}
		}
	}
	return 0, 0
}

func TestWithdrawnObjectsGoOutAsDeletedWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFlakyBus(1, 0, nil)
		offline := make(chan struct{})
		b.connected = offline
		got, _ := runQueue(t, b, func(q *Queue) {
			q.Offer(configMaps, added("waits", "u", 1))
			q.Offer(configMaps, withdrawn("waits", "u", 1))
			q.Offer(configMaps, withdrawn("back", "u", 1))
			q.Offer(configMaps, added("back", "u", 2))
			close(offline)
		})
		slices.Sort(got)
		if want := []string{"ADDED back u 2", "DELETED waits u 1 WatchListChanged"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func withdrawn(name, uid string, version int) wire.Change {
	change := newVersion(wire.Deleted, name, uid, version, 0)
	change.Reason = wire.WatchListChanged
	return change
}

func TestDrainGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestQueue(newFlakyBus(1, 10, func(string) {}))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { q.Run(ctx) })
		q.Offer(configMaps, added("x", "u", 1))
		patience, stop := context.WithTimeout(ctx, 10*time.Second)
		defer stop()
		if left := q.Drain(patience); left != 1 {
			t.Errorf("%d left", left)
		}
		cancel()
		wg.Wait()
	})
}

func TestDrainDoesNotWaitForABrokerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, start := newFlakyBus(1, 0, nil), time.Now()
		b.connected = make(chan struct{})
		q, _ := newTestQueue(b)
		defer q.keys.ShutDown()
		q.Offer(configMaps, added("x", "u", 1))
		patience, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		if left, took := q.Drain(patience), time.Since(start); left != 1 || took > 0 {
			t.Errorf("%d left after %s", left, took)
		}
	})
}

func TestReadySaysWhatTheBrokerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFlakyBus(1, 10, func(string) {})
		runQueue(t, b, func(q *Queue) {
			if err := q.Ready(); err != nil {
				t.Errorf("before anything was sent: %v", err)
			}
			q.Offer(configMaps, added("x", "u", 1))
			synctest.Wait()
			if err := q.Ready(); err == nil || !strings.Contains(err.Error(), "broken") {
				t.Errorf("while nothing is confirmed: %v", err)
			}
			b.mu.Lock()
			b.failures = 0
			b.mu.Unlock()
			q.Drain(t.Context())
			if failure := q.failure.Load(); failure != nil {
				t.Errorf("after the confirmation: %v", *failure)
			}
		})
	})
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, start := newFlakyBus(1, 0, nil), time.Now()
		q := NewQueue(Options{Bus: b, Metrics: prometheus.NewRegistry(), MessagesPerSecond: 100})
		b.delivered = func(string) {}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { q.Run(ctx) })
		for i := range 2*maxBatch + 200 {
			q.Offer(configMaps, added(fmt.Sprint("x", i), "u", 1))
		}
		q.Drain(ctx)
		if took := time.Since(start); took < 2*time.Second || took > 4*time.Second {
			t.Errorf("200 messages beyond the burst took %s at 100/s", took)
		}
		cancel()
		wg.Wait()
	})
}
