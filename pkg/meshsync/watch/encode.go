package watch

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/meshsync/wire/walk"
)

// Encoding is how objects are written into messages.
type Encoding struct {
	// ClusterID is the uid of the namespace kube-system.
	ClusterID string
	// ClearSecrets lets the values of Secrets leave the cluster.
	ClearSecrets bool
	// SkipUnchanged says nothing of a change that leaves a message as it was, but for its resource version.
	SkipUnchanged bool
	// Essence returns how to tell what counts in an object of a kind: while that stays the same, nothing is said of a change. For a kind
	// of which everything counts it returns nil, and the function that it returns nil for such an object. It may be nil.
	Essence func(resource schema.GroupVersionResource) func(object []byte) []byte
}

// scratchKept is how large an encoder's memory may be between two objects.
const scratchKept = 64 << 10

// encoder writes the objects of one watch, one at a time.
type encoder struct {
	kind    *walk.Kind
	essence func(object []byte) []byte // nil: everything counts
	skip    bool                       // nothing is said of what did not change the message
	obvious prometheus.Counter         // objects that took the obvious way
	scratch []byte                     // the message that was written last
}

func (e Encoding) of(resource schema.GroupVersionResource, s selection, m *metrics) *encoder {
	made := &encoder{
		kind: walk.NewKind(resource.GroupVersion().WithKind(s.kind), walk.Options{
			ClusterID: e.ClusterID, ClearSecrets: e.ClearSecrets, MetadataOnly: s.depth == v1alpha1.DepthInventory,
		}),
		skip:    e.SkipUnchanged,
		obvious: m.obvious,
	}
	if e.Essence != nil {
		made.essence = e.Essence(resource)
	}
	return made
}

// form says how much of its object a message has. Where it changes, nothing has happened to the object, but there is another message.
func (e Encoding) form(depth v1alpha1.Depth) string {
	if e.ClearSecrets {
		return string(depth) + ",clear"
	}
	return string(depth)
}

var errNoName = errors.New("it has no name")

// identify says which object it is, and in which state.
func (e *encoder) identify(data []byte) (*raw.Object, error) {
	_, id, err := safely(identify, nil, data, false)
	if err != nil {
		_, id, err = safely(e.kind.AppendSlowly, nil, data, false)
	}
	if err == nil && len(id.Name) == 0 {
		err = errNoName
	}
	if err != nil {
		return nil, err
	}
	return raw.NewObject(id.Namespace, id.Name, id.UID, id.ResourceVersion), nil
}

func identify(dst, data []byte, _ bool) ([]byte, walk.Identity, error) {
	id, err := walk.Identify(data)
	return dst, id, err
}

// encode writes the message about an object, which is there until the next call, all but its end. content is a hash of what counts
// in it; 0 if everything does.
func (e *encoder) encode(data []byte, deleted bool) (message []byte, content uint64, err error) {
	start := wire.AppendStart(slices.Grow(e.scratch[:0], len(data)))
	message, id, err := safely(e.kind.Append, start, data, deleted)
	if err != nil {
		e.obvious.Inc()
		message, id, err = safely(e.kind.AppendSlowly, start, data, deleted)
	}
	if err != nil {
		return nil, 0, err
	}
	if cap(message) <= scratchKept {
		e.scratch = message
	}
	return message, e.contentOf(data, message, len(start), id), nil
}

func (e *encoder) contentOf(data, message []byte, start int, id walk.Identity) uint64 {
	if e.essence != nil {
		if essence := e.essence(data); essence != nil {
			return xxhash.Sum64(essence)
		}
	}
	if !e.skip {
		return 0
	}
	var hash xxhash.Digest
	hash.Reset()
	_, _ = hash.Write(message[:start+id.VersionStart])
	_, _ = hash.Write(message[start+id.VersionEnd:])
	return hash.Sum64()
}

// keep returns a message that stays, with room for its end. A large one is not copied, unless much of its memory is not used.
func (e *encoder) keep(message []byte) []byte {
	if message == nil { // there is no room for it
		return nil
	}
	if cap(message) > scratchKept && len(message) > cap(message)/2 && cap(message)-len(message) >= wire.EndRoom {
		return message
	}
	return append(make([]byte, 0, len(message)+wire.EndRoom), message...)
}

// object writes an object alone.
func (e *encoder) object(data []byte) ([]byte, error) {
	message, _, err := safely(e.kind.Append, nil, data, false)
	if err != nil {
		e.obvious.Inc()
		message, _, err = safely(e.kind.AppendSlowly, nil, data, false)
	}
	return message, err
}

// gone writes the message about an object of which only its identity is known.
func (e *encoder) gone(object *raw.Object) []byte {
	return e.kind.Deleted(wire.AppendStart(nil), object.Namespace(), object.Name(), object.UID, object.ResourceVersion)
}

// safely calls a function that reads what an API server sends. Should that make it panic, it is one object that cannot be read.
func safely(read func(dst, data []byte, deleted bool) ([]byte, walk.Identity, error), dst, data []byte, deleted bool) (out []byte, id walk.Identity, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("reading it panics: %v", reason)
		}
	}()
	return read(dst, data, deleted)
}
