package watchlist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"meshery.io/operator/pkg/apis/meshery"
)

// Problem is a part of the data that was left out.
type Problem struct {
	Key      string // whitelist, blacklist, or a key that is neither
	Position int    // of the entry in its list, from 1; 0 when it is about the key itself
	Value    string // what stands there
	Hint     string // what would be right
}

// String is one line for a human.
func (p Problem) String() string {
	if p.Position == 0 {
		return fmt.Sprintf("%s: %s", p.Key, p.Hint)
	}
	return fmt.Sprintf("%s entry %d (%s): %s", p.Key, p.Position, p.Value, p.Hint)
}

// Parse reads the data of a watch-list. Problems name what was left out. An error means that a key holds no JSON array: there
// is no list then, and the caller keeps the one it had.
func Parse(data map[string]string) (List, []Problem, error) {
	white, whiteErr := parseArray(data, meshery.WhitelistKey)
	black, blackErr := parseArray(data, meshery.BlacklistKey)
	if err := errors.Join(whiteErr, blackErr); err != nil {
		return List{}, nil, err
	}

	problems := unknownKeys(data)
	if len(white) == 0 && len(black) == 0 {
		return Default(), problems, nil
	}
	list := List{
		everything: len(white) == 0,
		selected:   map[schema.GroupVersionResource]Events{},
		removed:    map[schema.GroupResource]bool{},
	}
	report := func(key string, index int, raw json.RawMessage, hint string) {
		problems = append(problems, Problem{Key: key, Position: index + 1, Value: shorten(raw), Hint: hint})
	}
	for i, raw := range white {
		entry, hints := parseEntry(raw)
		for _, hint := range hints {
			report(meshery.WhitelistKey, i, raw, hint)
		}
		if entry.Events != 0 {
			list.selected[entry.Resource] |= entry.Events
		}
	}
	for i, raw := range black {
		entry, hints := parseEntry(raw)
		for _, hint := range hints {
			report(meshery.BlacklistKey, i, raw, hint)
		}
		if len(hints) == 0 && entry.Events != AllEvents {
			report(meshery.BlacklistKey, i, raw, "a blacklist removes the whole kind; to leave out some of its events, list the others in the whitelist")
		}
		if !entry.Resource.Empty() {
			list.removed[entry.Resource.GroupResource()] = true
		}
	}
	return list, problems, nil
}

// Empty reports whether the data has no entry at all. A key that cannot be read counts as one.
func Empty(data map[string]string) bool {
	white, whiteErr := parseArray(data, meshery.WhitelistKey)
	black, blackErr := parseArray(data, meshery.BlacklistKey)
	return whiteErr == nil && blackErr == nil && len(white) == 0 && len(black) == 0
}

func parseArray(data map[string]string, key string) ([]json.RawMessage, error) {
	text := strings.TrimSpace(data[key])
	if text == "" {
		return nil, nil
	}
	var entries []json.RawMessage
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return nil, fmt.Errorf(`%s is not a JSON array such as [{"Resource":"pods.v1.","Events":["ADDED","DELETED"]}]: %w`, key, err)
	}
	return entries, nil
}

func unknownKeys(data map[string]string) []Problem {
	var problems []Problem
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if key != meshery.WhitelistKey && key != meshery.BlacklistKey {
			problems = append(problems, Problem{Key: key, Value: shorten([]byte(data[key])), Hint: "unknown key; known are whitelist and blacklist"})
		}
	}
	return problems
}

// parseEntry reads one entry. Hints say what was left out of it; an entry that is of no use has no resource and no events.
func parseEntry(raw json.RawMessage) (Entry, []string) {
	var entry struct {
		Resource string
		Events   []string
	}
	if bytes.HasPrefix(raw, []byte(`"`)) {
		if err := json.Unmarshal(raw, &entry.Resource); err != nil {
			return Entry{}, []string{err.Error()}
		}
	} else {
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields() // "Event" for "Events" would otherwise widen the entry to all events
		if err := decoder.Decode(&entry); err != nil {
			return Entry{}, []string{fmt.Sprintf(`want {"Resource":"pods.v1.","Events":["ADDED"]} or "pods.v1.": %v`, err)}
		}
	}
	resource, hint := parseResource(entry.Resource)
	if hint != "" {
		return Entry{}, []string{hint}
	}
	events, hints := parseEvents(entry.Events)
	return Entry{Resource: resource, Events: events}, hints
}

func parseEvents(names []string) (Events, []string) {
	if len(names) == 0 {
		return AllEvents, nil
	}
	var events Events
	var hints []string
	for _, name := range names {
		i := slices.IndexFunc(eventNames, func(known eventName) bool { return known.name == name })
		if i < 0 {
			hints = append(hints, fmt.Sprintf("unknown event %q; known are ADDED, MODIFIED and DELETED", name))
			continue
		}
		events |= eventNames[i].value
	}
	return events, hints
}

// Format writes a resource as it stands in a watch-list.
func Format(resource schema.GroupVersionResource) string {
	return resource.Resource + "." + resource.Version + "." + resource.Group
}

// looksLikeVersion helps to tell a missing or swapped version from an unusual one.
var looksLikeVersion = regexp.MustCompile(`^v[0-9]`)

// parseResource reads <plural>.<version>.<group>. The hint is empty when the text is well-formed; whether such a resource
// exists is for the API server to say.
func parseResource(text string) (schema.GroupVersionResource, string) {
	const form = "a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps"
	parts := strings.SplitN(text, ".", 3)
	switch {
	case text == "":
		return schema.GroupVersionResource{}, "Resource is missing; " + form
	case len(parts) == 2 && looksLikeVersion.MatchString(parts[1]):
		return schema.GroupVersionResource{}, fmt.Sprintf("write %q if the core group is meant (the dot at the end stands before the empty group); %s", text+".", form)
	case len(parts) < 3:
		return schema.GroupVersionResource{}, form
	}
	plural, version, group := parts[0], parts[1], parts[2]
	switch {
	case !looksLikeVersion.MatchString(version) && looksLikeVersion.MatchString(group):
		return schema.GroupVersionResource{}, fmt.Sprintf("group and version are swapped; write %q", plural+"."+group+"."+version)
	case strings.ToLower(text) != text:
		return schema.GroupVersionResource{}, fmt.Sprintf("write it in lower case: %q", strings.ToLower(text))
	case len(validation.IsDNS1035Label(plural)) > 0, len(validation.IsDNS1035Label(version)) > 0,
		group != "" && len(validation.IsDNS1123Subdomain(group)) > 0:
		return schema.GroupVersionResource{}, form
	}
	return schema.GroupVersionResource{Group: group, Version: version, Resource: plural}, ""
}

// shorten keeps a quoted value readable in a log line or a condition.
func shorten(raw []byte) string {
	const limit = 80
	text := strings.Join(strings.Fields(string(raw)), " ")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
