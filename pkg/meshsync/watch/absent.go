package watch

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/watchlist"
)

// absence is what is known of kinds that are not served any more.
type absence struct {
	deleted map[schema.GroupResource]bool      // whose definitions were deleted
	since   map[schema.GroupResource]time.Time // of the others
}

// fill adds to what is served now the kinds that were served before and are not now in any version, for a while. An API server that
// has just been started serves custom resources later than the rest; whoever took that for the truth would tell everybody that
// they are gone. A kind whose definition was deleted, and one whose server does not answer, is not added.
func (a *absence) fill(before, now watchlist.Served, at time.Time) watchlist.Served {
	since := map[schema.GroupResource]time.Time{}
	there := map[schema.GroupResource]bool{}
	for _, kind := range now.Kinds {
		there[kind.Resource.GroupResource()] = true
	}
	now.Kinds = slices.Clone(now.Kinds)
	for _, kind := range before.Kinds {
		name := kind.Resource.GroupResource()
		_, silent := now.Silent[kind.Resource.GroupVersion()]
		if there[name] || silent || a.deleted[name] {
			continue
		}
		since[name] = at
		if began, ok := a.since[name]; ok {
			since[name] = began
		}
		if at.Sub(since[name]) < outagePatience {
			now.Kinds = append(now.Kinds, kind)
		}
	}
	a.since = since
	for name := range a.deleted {
		if !there[name] {
			delete(a.deleted, name)
		}
	}
	return now
}

// pending reports whether a kind is waited for.
func (a *absence) pending() bool { return len(a.since) > 0 }
