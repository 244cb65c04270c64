package watch

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/watchlist"
)

// Served is a kind that the API server serves in some version.
type Served struct {
	Resource  schema.GroupVersionResource
	Kind      string
	Singular  string
	Watchable bool // it can be listed and watched
	Preferred bool // of the versions of this kind, this is the one to take when any would do
}

// Target is a kind to watch and the events of it to offer.
type Target struct {
	Resource schema.GroupVersionResource
	Events   watchlist.Events
}

// Missing is a kind on the list that cannot be watched.
type Missing struct {
	Resource schema.GroupVersionResource
	Reason   string
}

// targets says which kinds to watch, sorted by name. A list that names kinds gets them in the version it names; a list of
// everything gets each kind once. With only (plural or singular names) all others are left out.
func targets(list watchlist.List, served []Served, only []string) ([]Target, []Missing) {
	var want []Target
	seen := map[schema.GroupVersionResource]bool{}
	for _, kind := range served {
		events := list.Events(kind.Resource)
		if events == 0 || !kind.Watchable || list.Everything() && !kind.Preferred {
			continue
		}
		seen[kind.Resource] = true
		if isOneOf(kind, only) {
			want = append(want, Target{Resource: kind.Resource, Events: events})
		}
	}
	slices.SortFunc(want, func(a, b Target) int {
		return cmp.Compare(watchlist.Format(a.Resource), watchlist.Format(b.Resource))
	})

	var missing []Missing
	for _, entry := range list.Entries() {
		if !seen[entry.Resource] {
			missing = append(missing, Missing{Resource: entry.Resource, Reason: whyMissing(entry.Resource, served)})
		}
	}
	return want, missing
}

func isOneOf(kind Served, only []string) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(name string) bool {
		return strings.EqualFold(name, kind.Resource.Resource) || strings.EqualFold(name, kind.Singular) || strings.EqualFold(name, kind.Kind)
	})
}

// whyMissing looks for what may have been meant.
func whyMissing(resource schema.GroupVersionResource, served []Served) string {
	for _, kind := range served {
		switch {
		case kind.Resource == resource:
			return "it cannot be listed and watched"
		case kind.Resource.Group != resource.Group:
		case kind.Resource.Resource == resource.Resource && kind.Preferred:
			return "not served in this version; served is " + watchlist.Format(kind.Resource)
		case kind.Resource.Version == resource.Version && resource.Resource == strings.ToLower(kind.Kind):
			return "not served; write the plural, " + watchlist.Format(kind.Resource)
		}
	}
	return "not served (yet)"
}
