package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

// bench is a queue that runs, and what it is asked.
type bench struct {
	*Queue
	t        *testing.T
	registry *prometheus.Registry
	began    time.Time
}

// runQueue runs body beside a queue whose time is fake. Nothing may be owed in the end.
func runQueue(t *testing.T, o Options, body func(*bench)) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		o.Metrics = registry
		if o.Record == nil {
			o.Record = testRecord
		}
		q := NewQueue(o)
		ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klog.New(nil)))
		var running sync.WaitGroup
		running.Go(func() { q.Run(ctx) })
		body(&bench{q, t, registry, time.Now()})
		cancel()
		running.Wait()
	})
}

// drain waits until everything is published.
func (b *bench) drain() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Hour)
	defer cancel()
	if left := b.Drain(ctx); left > 0 {
		b.t.Errorf("%d objects are never published", left)
	}
}

// after reports whether so much time has passed since the queue was made.
func (b *bench) after(want time.Duration) bool { return time.Since(b.began) == want }

// measured returns the value of a metric, by its only label if it has one, and the sum if it is a histogram.
func (b *bench) measured(name, label string) (value, sum float64) {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "meshery_meshsync_"+name && (label == "" || metric.GetLabel()[0].GetValue() == label) {
				took := metric.GetHistogram()
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(took.GetSampleCount()), took.GetSampleSum()
			}
		}
	}
	b.t.Fatalf("there is no metric %s", name)
	return 0, 0
}

func (b *bench) wantMetric(name, label string, want float64) {
	b.t.Helper()
	if got, _ := b.measured(name, label); got != want {
		b.t.Errorf("%s %s is %v, want %v", name, label, got, want)
	}
}

func wantTold(t *testing.T, o *testOutlet, want ...string) {
	t.Helper()
	if got := o.told(); !slices.Equal(got, want) {
		t.Errorf("told    %q\nwant    %q", got, want)
	}
}

func wantRecorded(t *testing.T, o *testOutlet, want ...string) {
	t.Helper()
	if !slices.Equal(o.recorded, want) {
		t.Errorf("recorded %q\nwant     %q", o.recorded, want)
	}
}

// refusing refuses the records of some messages.
func refusing(names ...string) func([]bus.Message) []error {
	return func(messages []bus.Message) []error {
		errs := make([]error, len(messages))
		for i, message := range messages {
			if m, err := read(message.Body); err == nil && slices.Contains(names, m.name) {
				errs[i] = fmt.Errorf("%w: full", bus.ErrRefused)
			}
		}
		return errs
	}
}

func TestNothingIsSentBeforeItIsOpened(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		for version := range 100 {
			b.Offer(configMaps, newVersion(wire.Modified, "x", "u", version, 0))
		}
		synctest.Wait()
		if b.pending.len() != 1 || !b.Owes(keyOf("x")) || b.Owes(keyOf("y")) {
			t.Errorf("%d objects wait", b.pending.len())
		}
		o := &testOutlet{}
		b.Open(o)
		b.drain()
		wantTold(t, o, "MODIFIED x u 99") // what waits collapses
		if b.Owes(keyOf("x")) {
			t.Error("x is still owed")
		}
	})
}

func TestPauseWaitsForAnswers(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{delay: 3 * time.Second, answer: func([]bus.Message) []error { return []error{bus.ErrNotConfirmed} }}
		b.Open(o)
		b.Offer(configMaps, added("x", "u", 1))
		synctest.Wait()
		b.wantMetric("in_flight_messages", "", 1)
		b.Pause()
		if !b.after(3*time.Second) || o.inFlight > 0 || !b.Owes(keyOf("x")) {
			t.Errorf("after %s: %d in flight, owed: %t", time.Since(b.began), o.inFlight, b.Owes(keyOf("x")))
		}
		<-time.After(time.Minute)
		wantTold(t, o, "ADDED x u 1")
		other := &testOutlet{}
		b.Open(other)
		b.drain()
		wantTold(t, other, "ADDED x u 1")
	})
}

