package walk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// sample is an object as the API server sends it, and what walking it may cost beyond the bytes of its message.
type sample struct {
	name          string
	kind          schema.GroupVersionKind
	options       Options
	data          []byte
	allocs, bytes uint64
}

// samples are of the shapes and sizes that a cluster has.
func samples(t testing.TB) []sample {
	pods := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	return []sample{
		{name: "pod", kind: pods, data: pod(t)},
		{name: "inventory of pod", kind: pods, options: Options{MetadataOnly: true}, data: partialPod(t)},
		{name: "lease", kind: schema.GroupVersionKind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}, data: lease()},
		{name: "ConfigMap", kind: configMaps, data: configMap(900_000)},
		{name: "custom resource", kind: schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Large"}, data: large(1_400 << 10)},
		{name: "Service", kind: schema.GroupVersionKind{Version: "v1", Kind: "Service"}, data: service(), allocs: 70, bytes: 4_000},
		{name: "Secret", kind: secrets, data: secret(), allocs: 110, bytes: 9_000},
	}
}

// pod is compact, with 3.5 kB of managedFields.
func pod(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/pod.json")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(data)
}

// partialPod is what the API server sends of it when asked for metadata only.
func partialPod(t testing.TB) []byte {
	data := bytes.Replace(pod(t), []byte(`"kind":"Pod","apiVersion":"v1"`), []byte(`"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1"`), 1)
	metadata, _, found := bytes.Cut(data, []byte(`,"spec":`))
	if !found || len(metadata) < 3000 {
		t.Fatal("the pod's spec is not behind its metadata")
	}
	return append(metadata, '}')
}

func lease() []byte {
	return []byte(`{"metadata":{"name":"node-1","namespace":"kube-node-lease","uid":"5a5f2c1e-2222-4000-8000-000000000002","resourceVersion":"123456"},` +
		`"spec":{"holderIdentity":"node-1","leaseDurationSeconds":40,"renewTime":"2026-11-20T00:00:00.000000Z"}}`)
}

const beginning = `{"metadata":{"name":"x","namespace":"demo","uid":"5a5f2c1e-2222-4000-8000-000000000002","resourceVersion":"123456"`

// configMap holds a text of many lines.
func configMap(size int) []byte {
	const line = `- name: \"example\"\n  image: registry.example.com/team/example:v1.2.3 # as it was deployed last\n`
	return fmt.Appendf(nil, `%s},"data":{"config.yaml":"%s"}}`, beginning, strings.Repeat(line, size/len(line)))
}

// large has many short members, such as a report has.
func large(size int) []byte {
	const element = `{"id":"CVE-2026-12345","severity":"HIGH","score":7.5,"fixed":true,"links":["https://example.com/a","https://example.com/b"]}`
	return fmt.Appendf(nil, `%s},"spec":{"findings":[%s{}]}}`, beginning, strings.Repeat(element+",", size/len(element)))
}

func service() []byte {
	return []byte(beginning + `,"labels":{"app":"web"}},"spec":{"ports":[{"name":"https","protocol":"TCP","port":443,"targetPort":8443}],` +
		`"selector":{"app":"web"},"clusterIP":"10.0.0.7","clusterIPs":["10.0.0.7"],"type":"ClusterIP","sessionAffinity":"None"},"status":{"loadBalancer":{}}}`)
}

func secret() []byte {
	return []byte(beginning + `,"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"v1\",\"data\":{\"password\":\"aHVudGVyMg==\"},` +
		`\"kind\":\"Secret\",\"metadata\":{\"annotations\":{},\"name\":\"x\",\"namespace\":\"demo\"},\"type\":\"Opaque\"}\n"}},` +
		`"data":{"password":"aHVudGVyMg=="},"type":"Opaque"}`)
}

// walked is the walk over a sample, with a buffer that is used again.
func (s sample) walked(t testing.TB) func() {
	s.options.ClusterID = clusterID
	kind := NewKind(s.kind, s.options)
	buffer, _, err := kind.Append(nil, s.data, false)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, _, err := kind.Append(buffer[:0], s.data, false); err != nil {
			t.Fatal(err)
		}
	}
}

// What a walk allocates does not depend on the machine, unlike the time it takes: the limits hold everywhere.
func TestAWalkCostsNoMoreThanItMay(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			allocs, bytes := cost(s.walked(t))
			if allocs > s.allocs || bytes > s.bytes {
				t.Errorf("%d allocations of %d bytes; it may be %d of %d", allocs, bytes, s.allocs, s.bytes)
			}
			t.Logf("%d bytes: %d allocations of %d bytes", len(s.data), allocs, bytes)
		})
	}
}

// cost is what one call allocates, on average.
func cost(call func()) (allocs, bytes uint64) {
	const calls = 50
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	call()
	runtime.ReadMemStats(&before)
	for range calls {
		call()
	}
	runtime.ReadMemStats(&after)
	return (after.Mallocs - before.Mallocs) / calls, (after.TotalAlloc - before.TotalAlloc) / calls
}

func BenchmarkAppend(b *testing.B) {
	for _, s := range samples(b) {
		b.Run(s.name, func(b *testing.B) {
			walk := s.walked(b)
			b.SetBytes(int64(len(s.data)))
			b.ReportAllocs()
			for b.Loop() {
				walk()
			}
		})
	}
}

// BenchmarkAppendSlowly is the obvious way over the same samples.
func BenchmarkAppendSlowly(b *testing.B) {
	for _, s := range samples(b) {
		b.Run(s.name, func(b *testing.B) {
			s.options.ClusterID = clusterID
			kind := NewKind(s.kind, s.options)
			b.SetBytes(int64(len(s.data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := kind.AppendSlowly(nil, s.data, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkIdentify(b *testing.B) {
	data := pod(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Identify(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMetadataAsProtobuf is what an inventory would cost at least if it came as protobuf: the decoding alone.
func BenchmarkMetadataAsProtobuf(b *testing.B) {
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(partialPod(b), &object); err != nil {
		b.Fatal(err)
	}
	data, err := object.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var decoded metav1.PartialObjectMetadata
		if err := decoded.Unmarshal(data); err != nil {
			b.Fatal(err)
		}
	}
}
