package watchlist

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

const (
	// maxNamespaces is how many may be named in one place: each that is selected costs a watch per kind.
	maxNamespaces = 32
	// maxEntries of a list, each of which is compared with every kind that is served.
	maxEntries = 2000
)

// How much is quoted of what stands in the data: problems become lines of a log and of a condition.
const (
	longestValue = 100
	longestHint  = 300
)

// leavesNothingOut is said of an entry of the blacklist that has no effect: what it is meant to leave out stays watched.
const leavesNothingOut = "nothing is left out: "

// Problem is something in the data that cannot be used, or should be written otherwise.
type Problem struct {
	Key      string // whitelist, blacklist, or a key that is neither
	Position int    // of the entry in its list, from 1; 0 when it is about the key itself
	Value    string // what stands there
	Hint     string // what would be right, or what was made of it
	Skipped  bool   // it, or a part of it, is not used
}

// String is one line for a human.
func (p Problem) String() string {
	if p.Position == 0 {
		return fmt.Sprintf("%s: %s", p.Key, p.Hint)
	}
	return fmt.Sprintf("%s entry %d (%s): %s", p.Key, p.Position, p.Value, p.Hint)
}

// newProblem keeps a problem short, whatever stands in the data.
func newProblem(key string, position int, value, hint string, skipped bool) Problem {
	return Problem{Key: shorten(key, longestValue), Position: position, Value: shorten(value, longestValue), Hint: shorten(hint, longestHint), Skipped: skipped}
}

// Parse reads the data of a watch-list. Entries that cannot be used are left out, and are among the problems of Resolve. An error
// means that a key holds no JSON array, or far too long a one, or discovery no settings, or that nothing can be read of a blacklist
// that stands alone: there is no list then, and the caller keeps the one it had.
func Parse(data map[string]string) (List, error) {
	white, whiteErr := parseArray(data, meshery.WhitelistKey)
	black, blackErr := parseArray(data, meshery.BlacklistKey)
	discovery, discoveryErr := parseDiscovery(data[meshery.DiscoveryKey])
	if err := errors.Join(whiteErr, blackErr, discoveryErr); err != nil {
		return List{}, err
	}
	list := List{discovery: discovery, problems: unknownKeys(data)}
	switch {
	case len(white) > 0:
		list.white = list.parseEntries(meshery.WhitelistKey, white, whitelistOptions)
	case len(black) > 0:
		list.white = implied(wildcard)
	default:
		list.white = Default().white
	}
	list.black = list.parseEntries(meshery.BlacklistKey, black, blacklistOptions)
	if len(white) == 0 && len(black) > 0 && len(list.black) == 0 {
		return List{}, fmt.Errorf("blacklist has no entry that can be read, and without any everything would be watched: %s", list.problems[len(list.problems)-1])
	}
	return list, nil
}

// Empty reports whether the data has no entry at all. A key that cannot be read counts as one.
func Empty(data map[string]string) bool {
	white, whiteErr := parseArray(data, meshery.WhitelistKey)
	black, blackErr := parseArray(data, meshery.BlacklistKey)
	return whiteErr == nil && blackErr == nil && len(white) == 0 && len(black) == 0
}

func parseArray(data map[string]string, key string) ([]json.RawMessage, error) {
	text := data[key]
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var entries []json.RawMessage
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return nil, fmt.Errorf(`%s is not a JSON array such as [{"Resource":"pods.v1.","Events":["ADDED","DELETED"]}]: %s`, key, explain(text, err))
	}
	if len(entries) > maxEntries {
		return nil, fmt.Errorf("%s has %d entries, want %d at most: a wildcard such as *.apps stands for many", key, len(entries), maxEntries)
	}
	return entries, nil
}

func unknownKeys(data map[string]string) []Problem {
	var problems []Problem
	known := []string{meshery.WhitelistKey, meshery.BlacklistKey, meshery.DiscoveryKey, meshery.DeliveryKey}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if !slices.Contains(known, key) {
			problems = append(problems, newProblem(key, 0, data[key], "unknown key; known are whitelist and blacklist", true))
		}
	}
	return problems
}