func TestMoreIsSentWhileSomethingIsInFlight(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{delay: time.Second}
		b.Open(o)
		for i := range 4 * maxInFlight {
			b.Offer(configMaps, added(fmt.Sprint("x", i), "u", 1))
		}
		b.drain()
		if o.most != maxInFlight || !b.after(4*time.Second) {
			t.Errorf("up to %d were in flight, in %s", o.most, time.Since(b.began))
		}
	})
}

func TestNoMoreBytesAreInFlightThanMayBe(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		const each = 1 << 20
		o := &testOutlet{delay: time.Second, limit: 2 * each}
		b.Open(o)
		for i := range 24 {
			b.Offer(configMaps, newVersion(wire.Added, fmt.Sprint("x", i), "u", 1, each))
		}
		b.drain()
		if o.most != maxInFlightBytes/each || !b.after(3*time.Second) {
			t.Errorf("up to %d MiB were in flight, in %s", o.most, time.Since(b.began))
		}
	})
}

func TestOneMessageOfAnObjectIsInFlight(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{delay: time.Second}
		b.Open(o)
		b.Offer(configMaps, added("x", "a", 1))
		synctest.Wait()
		b.Offer(configMaps, newVersion(wire.Modified, "x", "a", 2, 0))
		b.Offer(configMaps, newVersion(wire.Modified, "x", "a", 3, 0))
		b.Offer(configMaps, added("y", "u", 1))
		synctest.Wait()
		wantTold(t, o, "ADDED x a 1", "ADDED y u 1")
		b.drain()
		wantTold(t, o, "ADDED x a 1", "ADDED y u 1", "MODIFIED x a 3")
	})
}

// TestAnswersAreByMessage: what is not confirmed of a batch, and only that, is sent again.
func TestAnswersAreByMessage(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		batches := 0
		o := &testOutlet{answer: func([]bus.Message) []error {
			if batches++; batches == 1 {
				return []error{nil, bus.ErrNotConfirmed, nil}
			}
			return nil
		}}
		for _, name := range []string{"x", "y", "z"} {
			b.Offer(configMaps, added(name, "u", 1))
		}
		b.Open(o)
		b.drain()
		wantTold(t, o, "ADDED x u 1", "ADDED y u 1", "ADDED z u 1", "ADDED y u 1")
		b.wantMetric("publish_retries_total", "event", 1)
		b.wantMetric("changes_published_total", "ADDED", 3)
		b.wantMetric("last_acknowledgement_timestamp_seconds", "", float64(time.Now().UnixMilli())/1000)
	})
}

func TestWhatCannotBeSentIsSentAgain(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		attempts := 0
		o := &testOutlet{send: func([]bus.Message) (int, error) {
			if attempts++; attempts < 4 {
				return 1, errors.New("broken")
			}
			return 0, nil
		}}
		b.Open(o)
		b.Offer(configMaps, added("x", "u", 1))
		synctest.Wait()
		if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "broken") {
			t.Errorf("while nothing is confirmed: %v", err)
		}
		b.drain()
		if want := 700 * time.Millisecond; !b.after(want) {
			t.Errorf("after %s, want %s", time.Since(b.began), want)
		}
		if err := b.Ready(); err != nil {
			t.Errorf("after the confirmation: %v", err)
		}
	})
}

// TestWhatChangesAllTheTimeIsNotSentAllTheTime while it is not confirmed.
func TestWhatChangesAllTheTimeIsNotSentAllTheTime(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{delay: 50 * time.Millisecond, answer: func([]bus.Message) []error { return []error{bus.ErrNotConfirmed} }}
		b.Open(o)
		b.Offer(configMaps, added("x", "u", 1))
		for version := 2; version < 5; version++ {
			<-time.After(10 * time.Millisecond)
			b.Offer(configMaps, newVersion(wire.Modified, "x", "u", version, 0))
		}
		<-time.After(100 * time.Millisecond)
		wantTold(t, o, "ADDED x u 1")
		<-time.After(100 * time.Millisecond)
		wantTold(t, o, "ADDED x u 1", "ADDED x u 4")
	})
}

