package watchlist

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// Served is what an API server serves.
type Served struct {
	// Kinds in every version, in the order in which the API server names them: the core group first.
	Kinds []Kind
	// Silent are the group versions of which nothing is known at the moment, because the server behind them does not answer.
	Silent map[schema.GroupVersion]error
}

// Kind is a kind of objects in some version.
type Kind struct {
	Resource   schema.GroupVersionResource
	Kind       string
	Singular   string
	ShortNames []string
	Namespaced bool
	Watchable  bool // it can be listed and watched
	Preferred  bool // of the versions of this kind, this is the one to take when any would do
}

// NewServed flattens what discovery returns. Subresources are left out.
func NewServed(groups []*metav1.APIGroup, lists []*metav1.APIResourceList, silent map[schema.GroupVersion]error) Served {
	served := Served{Silent: silent}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue // a group version that the API server itself cannot route
		}
		for _, resource := range list.APIResources {
			if strings.Contains(resource.Name, "/") {
				continue
			}
			served.Kinds = append(served.Kinds, Kind{
				Resource:   gv.WithResource(resource.Name),
				Kind:       resource.Kind,
				Singular:   resource.SingularName,
				ShortNames: resource.ShortNames,
				Namespaced: resource.Namespaced,
				Watchable:  slices.Contains(resource.Verbs, "list") && slices.Contains(resource.Verbs, "watch"),
			})
		}
	}
	markPreferred(served.Kinds, groups)
	return served
}

// Remembering returns what is served and, of group versions that do not answer, the kinds that they had before: that a server does
// not answer does not mean that it serves nothing any more.
func (s Served) Remembering(before Served) Served {
	s.Kinds = slices.Clone(s.Kinds)
	for _, kind := range before.Kinds {
		if _, silent := s.Silent[kind.Resource.GroupVersion()]; !silent {
			continue
		}
		for i, other := range s.Kinds {
			if kind.Preferred && other.Resource.GroupResource() == kind.Resource.GroupResource() {
				s.Kinds[i].Preferred = false
			}
		}
		s.Kinds = append(s.Kinds, kind)
	}
	return s
}

// markPreferred marks one version of each kind: the one that the group prefers, or the most stable one that serves the kind.
func markPreferred(kinds []Kind, groups []*metav1.APIGroup) {
	preferred := map[schema.GroupVersion]bool{}
	for _, group := range groups {
		preferred[schema.GroupVersion{Group: group.Name, Version: group.PreferredVersion.Version}] = true
	}
	better := func(a, b Kind) bool {
		switch {
		case a.Watchable != b.Watchable:
			return a.Watchable
		case preferred[a.Resource.GroupVersion()] != preferred[b.Resource.GroupVersion()]:
			return preferred[a.Resource.GroupVersion()]
		default:
			return version.CompareKubeAwareVersionStrings(a.Resource.Version, b.Resource.Version) > 0
		}
	}
	best := map[schema.GroupResource]int{}
	for i, kind := range kinds {
		known, ok := best[kind.Resource.GroupResource()]
		if !ok || better(kind, kinds[known]) {
			best[kind.Resource.GroupResource()] = i
		}
	}
	for _, i := range best {
		kinds[i].Preferred = true
	}
}

// answers reports whether a name in lower case is one of the kind's.
func (k Kind) answers(name string) bool {
	return k.Resource.Resource == name || k.Singular == name || strings.EqualFold(k.Kind, name) || slices.Contains(k.ShortNames, name)
}
