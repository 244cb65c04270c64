package operator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/watchlist"
)

const (
	// servedKindsAge is how old the answer to "what is served" may be. A MeshSync whose list may come to mean something else is looked
	// at again as often, so that its agent may read a new kind soon.
	servedKindsAge = time.Minute
	// servedKindsPause is how old it may be for a list that may name what was defined a moment ago. The API server is not asked more
	// often, however many lists there are.
	servedKindsPause = 5 * time.Second
)

// servedKinds remembers what the API server serves.
type servedKinds struct {
	client discovery.ServerResourcesInterfaceWithContext
	now    func() time.Time

	mu     sync.Mutex
	served watchlist.Served
	asked  time.Time
	// again is when to ask once more, whatever the age of the answer; zero for never.
	again time.Time
}

// resolve says which kinds a list means, and when to look again: never, where it names in full what is served. An edit may be about kinds that were defined a moment ago, of which
// the API server does not tell at once: where it names what is not served, the next look asks again.
func (s *servedKinds) resolve(ctx context.Context, list watchlist.List, edited bool) (watchlist.Resolution, time.Duration, error) {
	age := servedKindsAge
	if edited {
		age = servedKindsPause
	}
	served, err := s.get(ctx, age)
	resolution := list.Resolve(served)
	// Not those of the default list: it has no name that would turn out to be another's.
	namesUnknown := slices.ContainsFunc(resolution.Missing, func(missing watchlist.Missing) bool { return missing.Position > 0 })
	switch {
	case err != nil && list.FollowsServed():
		return watchlist.Resolution{}, 0, err
	case err != nil: // nothing is known yet, but the list says itself which kinds it is about
		klog.FromContext(ctx).Error(err, "Rights are written by the watch-list alone, will retry")
		return resolution, servedKindsPause, nil
	case edited && namesUnknown:
		s.askAgain()
		return resolution, servedKindsPause, nil
	case namesUnknown || list.FollowsServed():
		return resolution, servedKindsAge, nil
	default:
		return resolution, 0, nil
	}
}

// askAgain makes the next question come as soon as it may.
func (s *servedKinds) askAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again.IsZero() {
		s.again = s.asked.Add(servedKindsPause)
	}
}

// get returns what was served at most so long ago, or before the API server ceased to say; there is an error only while it never said.
// A group that does not answer at the moment is left out by the API server; what it had before is kept, so that its agents do not
// lose it.
func (s *servedKinds) get(ctx context.Context, age time.Duration) (watchlist.Served, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	known := !s.asked.IsZero()
	if due := !s.again.IsZero() && !now.Before(s.again); known && !due && now.Sub(s.asked) < age {
		return s.served, nil
	}
	groups, lists, err := s.client.ServerGroupsAndResourcesWithContext(ctx)
	failed, partly := discovery.GroupDiscoveryFailedErrorGroups(err)
	switch {
	case err == nil || partly:
		s.served = watchlist.NewServed(groups, lists, failed).Remembering(s.served)
	case known:
		klog.FromContext(ctx).Error(err, "The API server does not say what it serves, will ask again", "knownFor", now.Sub(s.asked))
	default:
		return watchlist.Served{}, fmt.Errorf("discover kinds: %w", err)
	}
	s.asked, s.again = now, time.Time{}
	return s.served, nil
}