// TestARefusingStreamHoldsUpNothingElse: the core subject hears everything, once and in time, and other objects are recorded.
func TestARefusingStreamHoldsUpNothingElse(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{records: true, answer: refusing("x")}
		b.Open(o)
		b.Offer(configMaps, added("x", "u", 1))
		b.Offer(configMaps, added("y", "u", 1))
		<-time.After(time.Minute)
		b.Offer(configMaps, newVersion(wire.Modified, "x", "u", 2, 0))
		b.Offer(configMaps, newVersion(wire.Modified, "y", "u", 2, 0))
		synctest.Wait()
		wantTold(t, o, "ADDED x u 1", "ADDED y u 1", "ADDED x u 2", "MODIFIED y u 2")
		wantRecorded(t, o, "ADDED y u 1", "MODIFIED y u 2")
		if err := b.Refused(); err == nil || b.Ready() != nil || !b.Owes(keyOf("x")) || b.Owes(keyOf("y")) {
			t.Errorf("refused: %v, ready: %v", err, b.Ready())
		}
		b.wantMetric("pending_records", "", 1)
		if refused, _ := b.measured("records_refused_total", ""); refused < 5 || refused > 20 {
			t.Errorf("the record was refused %v times in a minute", refused)
		}
		o.mu.Lock()
		o.answer = nil
		o.mu.Unlock()
		b.drain()
		wantTold(t, o, "ADDED x u 1", "ADDED y u 1", "ADDED x u 2", "MODIFIED y u 2")
		wantRecorded(t, o, "ADDED y u 1", "MODIFIED y u 2", "ADDED x u 2")
		if err := b.Refused(); err != nil {
			t.Errorf("after it was taken: %v", err)
		}
	})
}

// TestTheNextChangeDoesNotWaitForARecord: it takes its place.
func TestTheNextChangeDoesNotWaitForARecord(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{records: true, delay: 10 * time.Millisecond, answer: refusing("x")}
		b.Open(o)
		b.Offer(configMaps, newVersion(wire.Deleted, "x", "a", 1, 0))
		b.Offer(configMaps, added("x", "b", 2))
		<-time.After(10 * time.Millisecond)
		synctest.Wait()
		wantTold(t, o, "DELETED x a 1", "ADDED x b 2")
		o.mu.Lock()
		o.answer = nil
		o.mu.Unlock()
		b.drain()
		wantRecorded(t, o, "ADDED x b 2")
	})
}

func TestWhatIsOnlyOwedToTheStreamIsNotOwedWithoutOne(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{records: true, answer: refusing("x")}
		b.Open(o)
		b.Offer(configMaps, added("x", "u", 1))
		<-time.After(time.Second)
		b.Pause()
		core := &testOutlet{}
		b.Open(core)
		b.drain()
		if core.most > 0 {
			t.Errorf("%d messages", core.most)
		}
	})
}

// TestWhatIsGoneHasASmallRecord, and all else the message itself.
func TestWhatIsGoneHasASmallRecord(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		var records []string
		o := &testOutlet{records: true, answer: func(messages []bus.Message) []error {
			for _, message := range messages {
				records = append(records, string(message.Record.Body))
			}
			return nil
		}}
		gone := newVersion(wire.Deleted, "x", "u", 1, 500)
		gone.Gone = newMessage("x", "u", 1, 0)
		b.Offer(configMaps, gone)
		b.Offer(configMaps, added("y", "u", 1))
		b.Open(o)
		b.drain()
		if want := []string{string(wire.AppendEnd(newMessage("x", "u", 1, 0), wire.Deleted)), ""}; !slices.Equal(records, want) {
			t.Errorf("got %q, want %q", records, want)
		}
	})
}

// TestWhatIsMadeAnewIsToldOnceMore: Meshery Server applies deletes last.
func TestWhatIsMadeAnewIsToldOnceMore(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{delay: 10 * time.Millisecond}
		b.Open(o)
		b.Offer(configMaps, newVersion(wire.Deleted, "x", "a", 1, 0))
		b.Offer(configMaps, added("x", "b", 2))
		<-time.After(1019 * time.Millisecond)
		synctest.Wait()
		wantTold(t, o, "DELETED x a 1", "ADDED x b 2")
		if bytes := b.pending.weighs().bytes; bytes == 0 {
			t.Error("its bytes are not counted")
		}
		b.drain()
		wantTold(t, o, "DELETED x a 1", "ADDED x b 2", "ADDED x b 2")
		if !b.after(1030 * time.Millisecond) {
			t.Errorf("after %s", time.Since(b.began))
		}
		b.wantMetric("changes_published_total", "ADDED", 1)
	})
}

