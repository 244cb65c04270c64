package watchlist

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// Target is a kind to watch, and how.
type Target struct {
	// Position of the entry that names the kind, from 1; 0 if it is a wildcard, or of the default list.
	Position int

	Resource schema.GroupVersionResource
	Kind     string
	Tier     int // from 1 to LastTier
	Events   Events
	Depth    v1alpha1.Depth

	// Namespaces to watch one by one; empty is all at once, less the Excluded. Neither is set for a kind without namespaces.
	Namespaces []string
	Excluded   []string

	LabelSelector string
	FieldSelector string
}

// Missing is an entry of the whitelist for which no kind can be watched, or a group version that its wildcard means and that does not
// answer.
type Missing struct {
	// Position of the entry, from 1; 0 if it is of the default list.
	Position int
	// Name is what stands in the entry, or *.<version>.<group>.
	Name string
	// Kind is what it would be, if it is written as <plural>.<version>.<group>; empty otherwise.
	Kind   schema.GroupResource
	Reason string
	// Silent: the kind may be one of an API group that does not answer at the moment.
	Silent bool
}

// Resolution is what a list means where certain kinds are served.
type Resolution struct {
	Targets  []Target  // by tier and name, each kind in one version
	Missing  []Missing // in the order of the list
	Problems []Problem // in the order of the lists
}

// Resolve compares a list with what is served. The same list and the same kinds give the same resolution.
func (l List) Resolve(served Served) Resolution {
	r := resolver{list: l, served: served, problems: slices.Clone(l.problems), chosen: map[schema.GroupResource]choice{}}
	r.removed = r.blacklisted()
	for _, e := range byExactness(l.white) {
		switch {
		case e.skipped():
			r.shield(e)
		case e.wild():
			r.selectAll(e)
		default:
			r.selectOne(e)
		}
	}
	r.leaveOutTwins()
	return r.resolution()
}

// byExactness puts a name before the wildcard of a group, and that before the wildcard of all: what an entry selects, those after
// it leave alone.
func byExactness(entries []entry) []entry {
	rank := func(e entry) int {
		switch {
		case !e.wild():
			return 0
		case !e.readings[0].anyGroup:
			return 1
		default:
			return 2
		}
	}
	return slices.SortedStableFunc(slices.Values(entries), func(a, b entry) int { return cmp.Compare(rank(a), rank(b)) })
}

type resolver struct {
	list     List
	served   Served
	removed  map[schema.GroupResource]bool
	chosen   map[schema.GroupResource]choice
	missing  []Missing
	problems []Problem
}

// choice is what an entry has made of a kind: a target, or nil where no namespace is left.
type choice struct {
	by     entry
	target *Target
}

// shield keeps what an entry means that cannot be used from the wildcards after it: they would watch it without the limits that the
// entry was to have.
func (r *resolver) shield(e entry) {
	for _, kind := range r.kinds(meshery.WhitelistKey, e) {
		if name := kind.Resource.GroupResource(); r.chosen[name].target == nil {
			r.chosen[name] = choice{by: e}
		}
	}
}

// note adds a problem, unless nobody has written the entry: what nobody can change need not be said.
func (r *resolver) note(key string, e entry, skipped bool, format string, args ...any) {
	if e.position > 0 {
		r.problems = append(r.problems, newProblem(key, e.position, e.text, fmt.Sprintf(format, args...), skipped))
	}
}

// kinds returns what an entry means of what is served, and notes how it should be written, unless more than that is wrong with it.
func (r *resolver) kinds(key string, e entry) []Kind {
	if e.wild() {
		kinds, reading := findAll(e.readings, r.served.Kinds)
		if len(kinds) > 0 && e.text != reading.String() && !e.skipped() {
			r.note(key, e, false, "taken as %s, which is how it should be written", reading)
		}
		return kinds
	}
	kind, reading, ok := findOne(e.readings, r.served.Kinds)
	canonical := Format(kind.Resource)
	switch {
	case !ok:
		return nil
	case e.skipped():
	case reading.version != "" && reading.version != kind.Resource.Version:
		r.note(key, e, false, "not served in version %s; taken as %s", reading.version, canonical)
	case e.text != canonical:
		r.note(key, e, false, "taken as %s, which is how it should be written", canonical)
	}
	return []Kind{kind}
}

