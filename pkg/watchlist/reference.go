package watchlist

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Format writes a resource as it stands in a watch-list.
func Format(resource schema.GroupVersionResource) string {
	return resource.Resource + "." + resource.Version + "." + resource.Group
}

const form = "a resource is <plural>.<version>.<group>, such as pods.v1. or deployments.v1.apps"

// wildcard stands for every kind.
const wildcard = "*"

// coreGroup is what the core group is often called, though its name is empty.
const coreGroup = "core"

var versionLike = regexp.MustCompile(`^v[0-9]+((alpha|beta)[0-9]+)?$`)

// reference is one reading of how an entry names a kind, or with the wildcard several.
type reference struct {
	name     string // plural, singular, short name or kind, in lower case; or the wildcard
	version  string // "" is the preferred one
	group    string
	anyGroup bool // none is given
}

// parseReference returns the readings of a text, the likeliest first, and a hint at what would be right if it cannot be used. Whether
// there is such a kind is for the API server to say.
func parseReference(text string) (readings []reference, hint string) {
	if text == "" {
		return nil, "Resource is missing; " + form
	}
	name, rest, dotted := strings.Cut(strings.ToLower(text), ".")
	first, others, more := strings.Cut(rest, ".")
	last := rest[strings.LastIndexByte(rest, '.')+1:]
	switch {
	case !dotted:
		readings = []reference{{name: name, anyGroup: true}}
	case versionLike.MatchString(first):
		readings = []reference{{name: name, version: first, group: others}}
		if !more && name != wildcard { // it lacks its last dot, as in pods.v1, or its group, as in deployments.v1
			readings = append(readings, reference{name: name, version: first, anyGroup: true})
		}
	case versionLike.MatchString(last):
		meant := reference{name: name, version: last, group: strings.TrimSuffix(strings.TrimSuffix(rest, last), ".")}
		if meant.group == coreGroup {
			meant.group = ""
		}
		if meant.wellFormed() {
			return []reference{meant}, fmt.Sprintf("group and version are swapped; write %q", meant)
		}
	default: // a group in full, or a version that is named in an unusual way
		readings = []reference{{name: name, group: rest}}
		if more && first != "" {
			readings = append(readings, reference{name: name, version: first, group: others})
		}
	}
	readings = slices.DeleteFunc(readings, func(r reference) bool { return !r.wellFormed() })
	if len(readings) == 0 {
		return nil, form
	}
	for _, reading := range slices.Clone(readings) {
		if reading.group == coreGroup {
			reading.group = ""
			readings = append(readings, reading)
		}
	}
	return readings, ""
}

func (r reference) wellFormed() bool {
	return (r.name == wildcard || len(validation.IsDNS1035Label(r.name)) == 0) &&
		(r.version == "" || len(validation.IsDNS1035Label(r.version)) == 0) &&
		(r.group == "" || len(validation.IsDNS1123Subdomain(r.group)) == 0)
}

// String is the reference as it should be written.
func (r reference) String() string {
	switch {
	case r.anyGroup:
		return r.name
	case r.version == "":
		return r.name + "." + r.group
	default:
		return Format(r.resource())
	}
}

func (r reference) resource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: r.group, Version: r.version, Resource: r.name}
}

func (r reference) inGroup(group string) bool { return r.anyGroup || r.group == group }

// findOne returns the kind that is meant where no wildcard stands, and by which reading: what is written in full before any other,
// a plural before any other name, an earlier group before a later one. The version is the one named, or where that is not served
// the preferred one.
func findOne(readings []reference, kinds []Kind) (Kind, reference, bool) {
	inFull := func(r reference, kind Kind) bool { return !r.anyGroup && kind.Resource == r.resource() }
	byPlural := func(r reference, kind Kind) bool {
		return kind.Preferred && r.inGroup(kind.Resource.Group) && kind.Resource.Resource == r.name
	}
	byAnyName := func(r reference, kind Kind) bool {
		return kind.Preferred && r.inGroup(kind.Resource.Group) && kind.answers(r.name)
	}
	for _, means := range []func(reference, Kind) bool{inFull, byPlural, byAnyName} {
		for _, reading := range readings {
			for _, kind := range kinds {
				if means(reading, kind) {
					return inVersion(reading.version, kind, kinds), reading, true
				}
			}
		}
	}
	return Kind{}, reference{}, false
}

// inVersion returns a kind in another version, or as it is where that is not served.
func inVersion(version string, kind Kind, kinds []Kind) Kind {
	wanted := kind.Resource.GroupResource().WithVersion(version)
	if i := slices.IndexFunc(kinds, func(other Kind) bool { return other.Resource == wanted }); i >= 0 {
		return kinds[i]
	}
	return kind
}

// findAll returns the kinds that are meant where the wildcard stands, each once, and by which reading.
func findAll(readings []reference, kinds []Kind) ([]Kind, reference) {
	for _, reading := range readings {
		var found []Kind
		for _, kind := range kinds {
			inVersion := kind.Resource.Version == reading.version || kind.Preferred && reading.version == ""
			if inVersion && reading.inGroup(kind.Resource.Group) {
				found = append(found, kind)
			}
		}
		if len(found) > 0 {
			return found, reading
		}
	}
	return nil, readings[0]
}
