package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// churn makes, changes and deletes objects all the time, also while the API server is away: what cannot be done now is not done.
type churn struct {
	cluster *cluster
	changes atomic.Int64 // that the API server has made
	stop    func()       // waits

	mu      sync.Mutex
	removed []removal
}

// removal is when an object was asked to go, whether or not it did.
type removal struct {
	kind, namespace, name string
	from, until           time.Time
}

// act is what happens to an object.
type act int

const (
	update act = iota
	updateStatus
	create
	remove
	recreate
)

// chances of each act, out of the sum of all.
var chances = []struct {
	act    act
	chance int
}{{update, 60}, {updateStatus, 4}, {create, 12}, {remove, 10}, {recreate, 14}}

func actBy(chance *rand.Rand) act {
	sum := 0
	for _, c := range chances {
		sum += c.chance
	}
	n := chance.IntN(sum)
	for _, c := range chances {
		if n -= c.chance; n < 0 {
			return c.act
		}
	}
	panic("unreachable")
}

// step is one act on one object.
type step struct {
	act act
	place
	n int
}

// startChurn changes objects at these places, as chance has it, so many times a second until it is stopped. The steps are the same
// for the same seed; when each happens is not.
func startChurn(ctx context.Context, c *cluster, chance *rand.Rand, all []place, rate int) *churn {
	ctx, cancel := context.WithCancel(ctx)
	churn := &churn{cluster: c}
	var wg sync.WaitGroup
	churn.stop = func() {
		cancel()
		wg.Wait()
	}
	// Each worker has objects of its own, so that nothing happens to one at the same time.
	steps := make([]chan step, writers)
	for n := range steps {
		steps[n] = make(chan step, 1)
		wg.Go(func() {
			for s := range steps[n] {
				churn.do(ctx, s)
			}
		})
	}
	wg.Go(func() {
		defer func() {
			for _, worker := range steps {
				close(worker)
			}
		}()
		ticker := time.NewTicker(time.Second / time.Duration(rate))
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			at := chance.IntN(len(all))
			s := step{actBy(chance), all[at], chance.IntN(1000)}
			select {
			case <-ctx.Done():
				return
			case steps[at%writers] <- s:
			}
		}
	})
	return churn
}

// do what is said. Of what was begun nothing is left undone when the churn is stopped, if the API server is there.
func (c *churn) do(ctx context.Context, s step) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestPatience)
	defer cancel()
	switch s.act {
	case updateStatus:
		if s.status {
			c.count(c.cluster.patch(ctx, s.path()+"/status", fmt.Appendf(nil, `{"status":{"n":%d}}`, s.n)))
			return
		}
		fallthrough
	case update:
		if err := c.cluster.patch(ctx, s.path(), s.patch(s.n)); !apierrors.IsNotFound(err) {
			c.count(err)
			return
		}
		fallthrough
	case create:
		c.create(ctx, s)
	case remove:
		c.remove(ctx, s)
	case recreate:
		c.remove(ctx, s)
		c.create(ctx, s)
	}
}

func (c *churn) create(ctx context.Context, s step) {
	c.count(c.cluster.post(ctx, s.kind.path(s.namespace, ""), s.object(s.name, s.n)))
}

func (c *churn) remove(ctx context.Context, s step) {
	r := removal{kind: s.kind.name, namespace: s.namespace, name: s.name, from: time.Now()}
	err := c.cluster.remove(ctx, s.kind, s.namespace, s.name)
	r.until = time.Now()
	c.count(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = append(c.removed, r)
}

func (c *churn) count(err error) {
	if err == nil {
		c.changes.Add(1)
	}
}

// removedBetween tells whether an object may have gone in a while.
func (c *churn) removedBetween(s state, from, until time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.removed, func(r removal) bool {
		return r.kind == s.Kind && r.namespace == s.Namespace && r.name == s.Name && r.until.After(from) && r.from.Before(until)
	})
}