// blacklisted is what the blacklist takes away, whatever the version: an object is the same object in all of them. Of an entry that
// means nothing, and does not say in full what it would mean, nobody knows what was to be left out: it counts as not used.
func (r *resolver) blacklisted() map[schema.GroupResource]bool {
	removed := map[schema.GroupResource]bool{}
	for _, e := range r.list.black {
		kinds := r.kinds(meshery.BlacklistKey, e)
		for _, kind := range kinds {
			removed[kind.Resource.GroupResource()] = true
		}
		if len(kinds) == 0 {
			reason, _ := r.whyMissing(e)
			r.note(meshery.BlacklistKey, e, !e.inFull(), leavesNothingOut+"%s", reason)
		}
		if name, ok := e.canonical(); ok {
			removed[name] = true
		}
	}
	return removed
}

// wanted reports whether a kind is left by what goes over every entry of the whitelist.
func (r *resolver) wanted(kind Kind) bool {
	only := r.list.onlyResources
	return !r.removed[kind.Resource.GroupResource()] && kind.tier() <= int(r.list.discovery.MaxTier) &&
		(len(only) == 0 || slices.ContainsFunc(only, func(name string) bool { return kind.answers(strings.ToLower(name)) }))
}

// selectOne selects the kind that an entry names.
func (r *resolver) selectOne(e entry) {
	kinds := r.kinds(meshery.WhitelistKey, e)
	switch {
	case len(kinds) == 0:
		reason, silent := r.whyMissing(e)
		name, _ := e.canonical()
		r.miss(Missing{Position: e.position, Name: e.text, Kind: name, Reason: reason, Silent: silent})
	case !r.wanted(kinds[0]):
	case !kinds[0].Watchable:
		r.miss(Missing{Position: e.position, Name: e.text, Kind: kinds[0].Resource.GroupResource(), Reason: "it cannot be listed and watched"})
	default:
		r.choose(e, kinds[0])
	}
}

// choose makes a target of a kind that an entry names, or adds the entry's events to those of an earlier one.
func (r *resolver) choose(e entry, kind Kind) {
	const key = meshery.WhitelistKey
	if !kind.Namespaced && len(e.Namespaces) > 0 {
		r.note(key, e, true, "its objects have no namespace: namespaces are not used")
	}
	name, target := kind.Resource.GroupResource(), r.target(e, kind)
	if target == nil {
		r.note(key, e, true, "no namespace is left to watch it in")
	}
	before := r.chosen[name]
	switch {
	case before.target == nil:
		r.chosen[name] = choice{e, target} // nil too: so that a wildcard leaves it alone
	case target == nil:
	case before.target.differs(*target):
		r.note(key, e, true, "entry %d names the same kind in another version or with other options, and is in force; put them into one entry", before.by.position)
	default:
		before.target.Events |= target.Events
	}
}

// differs reports whether two targets for one kind differ in what they watch, in more than events.
func (t Target) differs(other Target) bool {
	other.Events, other.Position = t.Events, t.Position
	return !reflect.DeepEqual(t, other)
}

// selectAll selects the kinds that a wildcard means and that can be watched, less those that an entry before it has chosen and those
// that change all the time.
func (r *resolver) selectAll(e entry) {
	const key = meshery.WhitelistKey
	kinds := r.kinds(key, e)
	selectable := slices.DeleteFunc(slices.Clone(kinds), func(kind Kind) bool {
		return !kind.Watchable || highChurn[kind.Resource.GroupResource()]
	})
	silent := r.missSilent(e)
	switch {
	case len(kinds) == 0 && silent: // and may be there
	case len(kinds) == 0:
		reason, _ := r.whyMissing(e)
		r.note(key, e, false, "there is nothing to watch: %s", reason)
	case len(selectable) == 0:
		r.note(key, e, false, "there is nothing to watch: what it means cannot be listed and watched, or changes all the time and must be named")
	}
	for _, kind := range selectable {
		name := kind.Resource.GroupResource()
		if _, taken := r.chosen[name]; taken || !r.wanted(kind) {
			continue
		}
		if target := r.target(e, kind); target != nil {
			r.chosen[name] = choice{e, target}
		}
	}
}

// missSilent misses the group versions that a wildcard means and of which nothing is known, because their server does not answer. It
// reports whether there are any.
func (r *resolver) missSilent(e entry) (found bool) {
	for _, gv := range r.silent() {
		known := slices.ContainsFunc(r.served.Kinds, func(kind Kind) bool { return kind.Resource.GroupVersion() == gv })
		if known || !e.covers(gv) || !r.mayWant(gv) {
			continue
		}
		r.miss(Missing{Position: e.position, Name: Format(gv.WithResource(wildcard)), Silent: true, Reason: notAnswering(gv)})
		found = true
	}
	return found
}

