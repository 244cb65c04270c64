package watch

import (
	"errors"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/watchlist"
)

func TestKindsThatAreNotServedAnyMoreAreWaitedFor(t *testing.T) {
	const group = "example.com"
	served := func(names ...string) watchlist.Served { // version/resource
		s := watchlist.Served{Kinds: []watchlist.Kind{{Resource: configMaps}}}
		for _, name := range names {
			gvr := schema.GroupVersionResource{Group: group, Version: name[:2], Resource: name[3:]}
			s.Kinds = append(s.Kinds, watchlist.Kind{Resource: gvr})
		}
		return s
	}
	silent := served()
	silent.Silent = map[schema.GroupVersion]error{{Group: group, Version: "v1"}: errors.New("no answer")}
	type look struct {
		after time.Duration
		now   watchlist.Served
		want  []string
	}
	tests := map[string]struct {
		deleted bool // the definition of widgets
		looks   []look
	}{
		"back soon": {looks: []look{
			{0, served("v1/widgets", "v1/gadgets"), []string{"v1/widgets", "v1/gadgets"}},
			{time.Second, served(), []string{"v1/widgets", "v1/gadgets"}},
			{time.Second, served("v1/gadgets"), []string{"v1/gadgets", "v1/widgets"}},
			{outagePatience - 2*time.Second, served("v1/widgets", "v1/gadgets"), []string{"v1/widgets", "v1/gadgets"}},
			{time.Second, served(), []string{"v1/widgets", "v1/gadgets"}},
		}},
		"gone": {looks: []look{
			{0, served("v1/widgets"), []string{"v1/widgets"}},
			{time.Second, served(), []string{"v1/widgets"}},
			{outagePatience - time.Second, served(), []string{"v1/widgets"}},
			{time.Second, served(), nil},
			{time.Second, served(), nil},
		}},
		"deleted": {deleted: true, looks: []look{
			{0, served("v1/widgets", "v1/gadgets"), []string{"v1/widgets", "v1/gadgets"}},
			{time.Second, served("v1/gadgets"), []string{"v1/gadgets"}},
		}},
		"deleted, and still served for a moment": {deleted: true, looks: []look{
			{0, served("v1/widgets"), []string{"v1/widgets"}},
			{0, served("v1/widgets"), []string{"v1/widgets"}},
			{time.Second, served(), nil},
		}},
		"another version": {looks: []look{
			{0, served("v1/widgets"), []string{"v1/widgets"}},
			{time.Second, served("v2/widgets"), []string{"v2/widgets"}},
		}},
		"its server does not answer": {looks: []look{
			{0, served("v1/widgets"), []string{"v1/widgets"}},
			{time.Second, silent, nil},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := absence{deleted: map[schema.GroupResource]bool{{Group: group, Resource: "widgets"}: test.deleted}}
			known, at := watchlist.Served{}, time.Now()
			for i, look := range test.looks {
				at = at.Add(look.after)
				known = a.fill(known, look.now, at)
				var got []string
				for _, kind := range known.Kinds {
					if kind.Resource.Group == group {
						got = append(got, kind.Resource.Version+"/"+kind.Resource.Resource)
					}
				}
				if !slices.Equal(got, look.want) {
					t.Errorf("look %d: %v, want %v", i, got, look.want)
				}
			}
		})
	}
}
