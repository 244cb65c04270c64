package operator

import "meshery.io/operator/pkg/apis/meshery"

// Where the operator uses a permission.
const (
	inServed  = "in every served namespace"
	inOwn     = "in the operator's own namespace"
	inCluster = "cluster-wide"
)

// permission is something that the operator's code does at the API server.
type permission struct {
	where    string
	group    string
	resource string // with its subresource: brokers/status
	name     string // of the one object that it is about; empty is any
	verbs    []string
	why      string
	// optional says that the operator does its work without, and what it then does not do is in why.
	optional bool
}

// permissions lists everything that the operator does at the API server with these options, and nothing else. Tests hold it against
// the roles in manifests/ and against the API server's audit log; before it starts to work the operator looks whether it may.
func permissions(o *Options) []permission {
	const (
		group     = meshery.GroupName
		apps      = "apps"
		rbac      = "rbac.authorization.k8s.io"
		lease     = "coordination.k8s.io"
		extension = "apiextensions.k8s.io"
	)
	var (
		read = []string{"list", "watch"}
		// keep also gets: an object of ours that lost its label, and one of somebody else's, is in no cache. Applying creates.
		keep          = []string{"get", "list", "watch", "create", "patch"}
		keepAndDelete = []string{"get", "list", "watch", "create", "patch", "delete"}
	)
	all := []permission{
		{where: inServed, group: group, resource: "brokers", verbs: append(read, "patch"), why: "reconcile them, without an earlier operator's finalizer"},
		{where: inServed, group: group, resource: "meshsyncs", verbs: append(read, "patch"), why: "reconcile them, without an earlier operator's finalizer"},
		{where: inServed, group: group, resource: "brokers/status", verbs: []string{"patch"}, why: "report"},
		{where: inServed, group: group, resource: "meshsyncs/status", verbs: []string{"patch"}, why: "report"},
		{where: inServed, group: group, resource: "meshsyncs", verbs: []string{"get"}, why: "grant it to an agent, for its own"},
		{where: inServed, group: group, resource: "meshsyncs/status", verbs: []string{"get"}, why: "grant it to an agent, for its own"},
		{where: inServed, group: lease, resource: "leases", verbs: []string{"get", "create", "update", "patch"}, why: "grant it to an agent, for its own"},
		{where: inServed, resource: "configmaps", verbs: keep, why: "nats.conf, watch-lists"},
		{where: inServed, resource: "services", verbs: keep, why: "a Broker's"},
		{where: inServed, resource: "serviceaccounts", verbs: keep, why: "an agent's"},
		{where: inServed, resource: "secrets", verbs: keepAndDelete, why: "tokens, and the copies that agents elsewhere need"},
		{where: inServed, resource: "pods", verbs: read, why: "say why they do not start"},
		{where: inServed, group: apps, resource: "statefulsets", verbs: keep, why: "a Broker's servers"},
		{where: inServed, group: apps, resource: "deployments", verbs: keepAndDelete, why: "agents, and those with the selector of an earlier operator"},
		{where: inServed, group: "policy", resource: "poddisruptionbudgets", verbs: keepAndDelete, why: "a cluster of servers"},
		{where: inServed, group: rbac, resource: "roles", verbs: keep, why: "an agent's"},
		{where: inServed, group: rbac, resource: "rolebindings", verbs: keep, why: "an agent's"},
		{where: inServed, group: "events.k8s.io", resource: "events", verbs: []string{"create", "patch"}, why: "announce", optional: true},

		{where: inOwn, resource: "configmaps", name: firstResources, verbs: []string{"get", "patch"}, why: "first resources", optional: true},
		{where: inOwn, group: group, resource: "brokers", verbs: []string{"create"}, why: "first resources", optional: true},
		{where: inOwn, group: group, resource: "meshsyncs", verbs: []string{"create"}, why: "first resources", optional: true},

		{where: inOwn, resource: "serviceaccounts", name: meshery.GrantorName, verbs: []string{"impersonate"}, why: "write what agents may read"},
		{where: inCluster, group: rbac, resource: "clusterroles", verbs: read, why: "the ceiling, and an agent's"},
		{where: inCluster, group: rbac, resource: "clusterrolebindings", verbs: read, why: "an agent's"},
		{where: inCluster, group: extension, resource: "customresourcedefinitions", name: meshSyncCRDName, verbs: read, why: "own what is cluster-scoped"},
		{where: inCluster, resource: "nodes", verbs: []string{"list"}, why: "addresses of NodePort Brokers", optional: true},
	}
	if o.LeaderElect {
		all = append(all,
			permission{where: inOwn, group: lease, resource: "leases", verbs: []string{"create"}, why: "take turns"},
			permission{where: inOwn, group: lease, resource: "leases", name: meshery.OperatorName, verbs: []string{"get", "update"}, why: "take turns"})
	}
	if isOn(o.SecureMetricsAddr) {
		all = append(all,
			permission{where: inCluster, group: "authentication.k8s.io", resource: "tokenreviews", verbs: []string{"create"}, why: "ask who reads metrics"},
			permission{where: inCluster, group: "authorization.k8s.io", resource: "subjectaccessreviews", verbs: []string{"create"}, why: "ask whether he may"})
	}
	return all
}

// grantorPermissions lists what the operator does as the grantor, whom it impersonates.
func grantorPermissions() []permission {
	const rbac = "rbac.authorization.k8s.io"
	write := []string{"get", "create", "patch", "delete"}
	return []permission{
		{where: inCluster, group: rbac, resource: "clusterroles", verbs: write, why: "an agent's"},
		{where: inCluster, group: rbac, resource: "clusterrolebindings", verbs: write, why: "an agent's"},
	}
}

// namespacesOf are the namespaces in which a permission is needed, "" being all of them and the cluster.
func (o *Options) namespacesOf(p permission) []string {
	switch p.where {
	case inOwn:
		return []string{o.Namespace}
	case inCluster:
		return []string{""}
	default:
		return o.servedNamespaces()
	}
}
