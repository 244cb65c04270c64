package bench

import (
	"bytes"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"meshery.io/operator/pkg/meshsync/wire/walk"
	"meshery.io/operator/test/bench/reference/convert"
	"meshery.io/operator/test/bench/replay"
)

const clusterID = "8a5f2c1e-1111-4000-8000-000000000009"

// BenchmarkReference is the reference path from an event's bytes to the message: client-go's own way through a watch, and the conversion.
// The two overlap, and so does the garbage collector: what it takes of the CPU is more than the time that goes by.
func BenchmarkReference(b *testing.B) {
	source := &endless{event: pod(b).Event("MODIFIED", 1, 1, 0)}
	client, err := dynamic.NewForConfigAndClient(&rest.Config{Host: "http://bench"}, &http.Client{Transport: source})
	if err != nil {
		b.Fatal(err)
	}
	events, err := client.Resource(pod(b).Resource).Watch(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer events.Stop()
	defer reportCPU(b)()
	for b.Loop() {
		event := <-events.ResultChan()
		if _, err := convert.Message(string(event.Type), event.Object.(*unstructured.Unstructured), clusterID); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWalk is ours.
func BenchmarkWalk(b *testing.B) {
	shape := pod(b)
	data := bytes.TrimSuffix(bytes.TrimPrefix(shape.Event("MODIFIED", 1, 1, 0), []byte(`{"type":"MODIFIED","object":`)), []byte("}\n"))
	kind := walk.NewKind(shape.Object.GroupVersionKind(), walk.Options{ClusterID: clusterID})
	var message []byte
	defer reportCPU(b)()
	for b.Loop() {
		var err error
		if message, _, err = kind.Append(message[:0], data, false); err != nil {
			b.Fatal(err)
		}
	}
}

// cpuPerOp is the time that an operation takes of the CPU, in nanoseconds. Unlike the time that goes by it does not depend on how many
// cores there are, and hardly on what else runs on them.
const cpuPerOp = "cpu-ns/op"

// reportCPU begins to count; what it returns ends that.
func reportCPU(b *testing.B) func() {
	b.Helper()
	b.ReportAllocs()
	before := cpuTime(b)
	return func() { b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), cpuPerOp) }
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// endless is an API server that sends the same event again and again.
type endless struct{ event, rest []byte }

func (e *endless) RoundTrip(request *http.Request) (*http.Response, error) {
	header := http.Header{"Content-Type": {"application/json"}}
	return &http.Response{StatusCode: http.StatusOK, Request: request, Header: header, Body: io.NopCloser(e)}, nil
}

func (e *endless) Read(into []byte) (int, error) {
	if len(e.rest) == 0 {
		e.rest = e.event
	}
	n := copy(into, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// pod is the shape that is measured one by one.
func pod(t testing.TB) *replay.Shape {
	t.Helper()
	shapes, err := replay.Shapes()
	if err != nil {
		t.Fatal(err)
	}
	return shapes[0]
}