func TestWhatIsMadeAnewLaterIsToldOnce(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{}
		b.Open(o)
		b.Offer(configMaps, newVersion(wire.Deleted, "x", "a", 1, 0))
		<-time.After(repeatAfter)
		b.Offer(configMaps, added("x", "b", 2))
		b.drain()
		wantTold(t, o, "DELETED x a 1", "ADDED x b 2")
	})
}

func TestOnlyTheNewestIsToldOnceMore(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{}
		b.Open(o)
		b.Offer(configMaps, newVersion(wire.Deleted, "x", "a", 1, 0))
		b.Offer(configMaps, added("x", "b", 2))
		b.Offer(configMaps, newVersion(wire.Deleted, "y", "a", 1, 0))
		b.Offer(configMaps, added("y", "b", 2))
		<-time.After(600 * time.Millisecond)
		b.Offer(configMaps, newVersion(wire.Modified, "x", "b", 3, 0)) // within the second: it may have been lost, too
		b.Offer(configMaps, newVersion(wire.Deleted, "y", "b", 3, 0))
		b.drain()
		told := o.told()
		slices.SortStableFunc(told, func(a, b string) int { return cmp.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) }) // by name
		want := []string{
			"DELETED x a 1", "ADDED x b 2", "MODIFIED x b 3", "MODIFIED x b 3",
			"DELETED y a 1", "ADDED y b 2", "DELETED y b 3",
		}
		if !slices.Equal(told, want) {
			t.Errorf("told %q\nwant %q", told, want)
		}
		if !b.after(1600 * time.Millisecond) {
			t.Errorf("after %s", time.Since(b.began))
		}
	})
}

func TestWhatIsMadeAnewIsToldOnceMoreThoughTheStreamRefuses(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		o := &testOutlet{records: true, answer: refusing("x")}
		b.Open(o)
		b.Offer(configMaps, newVersion(wire.Deleted, "x", "a", 1, 0))
		b.Offer(configMaps, added("x", "b", 2))
		<-time.After(time.Minute)
		wantTold(t, o, "DELETED x a 1", "ADDED x b 2", "ADDED x b 2")
		b.Pause()
	})
}

func TestWhatIsUrgentIsToldFirst(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		bulk := func(name string) wire.Change {
			change := added(name, "u", 1)
			change.Bulk = true
			return change
		}
		b.Offer(configMaps, bulk("w"))
		synctest.Wait() // it is held until it may be sent
		b.Offer(configMaps, bulk("x"))
		b.Offer(configMaps, bulk("y"))
		b.Offer(configMaps, added("z", "u", 1))
		b.Offer(configMaps, newVersion(wire.Deleted, "v", "u", 1, 0))
		b.Offer(configMaps, newVersion(wire.Modified, "y", "u", 2, 0))
		o := &testOutlet{}
		b.Open(o)
		b.drain()
		wantTold(t, o, "ADDED w u 1", "DELETED v u 1", "ADDED z u 1", "ADDED y u 2", "ADDED x u 1")
	})
}

func TestWhatIsTooLargeIsTrimmed(t *testing.T) {
	var trimmed []string
	o := Options{Trim: simTrim, OnTrimmed: func(key Key, without []string) { trimmed = append(trimmed, key.Name, without[0]) }}
	runQueue(t, o, func(b *bench) {
		o := &testOutlet{}
		b.Open(o)
		b.Offer(configMaps, newVersion(wire.Added, "large", "u", 1, 1001))
		b.Offer(configMaps, added("fine", "u", 1))
		b.drain()
		wantTold(t, o, "ADDED large u 1", "ADDED fine u 1")
		b.wantMetric("changes_trimmed_total", "", 1)
		if !slices.Equal(trimmed, []string{"large", "blanks"}) {
			t.Errorf("trimmed: %v", trimmed)
		}
	})
}

