package watch

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
)

// index is what was offered of one scope, and not as deleted: names and versions only. It decides what comes of what is seen. It has
// no lock.
type index struct {
	form  string                 // of the messages
	known map[string]*raw.Object // by their keys
	// inherited is of those that an earlier watch has offered, until it is known whether they are there.
	inherited map[string]origin

	generation uint32 // of the list that is being taken, or was last
	incomplete bool   // an object of it could not be read: what was not seen may be there
	newest     string // resource version that was seen
	rewound    bool   // the next list is true, however old it is
}

// origin is what there is to know of an earlier watch of the same kind.
type origin struct {
	form   string
	reason wire.Reason // to withdraw for what is not found; empty if it must have been deleted then
}

func newIndex(form string) *index {
	return &index{form: form, known: map[string]*raw.Object{}, inherited: map[string]origin{}}
}

// meaning is what comes of a state that is seen.
type meaning int

const (
	nothing  meaning = iota
	outdated         // it is older than what was offered
	added
	modified
	replaced // what was offered is gone, and another has its name
)

// meaningOf says what comes of a state. before is what was offered last; nil for nothing.
func (x *index) meaningOf(before, now *raw.Object) meaning {
	if before == nil {
		return added
	}
	from, inherited := x.inherited[now.Key]
	switch {
	case before.ResourceVersion == now.ResourceVersion && before.UID == now.UID && now.ResourceVersion != "":
		if inherited && from.form != x.form {
			return added // nothing has happened to it, but now there is more of it to tell, or less
		}
		return nothing
	case older(now.ResourceVersion, before.ResourceVersion) && !x.rewound:
		return outdated
	case before.UID != now.UID:
		return replaced
	case inherited && from.form != x.form:
		return added
	default:
		return modified
	}
}

// put notes what is there.
func (x *index) put(now *raw.Object) {
	now.Seen = x.generation
	x.known[now.Key] = now
	delete(x.inherited, now.Key)
	x.reach(now.ResourceVersion)
}

// note notes what was there when somebody else than the informer listed it, which says nothing about the informer's own lists.
func (x *index) note(now *raw.Object) {
	if before := x.known[now.Key]; before != nil {
		now.Seen = before.Seen
	}
	x.known[now.Key] = now
}

// mark notes that what is known is there.
func (x *index) mark(key string) {
	x.known[key].Seen = x.generation
	delete(x.inherited, key)
}

// drop forgets what is not there, if it is that.
func (x *index) drop(gone *raw.Object) (before *raw.Object) {
	before = x.known[gone.Key]
	if before == nil || older(gone.ResourceVersion, before.ResourceVersion) {
		return nil
	}
	delete(x.known, gone.Key)
	delete(x.inherited, gone.Key)
	x.reach(gone.ResourceVersion)
	return before
}

// begin is called before all that is there is seen.
func (x *index) begin() {
	x.generation++
	x.incomplete = false
}

// missing is what was offered, and is not there.
type missing struct {
	*raw.Object
	reason wire.Reason
}

// end is called when all that is there was seen. It forgets and returns what was not. A list that is older than what was seen before
// is not believed: the API server is behind, and would make newer objects disappear. It is to be asked for the newest state; what it
// says then is true, because it may have been restored from a backup.
func (x *index) end(resourceVersion string) ([]missing, error) {
	if older(resourceVersion, x.newest) && !x.rewound {
		x.rewound = true
		return nil, apierrors.NewResourceExpired("the list is of version " + resourceVersion + ", and version " + x.newest + " was seen before")
	}
	rewound := x.rewound
	x.rewound, x.newest = false, resourceVersion
	if x.incomplete {
		return nil, nil
	}
	var gone []missing
	for key, object := range x.known {
		if object.Seen == x.generation || !rewound && older(resourceVersion, object.ResourceVersion) {
			continue // a list says nothing about what is newer
		}
		gone = append(gone, missing{object, x.inherited[key].reason})
		delete(x.known, key)
	}
	clear(x.inherited)
	return gone, nil
}

// inherit takes over what an earlier watch has offered.
func (x *index) inherit(object *raw.Object, from origin) {
	x.put(object)
	object.Seen = 0
	x.inherited[object.Key] = from
}

// leaves returns where what is known comes from: what was inherited and never seen was offered by an earlier watch.
func (x *index) leaves(key string) origin {
	if from, ok := x.inherited[key]; ok {
		return from
	}
	return origin{form: x.form}
}

func (x *index) reach(resourceVersion string) {
	if resourceVersion != "" && !older(resourceVersion, x.newest) {
		x.newest = resourceVersion
	}
}

// older compares resource versions. Those that are no numbers cannot be compared: then what comes later is taken to be newer.
func older(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}
