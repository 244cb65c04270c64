package operator

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/watchlist"
)

func TestServedKinds(t *testing.T) {
	now := time.Now()
	metrics := schema.GroupVersion{Group: "metrics.k8s.io", Version: "v1beta1"}
	silent := &discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{metrics: errors.New("its server is down")}}
	api := &fakeDiscovery{lists: []*metav1.APIResourceList{listed("v1", "pods", "pods/log")}, err: silent}
	served := &servedKinds{client: api, now: func() time.Time { return now }}
	want := func(why string, age time.Duration, asked int, silent bool, names ...string) {
		t.Helper()
		found, err := served.get(t.Context(), age)
		var got []string
		for _, kind := range found.Kinds {
			got = append(got, watchlist.Format(kind.Resource))
		}
		if err != nil || !slices.Equal(got, names) || api.asked != asked || (found.Silent[metrics] != nil) != silent {
			t.Errorf("%s: %q after %d questions, silent %v, %v; want %q after %d", why, got, api.asked, found.Silent, err, names, asked)
		}
	}
	want("a group does not answer from the start", servedKindsAge, 1, true, "pods.v1.")
	want("soon after", servedKindsAge, 1, true, "pods.v1.")
	now = now.Add(servedKindsPause)
	want("again soon after", servedKindsAge, 1, true, "pods.v1.")
	api.lists, api.err = append(api.lists, listed(metrics.String(), "nodes")), nil
	want("when newer is asked for", servedKindsPause, 2, false, "pods.v1.", "nodes.v1beta1.metrics.k8s.io")
	want("when newer is asked for once more", servedKindsPause, 2, false, "pods.v1.", "nodes.v1beta1.metrics.k8s.io")
	now = now.Add(servedKindsAge)
	api.lists, api.err = api.lists[:1], silent
	want("while a group does not answer any more", servedKindsAge, 3, true, "pods.v1.", "nodes.v1beta1.metrics.k8s.io")
	now = now.Add(servedKindsAge)
	want("and a second time", servedKindsAge, 4, true, "pods.v1.", "nodes.v1beta1.metrics.k8s.io")
	if len(silent.Groups) != 1 {
		t.Error("the error was changed, which is not ours")
	}
	now, api.err = now.Add(servedKindsAge), nil
	want("when the group is gone", servedKindsAge, 5, false, "pods.v1.")
	now, api.err = now.Add(servedKindsAge), errors.New("connection refused")
	want("while the API server is away", servedKindsAge, 6, false, "pods.v1.")
	want("soon after", servedKindsAge, 6, false, "pods.v1.")
	served = &servedKinds{client: api, now: served.now}
	if _, err := served.get(t.Context(), servedKindsAge); err == nil {
		t.Error("no error while the API server was away from the start")
	}
}

// While it is not known what is served, a list of names in full gives rights all the same, and others change nothing.
func TestRightsWhileNothingIsKnown(t *testing.T) {
	api := &fakeDiscovery{lists: []*metav1.APIResourceList{listed("v1", "pods,pod,Pod,po")}, err: errors.New("503")}
	served := &servedKinds{client: api, now: time.Now}
	resolve := func(whitelist string) (kinds []wantedKind, recheck time.Duration, err error) {
		resolution, recheck, err := served.resolve(t.Context(), parseWhitelist(t, whitelist), false)
		return wantedKinds(resolution), recheck, err
	}
	if kinds, recheck, err := resolve(`["pods.v1."]`); err != nil || len(kinds) != 1 || kinds[0].kind.Resource != "pods" || recheck != servedKindsPause {
		t.Errorf("in full: %v, recheck in %v, %v", kinds, recheck, err)
	}
	if kinds, _, err := resolve(`["pods.v1.","*.apps"]`); err == nil || len(kinds) != 0 {
		t.Errorf("with a wildcard: %v, no error", kinds)
	}
	api.err = nil
	if kinds, recheck, err := resolve(`["po"]`); err != nil || len(kinds) != 1 || recheck != servedKindsAge {
		t.Errorf("when it is known: %v, recheck in %v, %v", kinds, recheck, err)
	}
}

