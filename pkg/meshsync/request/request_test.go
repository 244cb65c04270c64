package request

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/test/consumer"
)

const maxPayload = 4000

type fakeBus struct {
	handle  func([]byte)
	sent    []bus.Message
	batches int
}

func (b *fakeBus) Subscribe(_, _ string, handle func([]byte)) (func(), error) {
	b.handle = handle
	return func() {}, nil
}

func (b *fakeBus) Send(_ context.Context, messages ...bus.Message) error {
	b.batches++
	b.sent = append(b.sent, messages...)
	return nil
}

func (b *fakeBus) MaxPayload() int { return maxPayload }

type fakeStore struct {
	objects           []*unstructured.Unstructured
	resyncs, catchUps int
}

func (s *fakeStore) Snapshot() ([]*unstructured.Unstructured, func()) {
	return s.objects, func() { s.catchUps++ }
}
func (s *fakeStore) Resync() { s.resyncs++ }

// configMap makes an object whose message has about this many bytes.
func configMap(name string, size int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": name, "namespace": "demo", "uid": name, "resourceVersion": "1"},
		"data":     map[string]any{"text": strings.Repeat("x", size)},
	}}
}

// serve lets a server answer messages and returns what was sent until all is quiet for a minute.
func serve(t *testing.T, store *fakeStore, messages ...string) (*fakeBus, *prometheus.Registry) {
	t.Helper()
	b, registry := &fakeBus{}, prometheus.NewRegistry()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Bus: b, Store: store, Encoder: wire.NewEncoder("cluster", false), Version: "v1.2.3", Metrics: registry})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		for _, message := range messages {
			b.handle([]byte(message))
		}
		<-time.After(time.Minute) // fake time
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b, registry
}

func ask(entity, payload string) string {
	return fmt.Sprintf(`{"ObjectType":"","EventType":"","Request":{"Entity":%q,"Payload":%s},"Object":null}`, entity, payload)
}

func counted(t *testing.T, registry *prometheus.Registry, entity, result string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == entity && metric.GetLabel()[1].GetValue() == result {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestStoreIsSentInSlicesByCountAndBytes(t *testing.T) {
	store := &fakeStore{}
	for i := range 12 {
		store.objects = append(store.objects, configMap(fmt.Sprint("small", i), 10))
	}
	for i := range 6 {
		store.objects = append(store.objects, configMap(fmt.Sprint("large", i), 1500))
	}
	store.objects = append(store.objects, configMap("huge", maxPayload), configMap("last", 10))
	b, _ := serve(t, store, ask("informer-store", `{"Reply":"meshery-server.meshsync.store"}`))

	var names []string
	for _, message := range b.sent {
		if message.Subject != "meshery-server.meshsync.store" || len(message.Body) > maxPayload {
			t.Errorf("%d bytes on %s", len(message.Body), message.Subject)
		}
		objects, err := consumer.DecodeStore(message.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			names = append(names, object.Metadata.Name)
		}
	}
	if len(names) != 19 || names[0] != "small0" || names[18] != "last" {
		t.Errorf("got %v", names)
	}
	if store.catchUps != 1 {
		t.Errorf("caught up %d times", store.catchUps)
	}
}

func TestLargeStoresAreConfirmedInBatches(t *testing.T) {
	store := &fakeStore{}
	for i := range 5*maxUnconfirmed + 1 {
		store.objects = append(store.objects, configMap(fmt.Sprint("x", i), 10))
	}
	if b, _ := serve(t, store, ask("informer-store", `{"Reply":"r"}`)); len(b.sent) != maxUnconfirmed+1 || b.batches != 2 {
		t.Errorf("%d messages in %d batches", len(b.sent), b.batches)
	}
}

func TestEmptyStoreIsNotAnswered(t *testing.T) {
	b, registry := serve(t, &fakeStore{}, ask("informer-store", `{"Reply":"r"}`))
	if len(b.sent) != 0 || counted(t, registry, "informer-store", "answered") != 1 {
		t.Errorf("sent %v", b.sent)
	}
}

func TestResyncRequestsAreAnsweredTogether(t *testing.T) {
	store := &fakeStore{}
	_, registry := serve(t, store, ask("resync-discovery", "null"), ask("resync-discovery", "null"), ask("resync-discovery", "null"))
	if store.resyncs != 1 || counted(t, registry, "resync-discovery", "answered") != 3 {
		t.Errorf("%d resyncs", store.resyncs)
	}
}

func TestMeta(t *testing.T) {
	b, _ := serve(t, &fakeStore{}, ask("meshsync-meta", "null"))
	if len(b.sent) != 1 || b.sent[0].Subject != "meshsync-meta" || string(b.sent[0].Body) != `{"Object":"v1.2.3"}` {
		t.Errorf("sent %s", b.sent)
	}
}

func TestOddRequestsAreCountedAndDoNothing(t *testing.T) {
	store := &fakeStore{objects: []*unstructured.Unstructured{configMap("x", 10)}}
	b, registry := serve(t, store,
		"", "null", "[]", "{", `{"Request":null}`, `{"Request":{"Entity":7}}`, "\x00\xff",
		ask("unknown", "null"), ask("exec-request", "{}"), ask(strings.Repeat("x", 10000), "null"),
		ask("informer-store", "null"), ask("informer-store", `{"Reply":7}`), ask("informer-store", `{"Reply":"a.*"}`),
		ask("informer-store", `{"Reply":"a b"}`), ask("informer-store", `{"Reply":"a..b"}`), ask("informer-store", `{"Reply":"a\r\nPUB x 0"}`),
	)
	if len(b.sent) != 0 || store.resyncs != 0 {
		t.Errorf("sent %s", b.sent)
	}
	for result, want := range map[string]float64{"malformed": 7, "unknown": 3} {
		if got := counted(t, registry, "", result); got != want {
			t.Errorf("%s: counted %v, want %v", result, got, want)
		}
	}
	if got := counted(t, registry, "informer-store", "failed"); got != 6 {
		t.Errorf("failed: counted %v, want 6", got)
	}
}

func FuzzHandle(f *testing.F) {
	for _, seed := range []string{"", "{}", ask("informer-store", `{"Reply":"r"}`), ask("resync-discovery", "null"), ask("meshsync-meta", "{}")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		b := &fakeBus{}
		s := New(Options{
			Bus: b, Store: &fakeStore{objects: []*unstructured.Unstructured{configMap("x", 10)}},
			Encoder: failingEncoder{}, Metrics: prometheus.NewRegistry(),
		})
		s.handle(t.Context(), message)
		for _, sent := range b.sent {
			if !json.Valid(sent.Body) {
				t.Errorf("sent %q", sent.Body)
			}
		}
	})
}

type failingEncoder struct{}

func (failingEncoder) EncodeObject(*unstructured.Unstructured) (json.RawMessage, error) {
	return nil, errors.New("odd object")
}
