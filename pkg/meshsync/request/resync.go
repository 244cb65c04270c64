package request

import (
	"context"
	"encoding/json"
	"time"
)

// resyncQuiet is how long a resync waits for further requests of the same kind, which it then answers too.
const resyncQuiet = time.Second

// scheduleResync lets everything be published again soon. Requests that come in the meantime do not put it off.
func (s *Server) scheduleResync(context.Context, json.RawMessage) error {
	if !s.resyncDue {
		s.resyncDue = true
		s.resync.Reset(resyncQuiet)
	}
	return nil
}
