package meshsync

import (
	"context"
	"sync"

	"meshery.io/operator/pkg/meshsync/watch"
)

// ahead reads a watch-list before the watches begin, for what stands beside it.
type ahead struct {
	mu      sync.Mutex
	last    *watch.Given
	deliver func(watch.Given)
}

func (a *ahead) put(given watch.Given) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = &given
	if a.deliver != nil {
		a.deliver(given)
	}
}

// source delivers what there is, and what comes.
func (a *ahead) source(ctx context.Context, deliver func(watch.Given)) {
	a.mu.Lock()
	a.deliver = deliver
	if a.last != nil {
		deliver(*a.last)
	}
	a.mu.Unlock()
	<-ctx.Done()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deliver = nil
}
