package request

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

const (
	// maxSlice is the most objects in one message of a reply, as Meshery Server expects.
	maxSlice = 5
	// maxUnconfirmed is how many messages of a reply go out before the broker is asked whether it has them.
	maxUnconfirmed = 64
)

// sendStore replies with the current state. What happens to an object meanwhile goes out on the core subject, possibly before the
// slice that holds the older state; so whatever has changed by the end is published once more.
func (s *Server) sendStore(ctx context.Context, payload json.RawMessage) error {
	subject, err := replySubject(payload)
	if err != nil {
		return err
	}
	objects, catchUp := s.store.Snapshot()
	defer catchUp()
	reply := &reply{bus: s.bus, subject: subject, limit: s.bus.MaxPayload()}
	for _, obj := range objects {
		encoded, err := s.encoder.EncodeObject(obj)
		switch {
		case err != nil:
			klog.FromContext(ctx).Error(err, "Object is missing in the reply")
			continue
		case len(encoded)+wire.StoreOverhead(1) > reply.limit:
			klog.FromContext(ctx).Error(nil, "Object is larger than the broker's max_payload and is missing in the reply",
				"kind", obj.GetKind(), "object", klog.KObj(obj), "bytes", len(encoded), "maxPayload", reply.limit)
			continue
		}
		if err := reply.add(ctx, encoded); err != nil {
			return err
		}
	}
	return reply.finish(ctx)
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

	slice    []json.RawMessage
	bytes    int // of slice
	messages []bus.Message
}

func (r *reply) add(ctx context.Context, object json.RawMessage) error {
	n := len(r.slice) + 1
	if n > maxSlice || r.bytes+len(object)+wire.StoreOverhead(n) > r.limit {
		if err := r.closeSlice(); err != nil {
			return err
		}
	}
	if len(r.messages) == maxUnconfirmed {
		if err := r.send(ctx); err != nil {
			return err
		}
	}
	r.slice = append(r.slice, object)
	r.bytes += len(object)
	return nil
}

func (r *reply) finish(ctx context.Context) error {
	if err := r.closeSlice(); err != nil {
		return err
	}
	return r.send(ctx)
}

// closeSlice makes a message of the slice. An empty slice makes none: Meshery Server expects no reply without objects.
func (r *reply) closeSlice() error {
	if len(r.slice) == 0 {
		return nil
	}
	body, err := wire.EncodeStore(r.slice)
	if err != nil {
		return err
	}
	r.messages = append(r.messages, bus.Message{Subject: r.subject, Body: body})
	r.slice, r.bytes = nil, 0
	return nil
}

func (r *reply) send(ctx context.Context) error {
	if len(r.messages) == 0 {
		return nil
	}
	err := r.bus.Send(ctx, r.messages...)
	r.messages = nil
	return err
}
