package watch

import (
	"sync"

	apiwatch "k8s.io/apimachinery/pkg/watch"
)

// stream hands on the events of another, through a function. apimachinery's Filter does so, too, but never ends when it is stopped
// while an event waits to be taken.
type stream struct {
	source apiwatch.Interface
	events chan apiwatch.Event
	stop   func()
	ended  chan struct{} // closed when it is stopped
	over   chan struct{} // closed when nothing is handed on any more
}

func through(source apiwatch.Interface, see func(apiwatch.Event) apiwatch.Event) *stream {
	s := &stream{source: source, events: make(chan apiwatch.Event), ended: make(chan struct{}), over: make(chan struct{})}
	s.stop = sync.OnceFunc(func() { close(s.ended) })
	go s.run(see)
	return s
}

func (s *stream) run(see func(apiwatch.Event) apiwatch.Event) {
	defer close(s.over)
	defer close(s.events)
	for event := range s.source.ResultChan() {
		select {
		case s.events <- see(event):
		case <-s.ended:
			return
		}
	}
}

// ResultChan is what the informer reads.
func (s *stream) ResultChan() <-chan apiwatch.Event { return s.events }

// Stop returns when nothing is handed on any more.
func (s *stream) Stop() {
	s.stop()
	s.source.Stop()
	<-s.over
}