// mayWant reports whether kinds that nobody knows would be left by what goes over every entry of the whitelist.
func (r *resolver) mayWant(gv schema.GroupVersion) bool {
	removed := slices.ContainsFunc(r.list.black, func(e entry) bool { return e.covers(gv) })
	return !removed && lowestTier(gv.Group) <= int(r.list.discovery.MaxTier) && len(r.list.onlyResources) == 0
}

// covers reports whether the entry means every kind of a group version.
func (e entry) covers(gv schema.GroupVersion) bool {
	return e.wild() && slices.ContainsFunc(e.readings, func(reading reference) bool {
		return reading.inGroup(gv.Group) && (reading.version == "" || reading.version == gv.Version)
	})
}

// silent are the group versions of which nothing is known, in an order that does not change.
func (r *resolver) silent() []schema.GroupVersion {
	return slices.SortedFunc(maps.Keys(r.served.Silent), func(a, b schema.GroupVersion) int { return strings.Compare(a.String(), b.String()) })
}

func notAnswering(gv schema.GroupVersion) string {
	return "not known while API group " + gv.String() + " does not answer"
}

// leaveOutTwins leaves out endpoints that only a wildcard selects, where endpointslices are watched that say the same once more: those
// of the same namespaces and selectors.
func (r *resolver) leaveOutTwins() {
	one, other := r.chosen[endpoints], r.chosen[endpointSlices]
	if one.target != nil && one.by.wild() && other.target != nil && one.target.sameLimits(*other.target) {
		delete(r.chosen, endpoints)
	}
}

// sameLimits reports whether two targets have the same namespaces and selectors.
func (t Target) sameLimits(other Target) bool {
	return slices.Equal(t.Namespaces, other.Namespaces) && slices.Equal(t.Excluded, other.Excluded) &&
		t.LabelSelector == other.LabelSelector && t.FieldSelector == other.FieldSelector
}

// whyMissing says why nothing is served that an entry could mean.
func (r *resolver) whyMissing(e entry) (reason string, silent bool) {
	for _, gv := range r.silent() {
		if slices.ContainsFunc(e.readings, func(reading reference) bool { return reading.inGroup(gv.Group) }) {
			return notAnswering(gv), true
		}
	}
	return "not served (yet)", false
}

// miss adds a kind that cannot be watched, once, unless the blacklist removes it anyhow.
func (r *resolver) miss(missing Missing) {
	same := func(other Missing) bool {
		return other.Name == missing.Name || other.Kind == missing.Kind && !other.Kind.Empty()
	}
	if !r.removed[missing.Kind] && !slices.ContainsFunc(r.missing, same) {
		r.missing = append(r.missing, missing)
	}
}

// target is what an entry makes of a kind; nil if no namespace is left for it.
func (r *resolver) target(e entry, kind Kind) *Target {
	target := &Target{
		Resource:      kind.Resource,
		Kind:          kind.Kind,
		Tier:          kind.tier(),
		Events:        e.Events,
		Depth:         cmp.Or(e.Depth, r.list.discovery.Depth),
		LabelSelector: e.LabelSelector,
		FieldSelector: e.FieldSelector,
	}
	if !e.wild() {
		target.Position = e.position
	}
	if !kind.Namespaced {
		return target
	}
	selection := r.list.discovery.Namespaces
	included, limited := intersect(e.Namespaces, selection.Include, r.list.onlyNamespaces)
	if !limited {
		target.Excluded = slices.Clone(selection.Exclude)
		return target
	}
	target.Namespaces = slices.DeleteFunc(included, func(name string) bool { return slices.Contains(selection.Exclude, name) })
	if len(target.Namespaces) == 0 {
		return nil
	}
	return target
}

// intersect returns what is in all sets, sorted; an empty set does not count. limited is false when all are empty.
func intersect(sets ...[]string) (common []string, limited bool) {
	for _, set := range sets {
		if len(set) == 0 {
			continue
		}
		if !limited {
			common, limited = asSet(set), true
		}
		common = slices.DeleteFunc(common, func(name string) bool { return !slices.Contains(set, name) })
	}
	return common, limited
}

func (r *resolver) resolution() Resolution {
	result := Resolution{Missing: r.missing, Problems: r.problems}
	for _, choice := range r.chosen {
		if choice.target != nil {
			result.Targets = append(result.Targets, *choice.target)
		}
	}
	slices.SortFunc(result.Targets, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Tier, b.Tier), cmp.Compare(Format(a.Resource), Format(b.Resource)))
	})
	keys := []string{meshery.WhitelistKey, meshery.BlacklistKey}
	slices.SortStableFunc(result.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(slices.Index(keys, a.Key), slices.Index(keys, b.Key)), cmp.Compare(a.Position, b.Position))
	})
	return result
}
