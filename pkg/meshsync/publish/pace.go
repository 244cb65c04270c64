package publish

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// pace limits messages and bytes per second. Whoever sends pays afterwards, and who is in debt waits: so a message that is larger than what
// may be sent in a second is no special case.
type pace struct {
	messages, bytes *rate.Limiter

	mu      sync.Mutex
	changed chan struct{} // closed when the limits change
}

func newPace(messagesPerSecond float64, bytesPerSecond int64) *pace {
	return &pace{
		messages: rate.NewLimiter(limits(messagesPerSecond)),
		bytes:    rate.NewLimiter(limits(float64(bytesPerSecond))),
		changed:  make(chan struct{}),
	}
}

// limits are a limit, none of 0, and how much may go at once: what was saved for a second.
func limits(perSecond float64) (rate.Limit, int) {
	if perSecond <= 0 {
		return rate.Inf, 1
	}
	return rate.Limit(perSecond), max(1, int(perSecond))
}

// set changes the limits.
func (p *pace) set(messagesPerSecond float64, bytesPerSecond int64) {
	set(p.messages, messagesPerSecond)
	set(p.bytes, float64(bytesPerSecond))
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

func set(l *rate.Limiter, perSecond float64) {
	limit, burst := limits(perSecond)
	l.SetLimit(limit)
	l.SetBurst(burst)
}

// most is how many messages and bytes may go at once.
func (p *pace) most(messages, bytes int) (int, int) {
	return burst(p.messages, messages), burst(p.bytes, bytes)
}

func burst(l *rate.Limiter, most int) int {
	if l.Limit() == rate.Inf {
		return most
	}
	return min(most, l.Burst())
}

// spend says what was sent.
func (p *pace) spend(messages, bytes int) {
	now := time.Now()
	spend(p.messages, now, messages)
	spend(p.bytes, now, bytes)
}

func spend(l *rate.Limiter, now time.Time, n int) {
	if l.Limit() == rate.Inf {
		return
	}
	for most := l.Burst(); n > 0; n -= most {
		l.ReserveN(now, min(n, most))
	}
}

// wait returns when there is no debt, or with an error when ctx ends.
func (p *pace) wait(ctx context.Context) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		now := time.Now()
		debt := max(debt(p.messages, now), debt(p.bytes, now))
		if debt <= 0 {
			return nil
		}
		timer := time.NewTimer(debt)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// debt is how long it takes until there is something to spend.
func debt(l *rate.Limiter, now time.Time) time.Duration {
	if l.Limit() == rate.Inf {
		return 0
	}
	return time.Duration((1 - l.TokensAt(now)) / float64(l.Limit()) * float64(time.Second))
}