func parseDiscovery(text string) (v1alpha1.MeshSyncDiscovery, error) {
	var discovery v1alpha1.MeshSyncDiscovery
	var hint string
	if strings.TrimSpace(text) != "" {
		if err := decodeStrictly(text, &discovery); err != nil {
			hint = explain(text, err)
		} else {
			hint = checkDiscovery(discovery)
		}
	}
	if hint != "" {
		return discovery, fmt.Errorf(`%s is not a JSON object such as {"depth":"inventory","namespaces":{"exclude":["kube-system"]}}: %s`, meshery.DiscoveryKey, shorten(hint, longestHint))
	}
	return withDefaults(discovery), nil
}

func checkDiscovery(d v1alpha1.MeshSyncDiscovery) string {
	hint := cmp.Or(checkDepth(d.Depth), checkNamespaces(d.Namespaces.Include), checkNamespaces(d.Namespaces.Exclude))
	switch {
	case hint != "":
		return hint
	case d.MaxTier < 0 || d.MaxTier > LastTier:
		return fmt.Sprintf("maxTier %d: want 1 to %d", d.MaxTier, LastTier)
	case d.OnRemoval != "" && d.OnRemoval != v1alpha1.OnRemovalDelete && d.OnRemoval != v1alpha1.OnRemovalKeep:
		return fmt.Sprintf("onRemoval %q: want %s or %s", d.OnRemoval, v1alpha1.OnRemovalDelete, v1alpha1.OnRemovalKeep)
	default:
		return ""
	}
}

// withDefaults fills in what is left open, and gives what means the same one form.
func withDefaults(d v1alpha1.MeshSyncDiscovery) v1alpha1.MeshSyncDiscovery {
	d.Namespaces.Include, d.Namespaces.Exclude = asSet(d.Namespaces.Include), asSet(d.Namespaces.Exclude)
	d.Depth = cmp.Or(d.Depth, v1alpha1.DepthFull)
	d.MaxTier = cmp.Or(d.MaxTier, LastTier)
	d.OnRemoval = cmp.Or(d.OnRemoval, v1alpha1.OnRemovalDelete)
	return d
}

// writtenEntry is how an entry is written as an object.
type writtenEntry struct {
	Resource      string         `json:"Resource"`
	Events        []string       `json:"Events"`
	Namespaces    []string       `json:"namespaces"`
	LabelSelector string         `json:"labelSelector"`
	FieldSelector string         `json:"fieldSelector"`
	Depth         v1alpha1.Depth `json:"depth"`
}

// parseEntries returns the entries whose names can be read, and notes what cannot be used.
func (l *List) parseEntries(key string, raw []json.RawMessage, optionsOf func(writtenEntry) (options, string)) []entry {
	var entries []entry
	for i, text := range raw {
		e, hint := parseEntry(string(text), optionsOf)
		e.position = i + 1
		e.text = cmp.Or(e.text, string(text))
		if hint != "" {
			l.problems = append(l.problems, newProblem(key, e.position, e.text, e.effect(key)+hint, true))
		}
		if len(e.readings) > 0 {
			entries = append(entries, e)
		}
	}
	return entries
}

// effect says what becomes of an entry of the blacklist with a fault; of one of the whitelist that goes without saying.
func (e entry) effect(key string) string {
	switch {
	case key != meshery.BlacklistKey || !e.skipped():
		return ""
	case len(e.readings) == 0:
		return leavesNothingOut
	default:
		return "taken all the same, but "
	}
}

// parseEntry reads one entry. One that cannot be used has no events, but readings where it says which kind it is about; a hint says
// why, or which part of it is not used.
func parseEntry(text string, optionsOf func(writtenEntry) (options, string)) (e entry, hint string) {
	var written writtenEntry
	var into any = &written
	if strings.HasPrefix(text, `"`) {
		into = &written.Resource
	}
	if err := decodeStrictly(text, into); err != nil {
		hint = `want {"Resource":"pods.v1.","Events":["ADDED"]} or "pods.v1."; ` + explain(text, err)
		written.Resource = nameIn(text)
	}
	readings, nameHint := parseReference(written.Resource)
	e.readings = readings
	if hint = cmp.Or(hint, nameHint); hint != "" {
		return e, hint
	}
	e.text = written.Resource
	e.options, hint = optionsOf(written)
	return e, hint
}