func TestWhatIsTooLargeAllTheSameDoesNotHoldUpTheRest(t *testing.T) {
	for name, trim := range map[string]func([]byte, int) ([]byte, []string, bool){
		"without a way to trim": nil, "when that is not enough": func([]byte, int) ([]byte, []string, bool) { return nil, nil, false },
	} {
		t.Run(name, func(t *testing.T) {
			runQueue(t, Options{Trim: trim}, func(b *bench) {
				o := &testOutlet{}
				b.Open(o)
				b.Offer(configMaps, newVersion(wire.Added, "large", "u", 1, 1001))
				b.Offer(configMaps, added("fine", "u", 1))
				b.drain()
				wantTold(t, o, "ADDED fine u 1")
				b.wantMetric("changes_dropped_total", tooLarge, 1)
			})
		})
	}
}

// TestWhatIsSentAgainIsTheSame: the bytes of a message are the same at every attempt, also after its end was written into the room that
// was left for it.
func TestWhatIsSentAgainIsTheSame(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		const attempts = 4
		bodies := map[string][]string{}
		b.Open(&testOutlet{answer: func(messages []bus.Message) []error {
			errs := make([]error, len(messages))
			for i, message := range messages {
				m, err := read(message.Body)
				if err != nil {
					t.Error(err)
				}
				if bodies[m.String()] = append(bodies[m.String()], string(message.Body)); len(bodies[m.String()]) < attempts {
					errs[i] = bus.ErrNotConfirmed
				}
			}
			return errs
		}})
		b.Offer(configMaps, newVersion(wire.Deleted, "x", "u1", 1, 0))
		b.Offer(configMaps, added("x", "u3", 2))
		b.Offer(configMaps, added("y", "u2", 1))
		b.drain()
		for text, times := range map[string]int{"DELETED x u1 1": attempts, "ADDED x u3 2": attempts + 1, "ADDED y u2 1": attempts} {
			if all := bodies[text]; len(all) != times || len(slices.Compact(all)) != 1 {
				t.Errorf("%s was sent as %q", text, all)
			}
		}
	})
}

// TestHowLongAChangeTakesIsMeasured from when it was seen: of those that collapse, from the first.
func TestHowLongAChangeTakesIsMeasured(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		b.Offer(configMaps, added("x", "u", 1))
		<-time.After(3 * time.Second) // fake time
		b.Offer(configMaps, newVersion(wire.Modified, "x", "u", 2, 0))
		b.wantMetric("pending_oldest_seconds", "", 3)
		b.Open(&testOutlet{delay: 2 * time.Second})
		b.drain()
		b.wantMetric("pending_oldest_seconds", "", 0)
		for stage, want := range map[string]float64{"sent": 3, "acknowledged": 5} {
			if n, took := b.measured("delivery_seconds", stage); n != 1 || took != want {
				t.Errorf("%s: %v took %v s, want 1 in %v", stage, n, took, want)
			}
		}
	})
}

// TestWhatTheCoreSubjectHasHadIsPassedOn, and nothing that it may not have had.
func TestWhatTheCoreSubjectHasHadIsPassedOn(t *testing.T) {
	var had []string
	note := func(key Key, change wire.Change, at time.Time) {
		had = append(had, fmt.Sprint(change.Event, key.Name, change.ResourceVersion, at.Nanosecond()/1e6))
	}
	runQueue(t, Options{OnConfirmed: note}, func(b *bench) {
		attempts := 0
		o := &testOutlet{records: true, delay: 10 * time.Millisecond, answer: func([]bus.Message) []error {
			switch attempts++; attempts {
			case 1:
				return []error{bus.ErrNotConfirmed}
			case 2:
				return []error{bus.ErrRefused}
			}
			return nil
		}}
		b.Open(o)
		b.Offer(configMaps, added("x", "u", 1))
		b.drain()
		if want := []string{"ADDEDx1120"}; !slices.Equal(had, want) {
			t.Errorf("got %v, want %v", had, want)
		}
	})
}

func TestDrainGivesUp(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		b.Open(&testOutlet{answer: func([]bus.Message) []error { return []error{bus.ErrNotConfirmed} }})
		b.Offer(configMaps, added("x", "u", 1))
		patience, stop := context.WithTimeout(b.t.Context(), 10*time.Second)
		defer stop()
		if left := b.Drain(patience); left != 1 || !b.after(10*time.Second) {
			t.Errorf("%d left after %s", left, time.Since(b.began))
		}
	})
}

