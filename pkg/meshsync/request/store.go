package request

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/meshsync/wire/walk"
)

const (
	// maxSlice is the most objects in one message of a reply, as Meshery Server expects.
	maxSlice = 5
	// A batch of a reply costs one round trip to the broker, and is held in memory.
	maxUnconfirmed      = 64
	maxUnconfirmedBytes = 4 << 20
	// silencePatience is how long the API server may take to send the next object: it may be asked for a thousand kinds of which there
	// is none, 50 a second. One kind that cannot be read is tried again until then; the end of the reply, and other requests, wait for it.
	silencePatience = 20 * time.Second
	// catchUpPatience is how long it may take to read once more what has changed meanwhile.
	catchUpPatience = time.Minute
)

var errSilent = fmt.Errorf("nothing more came for %s", silencePatience)

// sendStore replies with the current state. What happens to an object meanwhile goes out on the core subject, possibly before the
// slice that holds the older state; so whatever has changed by the end is published once more.
func (s *Server) sendStore(ctx context.Context, payload json.RawMessage) error {
	subject, err := replySubject(payload)
	if err != nil {
		return err
	}
	reply := &reply{bus: s.bus, subject: subject, limit: s.bus.MaxPayload()}
	listing, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	silence := time.AfterFunc(silencePatience, func() { giveUp(errSilent) })
	defer silence.Stop()
	catchUp, err := s.store.Objects(listing, func(object []byte) error {
		silence.Stop() // while the broker is waited for
		defer silence.Reset(silencePatience)
		if len(object)+wire.StoreOverhead(1) > reply.limit {
			id, _ := walk.Identify(object)
			klog.FromContext(ctx).Error(nil, "Object is larger than the broker's max_payload and is missing in the reply",
				"object", klog.KRef(string(id.Namespace), string(id.Name)), "bytes", len(object), "maxPayload", reply.limit)
			return nil
		}
		return reply.add(ctx, object)
	})
	err = errors.Join(err, context.Cause(listing), reply.finish(ctx))
	catchingUp, cancel := context.WithTimeout(ctx, catchUpPatience)
	defer cancel()
	return errors.Join(err, catchUp(catchingUp))
}

// replySubject reads where to reply to. A wildcard or a blank in it would be an error of the broker, which ends the connection.
func replySubject(payload json.RawMessage) (string, error) {
	var asked struct{ Reply string }
	if err := json.Unmarshal(payload, &asked); err != nil {
		return "", fmt.Errorf(`payload is not {"Reply":"subject"}: %w`, err)
	}
	for token := range strings.SplitSeq(asked.Reply, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t\r\n") {
			return "", fmt.Errorf("reply subject %q cannot be published to", shorten(asked.Reply))
		}
	}
	return asked.Reply, nil
}

// reply is objects on their way to a subject: in slices, and the slices in batches that are confirmed together.
type reply struct {
	bus     Bus
	subject string
	limit   int // bytes of a message

	slice       [][]byte
	bytes       int // of slice
	messages    []bus.Message
	unconfirmed int // bytes of messages
}

func (r *reply) add(ctx context.Context, object []byte) error {
	n := len(r.slice) + 1
	if n > maxSlice || r.bytes+len(object)+wire.StoreOverhead(n) > r.limit {
		r.closeSlice()
	}
	if len(r.messages) == maxUnconfirmed || r.unconfirmed >= maxUnconfirmedBytes {
		if err := r.send(ctx); err != nil {
			return err
		}
	}
	r.slice = append(r.slice, object)
	r.bytes += len(object)
	return nil
}

func (r *reply) finish(ctx context.Context) error {
	r.closeSlice()
	return r.send(ctx)
}

// closeSlice makes a message of the slice. An empty slice makes none: Meshery Server expects no reply without objects.
func (r *reply) closeSlice() {
	if len(r.slice) == 0 {
		return
	}
	body := wire.EncodeStore(r.slice)
	r.messages = append(r.messages, bus.Message{Subject: r.subject, Body: body})
	r.unconfirmed += len(body)
	r.slice, r.bytes = nil, 0
}

func (r *reply) send(ctx context.Context) error {
	if len(r.messages) == 0 {
		return nil
	}
	err := r.bus.Deliver(ctx, r.messages...)
	r.messages, r.unconfirmed = nil, 0
	return err
}
