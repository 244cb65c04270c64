// Package operator keeps the cluster as Broker and MeshSync resources describe it.
//
//	Broker   ─► sync ─► Secrets, ConfigMap, Services, StatefulSet, PDB              ─► Broker.status
//	                         │ a Broker's event enqueues the MeshSyncs that name it
//	MeshSync ─► sync ─► ServiceAccount, RBAC, watch-list ConfigMap, Deployment      ─► MeshSync.status
//
// # Who watches what
//
// Each controller watches its custom resource and, label-selected, the objects that it made; any event of either enqueues the
// custom resource's name. The MeshSync controller also watches Brokers. Of Secrets that a user made only the versions are watched;
// they are read when they are needed. Nodes are listed for Brokers of type NodePort only, and not watched.
//
// # How a sync works
//
// A sync reads caches, decides in pure functions (*_objects.go, *_status.go), applies server-side what differs, and writes
// the status once if it changed. A second sync of an unchanged resource writes nothing. An object of a wanted name that
// somebody else controls is never touched: the Ready condition names its owner.
//
// # Before it starts
//
// The operator looks whether its CRDs are served and whether it may do what it does (preflight.go, permissions.go). While something
// is missing it says what, in its log and on /readyz, and waits.
//
// # Who may write
//
// With leader election one operator of a namespace works and the others stand by (election.go). The lease is released after the
// last write.
//
// # Retries
//
// The worker loop alone decides (worker.go). A failed sync is retried with an exponential back-off per resource; a write
// conflict likewise, silently. What only a person can mend (an object that belongs to somebody else) is looked at again
// every half minute.
//
// # Rights of agents
//
// Each agent has a ClusterRole of its own with what its watch-list names, written as a ServiceAccount that holds the installer's
// ceiling (meshsync_access.go, meshsync_cluster.go): the API server lets nobody grant more than he holds. It is written before the
// agent is handed the list. A list that means what the API server serves is compared with that now and then (served_kinds.go).
// Somebody else's account is given nothing.
//
// # Deletion
//
// There are no finalizers. Namespaced objects go with the custom resource that owns them. The cluster-scoped ones, the ClusterRole of
// an agent and its binding, are deleted when their MeshSync is gone, also when that happened while no operator ran, and they are owned
// by the CRD, so that they go with the installation even if the operator went first.
package operator