func TestDrainDoesNotWaitWhileNothingMayBeSent(t *testing.T) {
	runQueue(t, Options{}, func(b *bench) {
		b.Offer(configMaps, added("x", "u", 1))
		if left := b.Drain(b.t.Context()); left != 1 || !b.after(0) {
			t.Errorf("%d left after %s", left, time.Since(b.began))
		}
	})
}

// TestTheQueueEndsWhateverItWaitsFor.
func TestTheQueueEndsWhateverItWaitsFor(t *testing.T) {
	for name, outlet := range map[string]*testOutlet{"to be opened": nil, "for an answer": {delay: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			runQueue(t, Options{}, func(b *bench) {
				if outlet != nil {
					b.Open(outlet)
				}
				b.Offer(configMaps, added("x", "u", 1))
				synctest.Wait()
			})
		})
	}
	t.Run("for its pace", func(t *testing.T) {
		runQueue(t, Options{MessagesPerSecond: 0.001}, func(b *bench) {
			b.Open(&testOutlet{})
			for i := range 10 {
				b.Offer(configMaps, added(fmt.Sprint("x", i), "u", 1))
			}
			synctest.Wait()
		})
	})
}

func TestTheRateIsKeptAndCanBeChanged(t *testing.T) {
	runQueue(t, Options{MessagesPerSecond: 10}, func(b *bench) {
		o := &testOutlet{}
		b.Open(o)
		for i := range 200 {
			b.Offer(configMaps, added(fmt.Sprint("x", i), "u", 1))
		}
		<-time.After(4*time.Second + 50*time.Millisecond)
		if n := len(o.told()); n < 50 || n > 60 {
			t.Errorf("%d messages in 4 s, want 10 at once and 10 per second, and no more than 10 ahead of that", n)
		}
		b.SetRate(0, 0)
		b.drain()
		if took := time.Since(b.began); took > 5*time.Second {
			t.Errorf("without a limit it took until %s", took)
		}
	})
}

// fetched is a cluster whose objects have version 2 by the time they are fetched.
type fetched struct {
	bench  *bench
	names  []string
	lists  int
	wanted []string
	fails  int // lists
	during func()
}

func (f *fetched) fetch(_ context.Context, resource schema.GroupVersionResource, wanted func(namespace, name string) bool) error {
	if f.lists++; f.lists <= f.fails {
		return errors.New("list fails")
	}
	if f.during != nil {
		f.during()
	}
	for _, name := range f.names {
		if wanted("", name) {
			f.wanted = append(f.wanted, name)
			change := newVersion(wire.Modified, name, "u", 2, 100)
			change.Bulk = true
			f.bench.MakeWay()
			f.bench.Offer(resource, change)
		}
	}
	return nil
}

// withBudget runs a queue that keeps no bodies past 600 bytes: a to c are offered with one, d and e lose it.
func withBudget(t *testing.T, f *fetched, body func(*bench)) {
	runQueue(t, Options{MaxPendingBytes: 600, Fetch: f.fetch}, func(b *bench) {
		f.bench, f.names = b, []string{"a", "b", "c", "d", "e"}
		for i, name := range f.names {
			if room := b.MakeWay(); room != (i < 3) {
				t.Errorf("before %s: room %t", name, room)
			}
			b.Offer(configMaps, newVersion(wire.Added, name, "u", 1, 160))
			synctest.Wait() // the first one is held until it may be sent
		}
		body(b)
	})
}

func TestWhatThereWasNoRoomForIsFetched(t *testing.T) {
	f := &fetched{}
	withBudget(t, f, func(b *bench) {
		gone := newVersion(wire.Deleted, "g", "u", 1, 400)
		gone.Gone = newMessage("g", "u", 1, 0)
		before := b.pending.weighs().bytes
		b.Offer(configMaps, gone)
		if grown := b.pending.weighs().bytes - before; grown > 200 {
			t.Errorf("what is gone takes %d bytes", grown)
		}
		<-time.After(time.Minute)
		if f.lists > 0 {
			t.Error("fetched before it could be sent")
		}
		o := &testOutlet{}
		b.Open(o)
		b.drain()
		wantTold(t, o, "ADDED a u 1", "DELETED g u 1", "ADDED b u 1", "ADDED c u 1", "ADDED d u 2", "ADDED e u 2")
		if f.lists != 1 || !slices.Equal(f.wanted, []string{"d", "e"}) {
			t.Errorf("%d lists, for %v", f.lists, f.wanted)
		}
		b.wantMetric("fetches_total", "", 1)
	})
}

