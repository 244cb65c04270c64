package request

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire/walk"
	"meshery.io/operator/test/consumer"
)

const maxPayload = 4000

type fakeBus struct {
	handle  func([]byte)
	sent    []bus.Message
	batches int
	failure error // after so many batches
	takes   int
	delay   time.Duration // of a batch
	payload int           // the most; 0 is maxPayload
	largest int           // batch so far, in bytes
}

func (b *fakeBus) Subscribe(_, _ string, handle func([]byte)) (func(), error) {
	b.handle = handle
	return func() {}, nil
}

func (b *fakeBus) Deliver(_ context.Context, messages ...bus.Message) error {
	<-time.After(b.delay) // fake time
	size := 0
	for _, message := range messages {
		size += len(message.Body)
	}
	b.largest = max(b.largest, size)
	if b.failure != nil && b.batches == b.takes {
		return b.failure
	}
	b.batches++
	b.sent = append(b.sent, messages...)
	return nil
}

func (b *fakeBus) MaxPayload() int { return cmp.Or(b.payload, maxPayload) }

// fakeStore has objects in their wire form. A failure comes after the last of them.
type fakeStore struct {
	objects           [][]byte
	failure           error
	pause             time.Duration // before each object
	hangs             bool          // after the last, until it is given up
	resyncs, catchUps int
	late              error        // when it was to catch up, its time was over
	resync            func() error // nil: there is nothing to do
}

func (s *fakeStore) Objects(ctx context.Context, visit func([]byte) error) (func(context.Context) error, error) {
	catchUp := func(ctx context.Context) error {
		s.catchUps++
		s.late = ctx.Err()
		return nil
	}
	for _, object := range s.objects {
		<-time.After(s.pause) // fake time
		if err := visit(object); err != nil {
			return catchUp, err
		}
	}
	if s.hangs {
		<-ctx.Done()
		return catchUp, ctx.Err()
	}
	return catchUp, errors.Join(s.failure, ctx.Err())
}

func (s *fakeStore) Resync(ctx context.Context) error {
	s.resyncs++
	if s.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if s.resync == nil {
		return nil
	}
	return s.resync()
}

// configMap makes an object whose message has about this many bytes.
func configMap(name string, size int) []byte {
	kind := walk.NewKind(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, walk.Options{ClusterID: "cluster"})
	object, _, err := kind.Append(nil, fmt.Appendf(nil,
		`{"metadata":{"name":%[1]q,"namespace":"demo","uid":%[1]q,"resourceVersion":"1"},"data":{"text":%[2]q}}`, name, strings.Repeat("x", size)), false)
	if err != nil {
		panic(err)
	}
	return object
}

func configMaps(n int) [][]byte {
	var objects [][]byte
	for i := range n {
		objects = append(objects, configMap(fmt.Sprint("x", i), 10))
	}
	return objects
}

// serve lets a server answer messages and returns what was sent until all is quiet for minutes.
func serve(t *testing.T, store *fakeStore, messages ...string) (*fakeBus, *prometheus.Registry) {
	t.Helper()
	b := &fakeBus{}
	return b, serveOn(t, klog.Background(), b, store, messages...)
}

func serveOn(t *testing.T, logger klog.Logger, b *fakeBus, store *fakeStore, messages ...string) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewRegistry()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), logger))
		s := New(Options{Bus: b, Store: store, Version: "v1.2.3", Metrics: registry})
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		for _, message := range messages {
			b.handle([]byte(message))
		}
		<-time.After(10 * time.Minute) // fake time
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return registry
}

// recorder is a logger that writes into a buffer.
func recorder() (klog.Logger, *ktesting.BufferTL) {
	said := &ktesting.BufferTL{}
	return ktesting.NewLogger(said, ktesting.NewConfig(ktesting.Verbosity(7))), said
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
	store := &fakeStore{objects: configMaps(5*maxUnconfirmed + 1)}
	if b, _ := serve(t, store, ask("informer-store", `{"Reply":"r"}`)); len(b.sent) != maxUnconfirmed+1 || b.batches != 2 {
		t.Errorf("%d messages in %d batches", len(b.sent), b.batches)
	}
}