// However many lists name what is not served, and however often they are looked at, the API server is asked once a minute, and once
// more after an edit.
func TestServedKindsAreSeldomAskedFor(t *testing.T) {
	now := time.Now()
	api := &fakeDiscovery{lists: []*metav1.APIResourceList{listed("v1", "pods")}}
	served := &servedKinds{client: api, now: func() time.Time { return now }}
	look := func(edited bool) {
		t.Helper()
		for _, whitelist := range []string{`["gadget"]`, `["gadgets.v1.example.com"]`, `["pods.v1."]`} {
			if _, _, err := served.resolve(t.Context(), parseWhitelist(t, whitelist), edited); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 600 { // ten minutes
		look(false)
		now = now.Add(time.Second)
	}
	if api.asked != 10 {
		t.Errorf("asked %d times in ten minutes", api.asked)
	}
	look(true)
	api.asked = 0
	for range 30 {
		look(false)
		now = now.Add(time.Second)
	}
	if api.asked != 1 {
		t.Errorf("asked %d times after an edit", api.asked)
	}
}

func parseWhitelist(t *testing.T, whitelist string) watchlist.List {
	t.Helper()
	list, err := watchlist.Parse(map[string]string{meshery.WhitelistKey: whitelist})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A list that may mean what was defined a moment ago is compared with a newer answer, and the API server is not asked more often than
// every few seconds for that.
func TestWhenServedKindsAreAskedFor(t *testing.T) {
	for name, test := range map[string]struct {
		whitelist string
		edited    bool
		age       time.Duration // of the answer that is there, in which there are no gadgets
		asked     bool
		recheck   time.Duration
		granted   bool // the gadgets
	}{
		"a known kind":                               {whitelist: `["po"]`, age: servedKindsAge - 1, recheck: servedKindsAge},
		"a known kind, after long":                   {whitelist: `["po"]`, age: servedKindsAge, asked: true, recheck: servedKindsAge},
		"a known kind in an edit":                    {whitelist: `["po"]`, edited: true, age: servedKindsPause, asked: true, recheck: servedKindsAge},
		"a known kind in an edit, asked just now":    {whitelist: `["po"]`, edited: true, age: servedKindsPause - 1, recheck: servedKindsAge},
		"a wildcard":                                 {whitelist: `["*.example.com"]`, age: servedKindsAge - 1, recheck: servedKindsAge},
		"a wildcard in an edit":                      {whitelist: `["*.example.com"]`, edited: true, age: servedKindsPause, asked: true, recheck: servedKindsAge, granted: true},
		"an unknown kind":                            {whitelist: `["gadget"]`, age: servedKindsAge - 1, recheck: servedKindsAge},
		"an unknown kind, after long":                {whitelist: `["gadget"]`, age: servedKindsAge, asked: true, recheck: servedKindsAge, granted: true},
		"an unknown kind in an edit":                 {whitelist: `["gadget"]`, edited: true, age: servedKindsPause, asked: true, recheck: servedKindsAge, granted: true},
		"an unknown kind in an edit, asked just now": {whitelist: `["gadget"]`, edited: true, age: servedKindsPause - 1, recheck: servedKindsPause},
		"one that stays unknown, in an edit":         {whitelist: `["none"]`, edited: true, age: servedKindsPause, asked: true, recheck: servedKindsPause},
		"in full":                                    {whitelist: `["pods.v1."]`, age: servedKindsAge - 1},
		"in full, in an edit":                        {whitelist: `["pods.v1."]`, edited: true, age: servedKindsPause - 1},
		"the default list, in an edit":               {edited: true, age: servedKindsPause - 1},
		"in full, not served":                        {whitelist: `["others.v1."]`, age: servedKindsAge - 1, recheck: servedKindsAge},
		"a singular in the form of a plural":         {whitelist: `["gadget.v1.example.com"]`, edited: true, age: servedKindsPause - 1, recheck: servedKindsPause},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			before := []*metav1.APIResourceList{listed("v1", "pods,pod,Pod,po")}
			api := &fakeDiscovery{lists: append(before, listed("example.com/v1", "gadgets,gadget,Gadget"))}
			served := &servedKinds{client: api, now: func() time.Time { return now }, served: watchlist.NewServed(nil, before, nil), asked: now.Add(-test.age)}
			resolution, recheck, err := served.resolve(t.Context(), parseWhitelist(t, test.whitelist), test.edited)
			granted := slices.ContainsFunc(resolution.Targets, func(target watchlist.Target) bool { return target.Resource.Resource == "gadgets" })
			if err != nil || (api.asked == 1) != test.asked || api.asked > 1 || recheck != test.recheck || granted != test.granted {
				t.Errorf("asked %d times, recheck in %v, gadgets granted %v, %v; want %+v", api.asked, recheck, granted, err, test)
			}
		})
	}
}

type fakeDiscovery struct {
	discovery.ServerResourcesInterfaceWithContext
	lists []*metav1.APIResourceList
	err   error
	asked int
}

func (f *fakeDiscovery) ServerGroupsAndResourcesWithContext(context.Context) ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	f.asked++
	return nil, f.lists, f.err
}
