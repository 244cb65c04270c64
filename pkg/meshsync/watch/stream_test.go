package watch

import (
	"testing"
	"testing/synctest"

	apiwatch "k8s.io/apimachinery/pkg/watch"
)

func TestAStreamHandsOnWhatWasSeen(t *testing.T) {
	source := apiwatch.NewFake()
	seen := 0
	s := through(source, func(event apiwatch.Event) apiwatch.Event {
		seen++
		return event
	})
	go func() {
		source.Add(configMap("demo", "x", "a", "1"))
		source.Stop()
	}()
	events := 0
	for range s.ResultChan() {
		events++
		if seen != events {
			t.Errorf("event %d was handed on, and %d were seen", events, seen)
		}
	}
	s.Stop()
	if events != 1 {
		t.Errorf("%d events", events)
	}
}

func TestAStreamThatIsStoppedEndsWhileAnEventWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		source := apiwatch.NewRaceFreeFake()
		s := through(source, func(event apiwatch.Event) apiwatch.Event { return event })
		source.Add(configMap("demo", "x", "a", "1"))
		synctest.Wait() // it waits to be taken
		s.Stop()
		s.Stop() // as informers do
		if _, ok := <-s.ResultChan(); ok {
			t.Error("an event came after the end")
		}
	})
}