// TestWhatIsTooLargeIsMissingAndSaid: the log names what a reply lacks.
func TestWhatIsTooLargeIsMissingAndSaid(t *testing.T) {
	logger, said := recorder()
	store, b := &fakeStore{objects: [][]byte{configMap("huge", maxPayload), configMap("fine", 10)}}, &fakeBus{}
	registry := serveOn(t, logger, b, store, ask("informer-store", `{"Reply":"r"}`))
	if len(b.sent) != 1 || bytes.Contains(b.sent[0].Body, []byte("huge")) || !bytes.Contains(b.sent[0].Body, []byte("fine")) {
		t.Errorf("sent %v", b.sent)
	}
	if log := said.String(); !strings.Contains(log, "is missing in the reply") || !strings.Contains(log, `object="demo/huge"`) ||
		strings.Contains(log, "xxx") || strings.Contains(log, "fine") {
		t.Errorf("the log is %s", log)
	}
	if counted(t, registry, "informer-store", "answered") != 1 {
		t.Error("the request was not answered")
	}
}

// TestAReplyIsCaughtUpWithAlsoAfterErrors: whoever asked has heard of some objects, by another way than of what happened to them since.
func TestAReplyIsCaughtUpWithAlsoAfterErrors(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		store    *fakeStore
		bus      *fakeBus
		messages int
	}{
		"not everything could be listed": {&fakeStore{objects: configMaps(7), failure: broken}, &fakeBus{}, 2},
		"the broker takes nothing":       {&fakeStore{objects: configMaps(7)}, &fakeBus{failure: broken}, 0},
		"the broker takes the first batch only": {
			&fakeStore{objects: configMaps(maxSlice*maxUnconfirmed + 7)}, &fakeBus{failure: broken, takes: 1}, maxUnconfirmed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			registry := serveOn(t, klog.Background(), test.bus, test.store, ask("informer-store", `{"Reply":"r"}`))
			if test.store.catchUps != 1 {
				t.Errorf("caught up %d times", test.store.catchUps)
			}
			if len(test.bus.sent) != test.messages || counted(t, registry, "informer-store", "failed") != 1 {
				t.Errorf("%d messages, want %d", len(test.bus.sent), test.messages)
			}
		})
	}
}

