package publish

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

// instant confirms everything at once.
type instant struct{}

func (instant) MaxPayload() int                                           { return 1 << 20 }
func (instant) KeepsRecords() bool                                        { return false }
func (instant) Send(context.Context, ...bus.Message) (bus.Receipt, error) { return instant{}, nil }
func (instant) Wait(context.Context) []error                              { return nil }

// publishAll returns a function that publishes so many changes, and waits for it.
func publishAll(t testing.TB, changes int) (publish func()) {
	q := NewQueue(Options{Metrics: prometheus.NewRegistry()})
	q.Open(instant{})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { q.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	list := make([]wire.Change, changes)
	for i := range list {
		list[i] = newVersion(wire.Modified, "x"+strconv.Itoa(i), "u", 1, 0)
	}
	return func() {
		for _, change := range list {
			q.Offer(configMaps, change)
		}
		q.Drain(ctx)
	}
}

// What a change costs in memory does not depend on the machine, unlike time: the limits hold everywhere.
func TestAChangeCostsNoMoreThanItMay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, test := range []struct {
		changes int // at a time
		most    float64
	}{{1, 8}, {10, 3}, {1000, 1.2}} {
		publish, rounds := publishAll(t, test.changes), 20_000/test.changes
		publish()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			publish()
		}
		runtime.ReadMemStats(&after)
		n := float64(rounds * test.changes)
		allocs, bytes := float64(after.Mallocs-before.Mallocs)/n, float64(after.TotalAlloc-before.TotalAlloc)/n
		t.Logf("%d at a time: %.2f allocations and %.0f bytes each", test.changes, allocs, bytes)
		if allocs > test.most {
			t.Errorf("want %.2f allocations", test.most)
		}
	}
}

// What it is about is the watch's, and not counted.
func TestAChangeThatLacksItsMessageTakesLittleMemory(t *testing.T) {
	const objects = 20_000
	list := make([]wire.Change, objects)
	for i := range list {
		list[i] = added(fmt.Sprintf("web-6d4cf56db6-%05d", i), fmt.Sprintf("5a5f2c1e-2222-4000-8000-%012d", i), i)
		list[i].Message = nil
	}
	q := NewQueue(Options{Metrics: prometheus.NewRegistry(), Fetch: func(context.Context, schema.GroupVersionResource, func(string, string) bool) error { return nil }})
	before := live()
	for _, change := range list {
		q.Offer(configMaps, change)
	}
	each := (live() - before) / objects
	t.Logf("%d bytes", each)
	if each > 550 {
		t.Errorf("want no more than 550 bytes, got %d", each)
	}
	q.shutDown()
	runtime.KeepAlive(list)
	runtime.KeepAlive(q)
}

// live is the heap that is in use.
func live() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func BenchmarkPublish(b *testing.B) {
	const atATime = 100
	publish := publishAll(b, atATime)
	b.ReportAllocs()
	for i := 0; i < b.N; i += atATime {
		publish()
	}
}
