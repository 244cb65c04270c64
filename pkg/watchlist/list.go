package watchlist

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
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

// List says which kinds are watched, and how. The zero List watches nothing.
type List struct {
	white     []entry
	black     []entry
	discovery v1alpha1.MeshSyncDiscovery
	problems  []Problem // with what is left out, whatever is served

	onlyNamespaces []string
	onlyResources  []string
}

// entry is what one line of a list says.
type entry struct {
	position int // from 1; 0 where nobody has written it
	text     string
	readings []reference
	options
}

// options of an entry of the whitelist.
type options struct {
	Events        Events
	Namespaces    []string // empty is all
	LabelSelector string
	FieldSelector string
	Depth         v1alpha1.Depth // "" is that of the whole list
}

var allEvents = options{Events: AllEvents}

// skipped reports whether the entry cannot be used. It still stands for its kind: no wildcard selects that, and a blacklist removes it.
func (e entry) skipped() bool { return e.Events == 0 }

// wild reports whether the entry may select several kinds.
func (e entry) wild() bool { return e.readings[0].name == wildcard }

// canonical returns the kind that the entry is about, if that is written in full, whatever is served.
func (e entry) canonical() (schema.GroupResource, bool) {
	resource := e.readings[0].resource()
	if e.wild() || len(e.readings) > 1 || e.text != Format(resource) {
		return schema.GroupResource{}, false
	}
	return resource.GroupResource(), true
}

// inFull reports whether the entry says which kinds it is about, whatever is served.
func (e entry) inFull() bool {
	_, canonical := e.canonical()
	return canonical || e.wild() && e.text == e.readings[0].String()
}

// implied returns entries that nobody has written, for all events.
func implied(texts ...string) []entry {
	var entries []entry
	for _, text := range texts {
		readings, _ := parseReference(text)
		entries = append(entries, entry{text: text, readings: readings, options: allEvents})
	}
	return entries
}

// Default is the list that is used when none is given: every event of these kinds.
func Default() List {
	return List{discovery: withDefaults(v1alpha1.MeshSyncDiscovery{}), white: implied(
		"namespaces.v1.", "nodes.v1.", "pods.v1.", "services.v1.", "endpoints.v1.", "endpointslices.v1.discovery.k8s.io",
		"ingresses.v1.networking.k8s.io", "deployments.v1.apps", "statefulsets.v1.apps", "daemonsets.v1.apps", "replicasets.v1.apps",
		"replicationcontrollers.v1.", "cronjobs.v1.batch", "configmaps.v1.", "secrets.v1.", "persistentvolumes.v1.",
		"persistentvolumeclaims.v1.", "storageclasses.v1.storage.k8s.io", "volumeattachments.v1.storage.k8s.io",
		"clusterroles.v1.rbac.authorization.k8s.io", "apiservices.v1.apiregistration.k8s.io",
		"prometheuses.v1.monitoring.coreos.com", "grafanas.v1beta1.grafana.integreatly.org",
	)}
}

// OnRemoval says what becomes of the published objects of what is not watched any more.
func (l List) OnRemoval() v1alpha1.OnRemoval { return l.discovery.OnRemoval }

// Limit returns the list with further limits: only objects of these namespaces (and those that have none), only kinds of these
// names, plural or singular. Empty is no limit. The limits are no part of the Hash.
func (l List) Limit(namespaces, resources []string) List {
	l.onlyNamespaces, l.onlyResources = namespaces, resources
	return l
}

// FollowsServed reports whether which kinds the list is about depends on what is served: unless each entry of the whitelist is
// written as <plural>.<version>.<group>.
func (l List) FollowsServed() bool {
	return slices.ContainsFunc(l.white, func(e entry) bool {
		_, canonical := e.canonical()
		return !canonical
	})
}

// Equal reports whether two lists say the same, have the same limits and the same problems.
func (l List) Equal(other List) bool {
	return slices.Equal(l.said(), other.said()) && slices.Equal(l.problems, other.problems) &&
		slices.Equal(asSet(l.onlyNamespaces), asSet(other.onlyNamespaces)) && slices.Equal(asSet(l.onlyResources), asSet(other.onlyResources))
}

// Hash names what the list says, in 12 hexadecimal digits: entries whose names can be read, in their order, and discovery.
func (l List) Hash() string {
	sum := sha256.Sum256(l.said())
	return hex.EncodeToString(sum[:6])
}

// said is what the list says, in a form that is the same whenever the meaning is.
func (l List) said() []byte {
	type line struct {
		Text string
		options
	}
	lines := func(entries []entry) []line {
		var lines []line
		for _, e := range entries {
			lines = append(lines, line{e.text, e.options})
		}
		return lines
	}
	text, err := json.Marshal(struct {
		White, Black []line
		Discovery    v1alpha1.MeshSyncDiscovery
	}{lines(l.white), lines(l.black), l.discovery})
	if err != nil {
		panic(err) // it consists of strings and numbers
	}
	return text
}
