package watchlist

import "k8s.io/apimachinery/pkg/runtime/schema"

// The tiers, in which kinds are listed for the first time.
const (
	// TierMap is what has no namespace: small, and the map of the cluster.
	TierMap = 1 + iota
	// TierWorkloads is workloads and their networking.
	TierWorkloads
	// TierRest is configuration, storage, RBAC and custom resources.
	TierRest

	LastTier = TierRest
)

// workloadGroups are the API groups of workloads and their networking.
var workloadGroups = map[string]bool{
	"apps": true, "batch": true, "autoscaling": true, "policy": true, "networking.k8s.io": true, "discovery.k8s.io": true,
}

// workloadKinds are those of the core group.
var workloadKinds = map[string]bool{
	"pods": true, "services": true, "endpoints": true, "replicationcontrollers": true, "podtemplates": true,
}

// mapGroups are the API groups whose kinds without a namespace belong to the map. Of the storage and RBAC groups they do not.
var mapGroups = map[string]bool{
	"": true, "admissionregistration.k8s.io": true, "apiextensions.k8s.io": true, "apiregistration.k8s.io": true,
	"certificates.k8s.io": true, "flowcontrol.apiserver.k8s.io": true, "node.k8s.io": true, "resource.k8s.io": true,
	"scheduling.k8s.io": true,
}

// persistentVolumes are storage, though they are of the core group and have no namespace.
var persistentVolumes = schema.GroupResource{Resource: "persistentvolumes"}

func (k Kind) tier() int {
	kind := k.Resource.GroupResource()
	switch {
	case kind == persistentVolumes:
		return TierRest
	case !k.Namespaced && (mapGroups[kind.Group] || workloadGroups[kind.Group]):
		return TierMap
	case workloadGroups[kind.Group], kind.Group == "" && workloadKinds[kind.Resource]:
		return TierWorkloads
	default:
		return TierRest
	}
}

// lowestTier is the first that a kind of an API group may be of.
func lowestTier(group string) int {
	if mapGroups[group] || workloadGroups[group] {
		return TierMap
	}
	return TierRest
}

// highChurn are the kinds that change all the time and say little about the state of a cluster. Only an entry that names one
// selects it.
var highChurn = map[schema.GroupResource]bool{
	{Group: "", Resource: "events"}:                             true,
	{Group: "events.k8s.io", Resource: "events"}:                true,
	{Group: "coordination.k8s.io", Resource: "leases"}:          true,
	{Group: "coordination.k8s.io", Resource: "leasecandidates"}: true,
}

// Where endpointSlices are watched, endpoints say the same once more.
var (
	endpoints      = schema.GroupResource{Resource: "endpoints"}
	endpointSlices = schema.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
)
