package publish

import (
	"context"

	"golang.org/x/time/rate"
)

// pace limits the messages per second; a burst of one batch may go out at once.
type pace struct{ limiter *rate.Limiter }

// newPace makes no limit of 0.
func newPace(messagesPerSecond float64) pace {
	limit := rate.Limit(messagesPerSecond)
	if messagesPerSecond <= 0 {
		limit = rate.Inf
	}
	return pace{rate.NewLimiter(limit, 2*maxBatch)}
}

// wait returns when n messages may be sent, or when ctx ends.
func (p pace) wait(ctx context.Context, n int) error {
	return p.limiter.WaitN(ctx, min(n, p.limiter.Burst()))
}