// TestFetchingDoesNotEndWithTheFirst, and nothing is fetched while it could not be sent.
func TestFetchingDoesNotEndWithTheFirst(t *testing.T) {
	f := &fetched{}
	withBudget(t, f, func(b *bench) {
		b.Open(&testOutlet{})
		b.drain()
		b.Pause()
		lacking := wire.Change{Event: wire.Modified, Name: "a", UID: "u", Seen: time.Now()}
		b.Offer(configMaps, lacking)
		b.Offer(configMaps, newVersion(wire.Modified, "a", "u", 2, 0)) // so there is nothing to fetch
		b.Open(&testOutlet{})
		b.drain()
		synctest.Wait()
		b.Pause()
		b.Offer(configMaps, lacking)
		<-time.After(time.Minute)
		if f.lists != 1 {
			t.Errorf("%d lists while it is paused", f.lists)
		}
		o := &testOutlet{}
		b.Open(o)
		b.drain()
		wantTold(t, o, "MODIFIED a u 2")
	})
}

func TestAListThatFailsIsTriedAgain(t *testing.T) {
	f := &fetched{fails: 3}
	withBudget(t, f, func(b *bench) {
		o := &testOutlet{}
		b.Open(o)
		b.drain()
		wantTold(t, o, "ADDED a u 1", "ADDED b u 1", "ADDED c u 1", "ADDED d u 2", "ADDED e u 2")
		if want := 7 * time.Second; !b.after(want) {
			t.Errorf("after %s, want %s", time.Since(b.began), want)
		}
	})
}

// TestWhatIsNotThereAnyMoreIsNotOwed: what has happened during the list is.
func TestWhatIsNotThereAnyMoreIsNotOwed(t *testing.T) {
	f := &fetched{}
	withBudget(t, f, func(b *bench) {
		f.names = []string{"e"}
		f.during = func() {
			if f.lists == 1 {
				b.Offer(configMaps, wire.Change{Event: wire.Added, Name: "f", UID: "u", Seen: time.Now()})
			} else {
				f.names = []string{"f"}
			}
		}
		o := &testOutlet{}
		b.Open(o)
		b.drain()
		wantTold(t, o, "ADDED a u 1", "ADDED b u 1", "ADDED c u 1", "ADDED e u 2", "ADDED f u 2")
		if f.lists != 2 {
			t.Errorf("%d lists", f.lists)
		}
	})
}

// TestAFetchBringsNoMoreThanThereIsRoomFor, and what it leaves out is not taken for gone.
func TestAFetchBringsNoMoreThanThereIsRoomFor(t *testing.T) {
	f := &fetched{}
	withBudget(t, f, func(b *bench) {
		for i := range 20 {
			name := fmt.Sprintf("z%02d", i)
			f.names = append(f.names, name)
			b.Offer(configMaps, newVersion(wire.Added, name, "u", 1, 100))
		}
		o, most := &testOutlet{delay: time.Second}, 0
		o.answer = func([]bus.Message) []error { most = max(most, b.pending.weighs().bytes); return nil }
		b.Open(o)
		b.drain()
		if len(o.told()) != 25 || most > 800 || f.lists < 4 {
			t.Errorf("%d messages, up to %d bytes, %d lists", len(o.told()), most, f.lists)
		}
	})
}

func TestWithoutAWayToFetchAllBodiesAreKept(t *testing.T) {
	runQueue(t, Options{MaxPendingBytes: 100}, func(b *bench) {
		for i := range 10 {
			b.Offer(configMaps, added(fmt.Sprint("x", i), "u", 1))
		}
		if !b.MakeWay() {
			t.Error("there is no room")
		}
		o := &testOutlet{}
		b.Open(o)
		b.drain()
		if n := len(o.told()); n != 10 {
			t.Errorf("%d messages", n)
		}
	})
}
