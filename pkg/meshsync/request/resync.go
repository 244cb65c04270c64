package request

import (
	"context"
	"encoding/json"
	"time"

	"k8s.io/klog/v2"
)

// resyncQuiet is how long a resync waits for further requests of the same kind, which it then answers too.
const resyncQuiet = time.Second

// resyncPatience is how long a resync goes on when another is asked for meanwhile, which begins with everything anew.
const resyncPatience = 30 * time.Second

// scheduleResync lets everything be published again soon. Requests that come before that has begun do not make it happen twice.
func (s *Server) scheduleResync(context.Context, json.RawMessage) error {
	s.oweResync()
	return nil
}

func (s *Server) oweResync() {
	select {
	case s.resync <- struct{}{}:
	default: // it is due already
	}
}

// resyncWhenDue holds up no other requests: it may take long, and longer while the API server is away.
func (s *Server) resyncWhenDue(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.resync:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(resyncQuiet):
		}
		select {
		case <-s.resync: // came meanwhile
		default:
		}
		logger := klog.FromContext(ctx)
		logger.Info("Publishing everything again")
		if err := s.resyncUntilDueAgain(ctx); err != nil && ctx.Err() == nil {
			logger.Error(err, "Not everything could be published again")
		}
	}
}

// resyncUntilDueAgain goes on for as long as it takes, unless it takes long and is asked for again: a kind that cannot be read for hours
// must not keep the others from being published when somebody wants them.
func (s *Server) resyncUntilDueAgain(ctx context.Context) error {
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	done := make(chan error, 1)
	go func() { done <- s.store.Resync(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(resyncPatience):
	}
	select {
	case err := <-done:
		return err
	case <-s.resync:
		s.oweResync() // it is the next
		giveUp()
		return <-done
	}
}
