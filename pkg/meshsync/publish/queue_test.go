package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// plainEncoder writes "ADDED name uid version", padded to the size that the annotation "size" asks for.
type plainEncoder struct{}

func (plainEncoder) Encode(event wire.Event, obj *unstructured.Unstructured) ([]byte, error) {
	if obj.GetAnnotations()["odd"] != "" {
		return nil, errors.New("odd object")
	}
	size := 0
	_, _ = fmt.Sscan(obj.GetAnnotations()["size"], &size)
	body := fmt.Appendf(nil, "%s %s %s %s", event, obj.GetName(), obj.GetUID(), obj.GetResourceVersion())
	return append(body, bytes.Repeat([]byte(" "), max(0, size-len(body)))...), nil
}

// flakyBus delivers any number of the messages of a batch before it fails.
type flakyBus struct {
	random    *rand.Rand
	failures  int // in 10 batches
	delivered func(string)

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
		text := strings.TrimSpace(string(message.Body))
		if reason := message.Header[wire.HeaderReason]; reason != "" {
			text += " " + reason
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
	return NewQueue(Options{Bus: b, Encoder: plainEncoder{}, Metrics: registry}), registry
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

	cluster := map[string]*unstructured.Unstructured{}
	for version := 1; version <= 300; version++ {
		name := fmt.Sprint("x", random.IntN(5))
		obj, there := cluster[name]
		switch {
		case !there:
			obj = newVersion(name, fmt.Sprint("u", version), version)
			q.Offer(configMaps, wire.Added, obj)
			cluster[name] = obj
		case random.IntN(3) == 0:
			q.Offer(configMaps, wire.Deleted, newVersion(name, string(obj.GetUID()), version))
			delete(cluster, name)
		default:
			cluster[name] = newVersion(name, string(obj.GetUID()), version)
			q.Offer(configMaps, wire.Modified, cluster[name])
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
	for name, obj := range cluster {
		if consumer[name] != string(obj.GetUID()) || strconv.Itoa(newest[name]) != obj.GetResourceVersion() {
			t.Errorf("%s: consumer has uid %s version %d, want %s %s", name, consumer[name], newest[name], obj.GetUID(), obj.GetResourceVersion())
		}
	}
}

func newVersion(name, uid string, version int) *unstructured.Unstructured {
	obj := object("", version)
	obj.SetName(name)
	obj.SetUID(types.UID(uid))
	return obj
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
				q.Offer(configMaps, wire.Modified, newVersion("x", "u", version))
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

func TestWhatCannotBePublishedDoesNotHoldUpTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, registry := runQueue(t, newFlakyBus(1, 0, nil), func(q *Queue) {
			large, odd := newVersion("large", "u1", 1), newVersion("odd", "u2", 1)
			large.SetAnnotations(map[string]string{"size": "1001"})
			odd.SetAnnotations(map[string]string{"odd": "yes"})
			q.Offer(configMaps, wire.Added, large)
			q.Offer(configMaps, wire.Added, odd)
			q.Offer(configMaps, wire.Added, newVersion("fine", "u3", 1))
		})
		if len(got) != 1 || got[0] != "ADDED fine u3 1" {
			t.Errorf("got %v", got)
		}
		for _, reason := range []string{tooLarge, notEncoded} {
			if n := counted(t, registry, "meshery_meshsync_changes_dropped_total", reason); n != 1 {
				t.Errorf("%s: counted %v, want 1", reason, n)
			}
		}
	})
}

// counted reads the counter whose only label has this value.
func counted(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name && metric.GetLabel()[0].GetValue() == label {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestWithdrawnObjectsGoOutAsDeletedWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFlakyBus(1, 0, nil)
		offline := make(chan struct{})
		b.connected = offline
		got, _ := runQueue(t, b, func(q *Queue) {
			q.Offer(configMaps, wire.Added, newVersion("waits", "u", 1))
			q.Withdraw(configMaps, newVersion("waits", "u", 1), wire.WatchListChanged)
			q.Withdraw(configMaps, newVersion("back", "u", 1), wire.WatchListChanged)
			q.Offer(configMaps, wire.Added, newVersion("back", "u", 2))
			close(offline)
		})
		slices.Sort(got)
		if want := []string{"ADDED back u 2", "DELETED waits u 1 WatchListChanged"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestDrainGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestQueue(newFlakyBus(1, 10, func(string) {}))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { q.Run(ctx) })
		q.Offer(configMaps, wire.Added, newVersion("x", "u", 1))
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
		q.Offer(configMaps, wire.Added, newVersion("x", "u", 1))
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
			q.Offer(configMaps, wire.Added, newVersion("x", "u", 1))
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
		q := NewQueue(Options{Bus: b, Encoder: plainEncoder{}, Metrics: prometheus.NewRegistry(), MessagesPerSecond: 100})
		b.delivered = func(string) {}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { q.Run(ctx) })
		for i := range 2*maxBatch + 200 {
			q.Offer(configMaps, wire.Added, newVersion(fmt.Sprint("x", i), "u", 1))
		}
		q.Drain(ctx)
		if took := time.Since(start); took < 2*time.Second || took > 4*time.Second {
			t.Errorf("200 messages beyond the burst took %s at 100/s", took)
		}
		cancel()
		wg.Wait()
	})
}
