package watchlist

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Events is a set of event types.
type Events uint8

// The event types, and all of them.
const (
	Added Events = 1 << iota
	Modified
	Deleted

	AllEvents = Added | Modified | Deleted
)

// Has reports whether all of other is in e.
func (e Events) Has(other Events) bool { return e&other == other }

// String lists the event types as they are written in a watch-list.
func (e Events) String() string {
	var names []string
	for _, event := range eventNames {
		if e.Has(event.value) {
			names = append(names, event.name)
		}
	}
	return strings.Join(names, ",")
}

type eventName struct {
	name  string
	value Events
}

var eventNames = []eventName{{"ADDED", Added}, {"MODIFIED", Modified}, {"DELETED", Deleted}}

// List says which kinds are watched. The zero List watches nothing.
type List struct {
	everything bool // all that is served, instead of selected
	selected   map[schema.GroupVersionResource]Events
	removed    map[schema.GroupResource]bool
}

// Entry is one kind to watch and the events of it that are published.
type Entry struct {
	Resource schema.GroupVersionResource
	Events   Events
}

// highChurn are the kinds that a list without a whitelist leaves out: they change all the time and say little about the
// state of a cluster. A whitelist may name them.
var highChurn = map[schema.GroupResource]bool{
	{Group: "", Resource: "events"}:                             true,
	{Group: "events.k8s.io", Resource: "events"}:                true,
	{Group: "coordination.k8s.io", Resource: "leases"}:          true,
	{Group: "coordination.k8s.io", Resource: "leasecandidates"}: true,
}

// Everything reports whether the list selects all that is served (less some kinds) instead of naming what it wants.
func (l List) Everything() bool { return l.everything }

// Events returns the events to publish of a kind; none means that the kind is not watched.
func (l List) Events(resource schema.GroupVersionResource) Events {
	kind := resource.GroupResource()
	switch {
	case l.removed[kind]:
		return 0
	case !l.everything:
		return l.selected[resource]
	case highChurn[kind]:
		return 0
	default:
		return AllEvents
	}
}

// Entries returns the kinds that the list names and wants watched, sorted. It is empty for a list of Everything.
func (l List) Entries() []Entry {
	entries := make([]Entry, 0, len(l.selected))
	for resource, events := range l.selected {
		if !l.removed[resource.GroupResource()] {
			entries = append(entries, Entry{Resource: resource, Events: events})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(Format(a.Resource), Format(b.Resource)) })
	return entries
}

// Equal reports whether two lists say the same.
func (l List) Equal(other List) bool {
	return l.everything == other.everything &&
		maps.Equal(l.selected, other.selected) && maps.Equal(l.removed, other.removed)
}

// Default is the list that is used when none is given: every event of these kinds.
func Default() List {
	list := List{selected: map[schema.GroupVersionResource]Events{}}
	add := func(group, version string, resources ...string) {
		for _, resource := range resources {
			list.selected[schema.GroupVersionResource{Group: group, Version: version, Resource: resource}] = AllEvents
		}
	}
	add("", "v1", "namespaces", "nodes", "pods", "services", "endpoints", "configmaps", "secrets", "persistentvolumes",
		"persistentvolumeclaims", "replicationcontrollers")
	add("apps", "v1", "deployments", "statefulsets", "daemonsets", "replicasets")
	add("batch", "v1", "cronjobs")
	add("networking.k8s.io", "v1", "ingresses")
	add("discovery.k8s.io", "v1", "endpointslices")
	add("storage.k8s.io", "v1", "storageclasses", "volumeattachments")
	add("rbac.authorization.k8s.io", "v1", "clusterroles")
	add("apiregistration.k8s.io", "v1", "apiservices")
	add("grafana.integreatly.org", "v1beta1", "grafanas")
	add("monitoring.coreos.com", "v1", "prometheuses")
	return list
}
