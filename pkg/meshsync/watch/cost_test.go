package watch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/meshsync/wire/walk"
	"meshery.io/operator/pkg/watchlist"
)

// pods are watched by a watch of their own, whose messages go to a sink.
func pods(sink Sink) *watch {
	resource := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	s := newTestSet(nil, sink)
	s.encoding = Encoding{} // of which everything counts
	return newWatch(klog.Background(), &s.shared, scope{resource: resource}, watchlist.Target{Resource: resource, Kind: "Pod", Events: watchlist.AllEvents})
}

// What a change and a watched object cost in memory does not depend on the machine, unlike time: the limits hold everywhere.
func TestAChangeCostsNoMoreThanItMay(t *testing.T) {
	pod, err := os.ReadFile("../wire/walk/testdata/pod.json")
	if err != nil {
		t.Fatal(err)
	}
	version := 1_000_000
	next := func() []byte {
		version++
		return bytes.Replace(pod, []byte(`"resourceVersion":"123456"`), fmt.Appendf(nil, `"resourceVersion":"%d"`, version), 1)
	}
	messages := 0
	w := pods(sinkFunc(func(change wire.Change) { messages += len(change.Message) }))
	w.Take(apiwatch.Added, next())
	const changes = 200
	states := make([][]byte, changes)
	for i := range states {
		states[i] = next()
	}
	messages = 0
	allocs, size := allocated(func() {
		for _, state := range states {
			w.Take(apiwatch.Modified, state)
		}
	})
	t.Logf("%d allocations and %d bytes for a message of %d", allocs/changes, size/changes, messages/changes)
	// An object of two parts, and the message.
	if allocs/changes > 3 || size/changes > uint64(messages/changes*5/4) {
		t.Error("want 3 allocations, and little more than the message")
	}
}

func TestAWatchedObjectTakesLittleMemory(t *testing.T) {
	const objects = 20_000
	w := pods(sinkFunc(func(wire.Change) {}))
	store := map[string]*raw.Object{} // as an informer keeps them
	before := live()
	for i := range objects {
		data := fmt.Appendf(nil, `{"metadata":{"name":"web-6d4cf56db6-%05d","namespace":"demo","uid":"5a5f2c1e-2222-4000-8000-%012d","resourceVersion":"123456"}}`, i, i)
		object := w.Take(apiwatch.Added, data)
		store[object.Key] = object
	}
	each := (live() - before) / objects
	t.Logf("%d bytes", each)
	if each > 350 {
		t.Errorf("a watched object takes %d bytes", each)
	}
	runtime.KeepAlive(store)
	runtime.KeepAlive(w)
}

// allocated is what a call allocates.
func allocated(call func()) (allocs, bytes uint64) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	call()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc
}

// live is the heap that is in use.
func live() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestAPanicCostsOneObject(t *testing.T) {
	_, _, err := safely(func(_, data []byte, _ bool) ([]byte, walk.Identity, error) { return data[1:], walk.Identity{}, nil }, nil, nil, false)
	if err == nil || !strings.Contains(err.Error(), "panics") {
		t.Errorf("got %v", err)
	}
	_, _, err = safely(func(_, _ []byte, _ bool) ([]byte, walk.Identity, error) { panic(errors.New("odd")) }, nil, nil, false)
	if err == nil || !strings.Contains(err.Error(), "odd") {
		t.Errorf("got %v", err)
	}
}