// TestAKindThatCannotBeReadHoldsUpAReplyForAMoment only: what could be read is sent, and there is time to catch up.
func TestAKindThatCannotBeReadHoldsUpAReplyForAMoment(t *testing.T) {
	for objects, messages := range map[int]int{0: 0, 7: 2} {
		synctest.Test(t, func(t *testing.T) {
			b, store, began := &fakeBus{}, &fakeStore{objects: configMaps(objects), hangs: true}, time.Now()
			s := New(Options{Bus: b, Store: store, Metrics: prometheus.NewRegistry()})
			err := s.sendStore(t.Context(), json.RawMessage(`{"Reply":"r"}`))
			if !errors.Is(err, errSilent) || len(b.sent) != messages || store.catchUps != 1 || store.late != nil {
				t.Errorf("%v: %d messages, caught up %d times, %v", err, len(b.sent), store.catchUps, store.late)
			}
			if took := time.Since(began); took != silencePatience {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestALongReplyIsNotGivenUp while objects come, however slowly, and while it is the broker that takes its time.
func TestALongReplyIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, store := &fakeBus{delay: 3 * silencePatience}, &fakeStore{objects: configMaps(maxSlice*maxUnconfirmed + 7), pause: silencePatience - time.Second}
		s := New(Options{Bus: b, Store: store, Metrics: prometheus.NewRegistry()})
		if err := s.sendStore(t.Context(), json.RawMessage(`{"Reply":"r"}`)); err != nil || len(b.sent) != maxUnconfirmed+2 {
			t.Errorf("%d messages, %v", len(b.sent), err)
		}
	})
}

// TestLargeRepliesDoNotPileUp: what is not confirmed is limited in bytes as well.
func TestLargeRepliesDoNotPileUp(t *testing.T) {
	b := &fakeBus{payload: 1 << 20}
	store := &fakeStore{}
	for i := range 8 {
		store.objects = append(store.objects, configMap(fmt.Sprint("x", i), 900<<10))
	}
	serveOn(t, klog.Background(), b, store, ask("informer-store", `{"Reply":"r"}`))
	if len(b.sent) != 8 || b.largest > maxUnconfirmedBytes+b.payload {
		t.Errorf("%d messages, up to %d bytes at a time", len(b.sent), b.largest)
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

// TestOthersDoNotWaitForAResync, which may take long; another resync does.
func TestOthersDoNotWaitForAResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running, most, release := 0, 0, make(chan struct{})
		store := &fakeStore{objects: configMaps(1)}
		store.resync = func() error {
			running++
			most = max(most, running)
			<-release
			running--
			return nil
		}
		b := &fakeBus{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(Options{Bus: b, Store: store, Metrics: prometheus.NewRegistry()}).Run(ctx) }()
		synctest.Wait()
		resync := func() {
			b.handle([]byte(ask("resync-discovery", "null")))
			<-time.After(2 * resyncQuiet) // fake time
			synctest.Wait()
		}
		resync()
		resync()
		resync() // answered by the one before, which has not begun
		b.handle([]byte(ask("informer-store", `{"Reply":"r"}`)))
		synctest.Wait()
		if store.resyncs != 1 || len(b.sent) != 1 {
			t.Errorf("%d resyncs, %d messages beside it", store.resyncs, len(b.sent))
		}
		close(release)
		<-time.After(2 * resyncQuiet) // fake time
		synctest.Wait()
		if store.resyncs != 2 || most != 1 || running != 0 {
			t.Errorf("%d resyncs, %d at a time, %d running", store.resyncs, most, running)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestAResyncThatDoesNotEndMakesWayForTheNext: everything else is published when it is asked for again, however long one kind has failed.
func TestAResyncThatDoesNotEndMakesWayForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, b := &fakeStore{hangs: true}, &fakeBus{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(Options{Bus: b, Store: store, Metrics: prometheus.NewRegistry()}).Run(ctx) }()
		synctest.Wait()
		resync := func(want int) {
			t.Helper()
			b.handle([]byte(ask("resync-discovery", "null")))
			<-time.After(resyncPatience + 2*resyncQuiet) // fake time
			synctest.Wait()
			if store.resyncs != want {
				t.Errorf("%d resyncs, want %d", store.resyncs, want)
			}
		}
		resync(1)
		<-time.After(time.Hour) // fake time
		resync(2)
		resync(3)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAResyncThatFailsIsSaid(t *testing.T) {
	logger, said := recorder()
	store := &fakeStore{resync: func() error { return errors.New("no such kind") }}
	serveOn(t, logger, &fakeBus{}, store, ask("resync-discovery", "null"))
	if log := said.String(); !strings.Contains(log, "no such kind") {
		t.Errorf("the log is %s", log)
	}
}

func TestMeta(t *testing.T) {
	b, _ := serve(t, &fakeStore{}, ask("meshsync-meta", "null"))
	if len(b.sent) != 1 || b.sent[0].Subject != "meshsync-meta" || string(b.sent[0].Body) != `{"Object":"v1.2.3"}` {
		t.Errorf("sent %v", b.sent)
	}
}

func TestOddRequestsAreCountedAndDoNothing(t *testing.T) {
	store := &fakeStore{objects: configMaps(1)}
	b, registry := serve(t, store,
		"", "null", "[]", "{", `{"Request":null}`, `{"Request":{"Entity":7}}`, "\x00\xff",
		ask("unknown", "null"), ask("exec-request", "{}"), ask(strings.Repeat("x", 10000), "null"),
		ask("informer-store", "null"), ask("informer-store", `{"Reply":7}`), ask("informer-store", `{"Reply":"a.*"}`),
		ask("informer-store", `{"Reply":"a b"}`), ask("informer-store", `{"Reply":"a..b"}`), ask("informer-store", `{"Reply":"a\r\nPUB x 0"}`),
	)
	if len(b.sent) != 0 || store.resyncs != 0 {
		t.Errorf("sent %v", b.sent)
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
		s := New(Options{Bus: b, Store: &fakeStore{objects: configMaps(1)}, Metrics: prometheus.NewRegistry()})
		s.handle(t.Context(), message)
		for _, sent := range b.sent {
			if !json.Valid(sent.Body) {
				t.Errorf("sent %q", sent.Body)
			}
		}
	})
}
