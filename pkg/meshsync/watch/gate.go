package watch

import (
	"context"
	"slices"
	"sync"
)

// maxFirstLists is how many kinds are listed for the first time at once. More would only make the API server and this process hold
// more objects at the same time.
const maxFirstLists = 8

// gate lets in a few at a time, tier by tier: while anybody of a tier waits or is inside, nobody of a later one is let in.
type gate struct {
	mu      sync.Mutex
	inside  []int // their tiers
	waiting []*ticket
}

// ticket is a place in the queue. Tickets are drawn in order, by one goroutine; then each waits on its own.
type ticket struct {
	gate     *gate
	tier     int
	admitted chan struct{}
}

func (g *gate) draw(tier int) *ticket {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &ticket{gate: g, tier: tier, admitted: make(chan struct{})}
	g.waiting = append(g.waiting, t)
	g.admit()
	return t
}

// enter waits until it is the ticket's turn. It returns false, and the ticket is void, if ctx ends first.
func (t *ticket) enter(ctx context.Context) bool {
	select {
	case <-t.admitted:
		return true
	case <-ctx.Done():
		t.leave()
		return false
	}
}

// leave makes room for the next, whether or not the ticket was admitted.
func (t *ticket) leave() {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, t); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	} else if i := slices.Index(g.inside, t.tier); i >= 0 {
		g.inside = slices.Delete(g.inside, i, i+1)
	}
	g.admit()
}

func (g *gate) admit() {
	slices.SortStableFunc(g.waiting, func(a, b *ticket) int { return a.tier - b.tier })
	for len(g.waiting) > 0 && len(g.inside) < maxFirstLists {
		next := g.waiting[0]
		if len(g.inside) > 0 && slices.Min(g.inside) < next.tier {
			return
		}
		g.waiting = g.waiting[1:]
		g.inside = append(g.inside, next.tier)
		close(next.admitted)
	}
}