// nameIn is the resource of an entry that says something else besides that is not understood.
func nameIn(text string) string {
	var named struct{ Resource string }
	if json.Unmarshal([]byte(text), &named) != nil {
		return ""
	}
	return named.Resource
}

// whitelistOptions returns no events where a limit cannot be understood: without it, more would be watched than was asked for.
func whitelistOptions(written writtenEntry) (options, string) {
	if hint := cmp.Or(checkNamespaces(written.Namespaces), checkDepth(written.Depth)); hint != "" {
		return options{}, hint
	}
	if _, err := labels.Parse(written.LabelSelector); err != nil {
		return options{}, fmt.Sprintf("labelSelector %q: %v", written.LabelSelector, err)
	}
	if _, err := fields.ParseSelector(written.FieldSelector); err != nil {
		return options{}, fmt.Sprintf("fieldSelector %q: %v", written.FieldSelector, err)
	}
	events, hint := parseEvents(written.Events)
	return options{
		Events:        events,
		Namespaces:    asSet(written.Namespaces),
		LabelSelector: written.LabelSelector,
		FieldSelector: written.FieldSelector,
		Depth:         written.Depth,
	}, hint
}

func blacklistOptions(written writtenEntry) (options, string) {
	events, _ := parseEvents(written.Events)
	if events != AllEvents || len(written.Namespaces) > 0 || cmp.Or(written.LabelSelector, written.FieldSelector, string(written.Depth)) != "" {
		return allEvents, "a blacklist removes the whole kind; to leave out some of its events or objects, say so in the whitelist"
	}
	return allEvents, ""
}

func parseEvents(names []string) (events Events, hint string) {
	if len(names) == 0 {
		return AllEvents, ""
	}
	var unknown []string
	for _, name := range names {
		i := slices.IndexFunc(eventNames, func(known eventName) bool { return known.name == name })
		if i < 0 {
			unknown = append(unknown, fmt.Sprintf("%q", name))
			continue
		}
		events |= eventNames[i].value
	}
	if len(unknown) > 0 {
		hint = "known events are ADDED, MODIFIED and DELETED, but not " + strings.Join(unknown, ", ")
	}
	return events, hint
}

func checkDepth(depth v1alpha1.Depth) string {
	if depth != "" && depth != v1alpha1.DepthFull && depth != v1alpha1.DepthInventory {
		return fmt.Sprintf("depth %q: want %s or %s", depth, v1alpha1.DepthInventory, v1alpha1.DepthFull)
	}
	return ""
}

func checkNamespaces(names []string) string {
	if len(names) > maxNamespaces {
		return fmt.Sprintf("namespaces: %d are named, want %d at most", len(names), maxNamespaces)
	}
	for _, name := range names {
		if len(validation.IsDNS1123Label(name)) > 0 {
			return fmt.Sprintf("namespaces: %q cannot be the name of a namespace", name)
		}
	}
	return ""
}

// decodeStrictly refuses unknown fields: "Event" for "Events" would otherwise widen an entry to all events.
func decodeStrictly(text string, into any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows it")
	}
	return nil
}

// explain says what is wrong with a JSON text without a word of Go.
func explain(text string, err error) string {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		before := text[:max(0, min(int(syntax.Offset)-1, len(text)))]
		return fmt.Sprintf("line %d: %v", 1+strings.Count(before, "\n"), syntax)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		unexpected := "unexpected " + wrong.Value
		if wrong.Field == "" {
			return unexpected
		}
		return wrong.Field + ": " + unexpected
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// shorten puts a text on one line of limited length.
func shorten(text string, limit int) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// asSet returns the names sorted, each once; nil for none.
func asSet(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }
