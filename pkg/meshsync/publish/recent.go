package publish

import (
	"maps"
	"slices"
	"sync"
	"time"
	"unique"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/wire"
)

const (
	// DefaultMostRecent is how many names of objects a Recent is meant for. One costs some 210 bytes, and some 500 for each object that is
	// gone.
	DefaultMostRecent = 1 << 16

	// mostGone is how many objects that had the same name and are gone are remembered.
	mostGone = 8

	// mapSlack is how many objects are too few to be worth a smaller map.
	mapSlack = 1 << 10
)

// Recent remembers of which objects something was published lately, so that it can be published once more for those who were not
// connected. It keeps no bodies but the small messages of what is gone. It is safe for concurrent use.
type Recent struct {
	window time.Duration
	most   int

	mu      sync.Mutex
	start   time.Time // what times are counted from
	objects map[shortKey]*recent
	peak    int // the most objects that the map has had
	// In the order of the last message about them.
	oldest, newest *recent
	forgotten      time.Duration // when the last one that was dropped had been published
	keep           time.Duration // nothing that was published since then is dropped for its age
}

// shortKey is a Key, in half of its size.
type shortKey struct {
	resource        unique.Handle[schema.GroupVersionResource]
	namespace, name string
}

func objectOf(key Key) shortKey { return shortKey{unique.Make(key.Resource), key.Namespace, key.Name} }

func (o shortKey) key() Key {
	return Key{Resource: o.resource.Value(), Namespace: o.namespace, Name: o.name}
}

// recent is an object of which something was published.
type recent struct {
	object       shortKey
	at           time.Duration // the last message about it
	there        bool
	gone         []wire.Change // DELETED of those that had the name
	older, newer *recent
}

const (
	never  = time.Duration(-1)
	always = time.Duration(1<<63 - 1)
)

// Gone is an object that was said to be gone, with a small message.
type Gone struct {
	Key    Key
	Change wire.Change
}

// NewRecent makes a memory that begins now and goes back as far as window, and to so many objects.
func NewRecent(now time.Time, window time.Duration, most int) *Recent {
	return &Recent{start: now, window: window, most: most, objects: map[shortKey]*recent{}, forgotten: never, keep: always}
}

// Note remembers that a change was published at a time.
func (r *Recent) Note(key Key, at time.Time, change *wire.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.since(at)
	if r.newest != nil {
		now = max(now, r.newest.at) // two that are noted at once may come in another order
	}
	r.dropOld(now)
	noted := r.take(objectOf(key))
	noted.at, noted.there = now, change.Event != wire.Deleted
	if !noted.there {
		noted.addGone(change)
	}
	r.link(noted)
}

// take takes an object out of the order; one that is not known is new.
func (r *Recent) take(o shortKey) *recent {
	noted, known := r.objects[o]
	if known {
		r.unlink(noted)
		return noted
	}
	if len(r.objects) >= r.most {
		r.drop(r.oldest)
	}
	noted = &recent{object: o}
	r.objects[o] = noted
	r.peak = max(r.peak, len(r.objects))
	return noted
}

// addGone remembers no more of a DELETED than there is to say.
func (r *recent) addGone(change *wire.Change) {
	small := *change
	small.Message = small.Gone
	r.gone = append(slices.DeleteFunc(r.gone, func(other wire.Change) bool { return other.UID == small.UID }), small)
	r.gone = r.gone[max(0, len(r.gone)-mostGone):]
}

// Keep keeps what was published since then, however old it gets: while there is no connection nothing is published, and what was last
// may matter when there is one again. The zero time keeps nothing.
func (r *Recent) Keep(since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep = always
	if !since.IsZero() {
		r.keep = r.since(since)
	}
}

// Between returns the names about which the last message was published in a time, both ends included, oldest first: of those that are
// there, and the objects that had one and are gone. complete is false if some are not remembered any more: then everything has to be
// published.
func (r *Recent) Between(from, until time.Time) (there map[schema.GroupVersionResource][]Key, gone []Gone, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	there = map[schema.GroupVersionResource][]Key{}
	first, last := r.since(from), r.since(until)
	for noted := r.oldest; noted != nil && noted.at <= last; noted = noted.newer {
		if noted.at < first {
			continue
		}
		key := noted.object.key()
		for _, change := range noted.gone {
			gone = append(gone, Gone{key, change})
		}
		if noted.there {
			there[key.Resource] = append(there[key.Resource], key)
		}
	}
	return there, gone, r.forgotten < max(first, 0)
}

func (r *Recent) since(at time.Time) time.Duration { return at.Sub(r.start) }

func (r *Recent) dropOld(now time.Duration) {
	for r.oldest != nil && r.oldest.at < min(now-r.window, r.keep) {
		r.drop(r.oldest)
	}
	if r.peak > 4*len(r.objects)+mapSlack { // a map does not shrink on its own
		smaller := make(map[shortKey]*recent, len(r.objects))
		maps.Copy(smaller, r.objects)
		r.objects, r.peak = smaller, len(smaller)
	}
}

func (r *Recent) drop(noted *recent) {
	r.unlink(noted)
	delete(r.objects, noted.object)
	r.forgotten = noted.at
}

func (r *Recent) link(noted *recent) {
	noted.older, noted.newer = r.newest, nil
	if r.newest == nil {
		r.oldest = noted
	} else {
		r.newest.newer = noted
	}
	r.newest = noted
}

func (r *Recent) unlink(noted *recent) {
	if noted.older == nil {
		r.oldest = noted.newer
	} else {
		noted.older.newer = noted.newer
	}
	if noted.newer == nil {
		r.newest = noted.older
	} else {
		noted.newer.older = noted.older
	}
}
