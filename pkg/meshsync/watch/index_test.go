package watch

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
)

// state is an object from "name uid resourceVersion".
func state(text string) *raw.Object {
	parts := strings.Fields(text)
	return raw.NewObject([]byte("demo"), []byte(parts[0]), []byte(parts[1]), []byte(parts[2]))
}

// knows are the objects of an index, as "name uid resourceVersion", in order.
func knows(x *index) []string {
	var known []string
	for _, object := range x.known {
		known = append(known, fmt.Sprintf("%s %s %s", object.Name(), object.UID, object.ResourceVersion))
	}
	slices.Sort(known)
	return known
}

func TestWhatAStateMeans(t *testing.T) {
	tests := map[string]struct {
		before    string // nothing was offered if it is empty
		inherited string
		rewound   bool
		now       string
		want      meaning
	}{
		"nothing was offered":                                     {now: "x a 2", want: added},
		"the same again":                                          {before: "x a 2", now: "x a 2", want: nothing},
		"a newer one":                                             {before: "x a 2", now: "x a 10", want: modified},
		"an older one":                                            {before: "x a 10", now: "x a 2", want: outdated},
		"an older one, and the list is true":                      {before: "x a 10", rewound: true, now: "x a 2", want: modified},
		"another object":                                          {before: "x a 2", now: "x b 10", want: replaced},
		"another object, older":                                   {before: "x a 10", now: "x b 2", want: outdated},
		"another object, older, and the list is true":             {before: "x a 10", rewound: true, now: "x b 2", want: replaced},
		"another object of the same version":                      {before: "x a 2", now: "x b 2", want: replaced},
		"versions that are no numbers":                            {before: "x a zz", now: "x a aa", want: modified},
		"a version that is no number, and is the same":            {before: "x a zz", now: "x a zz", want: nothing},
		"a version that is no number any more":                    {before: "x a 10", now: "x a aa", want: modified},
		"another object, and versions that are no numbers":        {before: "x a zz", now: "x b aa", want: replaced},
		"a version that is larger than any number of a machine":   {before: "x a 99999999999999999999998", now: "x a 99999999999999999999999", want: modified},
		"a version that is smaller than one that large":           {before: "x a 99999999999999999999999", now: "x a 99999999999999999999998", want: outdated},
		"inherited, the same":                                     {before: "x a 2", inherited: string(v1alpha1.DepthFull), now: "x a 2", want: nothing},
		"inherited, newer":                                        {before: "x a 2", inherited: string(v1alpha1.DepthFull), now: "x a 3", want: modified},
		"inherited, another object":                               {before: "x a 2", inherited: string(v1alpha1.DepthFull), now: "x b 3", want: replaced},
		"inherited from another depth, the same":                  {before: "x a 2", inherited: string(v1alpha1.DepthInventory), now: "x a 2", want: added},
		"inherited from another depth, newer":                     {before: "x a 2", inherited: string(v1alpha1.DepthInventory), now: "x a 3", want: added},
		"inherited from another depth, older":                     {before: "x a 3", inherited: string(v1alpha1.DepthInventory), now: "x a 2", want: outdated},
		"inherited from another depth, another object":            {before: "x a 2", inherited: string(v1alpha1.DepthInventory), now: "x b 3", want: replaced},
		"inherited from another depth, older, and a list is true": {before: "x a 3", inherited: string(v1alpha1.DepthInventory), rewound: true, now: "x a 2", want: added},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := newIndex(string(v1alpha1.DepthFull))
			var before *raw.Object
			switch {
			case test.inherited != "":
				before = state(test.before)
				x.inherit(before, origin{form: test.inherited})
			case test.before != "":
				before = state(test.before)
				x.put(before)
			}
			x.rewound = test.rewound
			if got := x.meaningOf(before, state(test.now)); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestWhatIsDropped(t *testing.T) {
	tests := map[string]struct {
		before, gone string
		want         bool
	}{
		"what was offered":                                {"x a 2", "x a 3", true},
		"what was offered, in its last state":             {"x a 2", "x a 2", true},
		"what nobody has heard of":                        {"x a 2", "y a 3", false},
		"an older one, which has come back since":         {"x b 4", "x a 3", false},
		"an older state":                                  {"x a 4", "x a 3", false},
		"a newer one, which nobody has heard of":          {"x a 2", "x b 4", true},
		"versions that are no numbers":                    {"x a zz", "x a aa", true},
		"versions that are no numbers, and another uid":   {"x a zz", "x b aa", true},
		"a version that is no number, and was one before": {"x a 7", "x a aa", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := newIndex(string(v1alpha1.DepthFull))
			x.inherit(state(test.before), origin{reason: wire.WatchListChanged})
			before := x.drop(state(test.gone))
			if (before != nil) != test.want || (len(x.known) == 0) != test.want || (len(x.inherited) == 0) != test.want {
				t.Errorf("dropped %v, knows %v, inherited %v", before, knows(x), x.inherited)
			}
		})
	}
}

func TestWhatIsMissingFromAList(t *testing.T) {
	tests := map[string]struct {
		before    []string
		inherited map[string]origin
		take      func(x *index) // what the list brings
		version   string         // of the list
		missing   []string       // name, and reason
		expired   bool
		left      []string
	}{
		"nothing": {
			before: []string{"x a 1", "y a 2"}, version: "5",
			take: func(x *index) {
				x.mark("demo/x")
				x.put(state("y a 3"))
			},
			left: []string{"x a 1", "y a 3"},
		},
		"one": {
			before: []string{"x a 1", "y a 2"}, version: "5", take: func(x *index) { x.mark("demo/x") },
			missing: []string{"y "}, left: []string{"x a 1"},
		},
		"all": {before: []string{"x a 1", "y a 2"}, version: "5", missing: []string{"x ", "y "}},
		"all of a list that is as old as what was seen": {before: []string{"x a 5"}, version: "5", missing: []string{"x "}},
		"one that came and went within the list": {
			before: []string{"x a 1"}, version: "5",
			take: func(x *index) {
				x.mark("demo/x")
				x.put(state("y a 3"))
				x.drop(state("y a 4"))
			},
			left: []string{"x a 1"},
		},
		"nothing of an older list: it is not believed": {
			before: []string{"x a 7"}, version: "5", expired: true, left: []string{"x a 7"},
		},
		"nothing of a list that is older than a delete": {
			before: []string{"x a 3"}, version: "5", expired: true, left: []string{"x a 3"},
			take: func(x *index) { x.put(state("y a 2")); x.drop(state("y a 7")) },
		},
		"nothing of a list without a version that can be compared": {before: []string{"x a 7"}, version: "", missing: []string{"x "}},
		"nothing while something could not be read": {
			before: []string{"x a 1", "y a 2"}, version: "5", take: func(x *index) { x.incomplete = true }, left: []string{"x a 1", "y a 2"},
		},
		"what was inherited": {
			inherited: map[string]origin{"x a 1": {}, "y a 2": {reason: wire.WatchListChanged}, "z a 3": {}}, version: "5",
			take:    func(x *index) { x.mark("demo/z") },
			missing: []string{"x ", "y " + string(wire.WatchListChanged)}, left: []string{"z a 3"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := newIndex(string(v1alpha1.DepthFull))
			x.begin()
			for _, before := range test.before {
				x.put(state(before))
			}
			for object, from := range test.inherited {
				x.inherit(state(object), from)
			}
			x.begin()
			if test.take != nil {
				test.take(x)
			}
			gone, err := x.end(test.version)
			if apierrors.IsResourceExpired(err) != test.expired {
				t.Errorf("got %v", err)
			}
			var missing []string
			for _, one := range gone {
				missing = append(missing, one.Name()+" "+string(one.reason))
			}
			slices.Sort(missing)
			if !slices.Equal(missing, test.missing) || !slices.Equal(knows(x), test.left) {
				t.Errorf("missing %v, left %v", missing, knows(x))
			}
		})
	}
}

// TestAnOlderListIsTrueTheSecondTime is about an API server that was restored from a backup.
func TestAnOlderListIsTrueTheSecondTime(t *testing.T) {
	x := newIndex(string(v1alpha1.DepthFull))
	for _, known := range []string{"same a 3", "back a 7", "gone a 8"} {
		x.put(state(known))
	}
	x.begin()
	if _, err := x.end("5"); err == nil {
		t.Fatal("an older list is believed at once")
	}
	x.begin()
	for _, now := range []string{"same a 3", "back a 4"} {
		switch now := state(now); x.meaningOf(x.known[now.Key], now) {
		case nothing:
			x.mark(now.Key)
		default:
			x.put(now)
		}
	}
	gone, err := x.end("5")
	if err != nil || len(gone) != 1 || gone[0].Name() != "gone" {
		t.Errorf("missing %v, %v", gone, err)
	}
	if want := []string{"back a 4", "same a 3"}; !slices.Equal(knows(x), want) {
		t.Errorf("knows %v, want %v", knows(x), want)
	}
	if got := x.meaningOf(x.known["demo/back"], state("back a 3")); got != outdated {
		t.Errorf("after that, an older state means %d", got)
	}
	x.begin()
	if _, err := x.end("4"); err == nil {
		t.Error("the next older list is believed at once")
	}
}

// TestAnIncompleteListSettlesNothing: what it lacks may be there, so that what it means is still open.
func TestAnIncompleteListSettlesNothing(t *testing.T) {
	x := newIndex(string(v1alpha1.DepthFull))
	x.inherit(state("seen a 1"), origin{reason: wire.WatchListChanged})
	x.inherit(state("unseen a 1"), origin{reason: wire.WatchListChanged})
	x.begin()
	x.incomplete = true
	x.mark("demo/seen")
	if gone, err := x.end("5"); err != nil || len(gone) != 0 {
		t.Errorf("missing %v, %v", gone, err)
	}
	x.begin()
	gone, err := x.end("6")
	reasons := map[string]wire.Reason{}
	for _, one := range gone {
		reasons[one.Name()] = one.reason
	}
	if err != nil || len(reasons) != 2 || reasons["seen"] != "" || reasons["unseen"] != wire.WatchListChanged {
		t.Errorf("missing %v, %v", reasons, err)
	}
}

func TestWhatIsLeftToTheNextWatch(t *testing.T) {
	x := newIndex(string(v1alpha1.DepthFull))
	inherited := origin{form: string(v1alpha1.DepthInventory), reason: wire.WatchListChanged}
	x.inherit(state("unseen a 1"), inherited)
	x.inherit(state("seen a 1"), inherited)
	x.mark("demo/seen")
	if got := x.leaves("demo/unseen"); got != inherited {
		t.Errorf("what was not seen comes from %v", got)
	}
	if got := x.leaves("demo/seen"); got != (origin{form: string(v1alpha1.DepthFull)}) {
		t.Errorf("what was seen comes from %v", got)
	}
}
