// Package watchlist says which kinds of objects the agent watches, and how.
//
// What flows in: the data of a ConfigMap (or of spec.watch-list of a MeshSync), and what the API server serves. What flows out:
//
//	data ──Parse──► List ──Resolve(Served)──► Targets   kinds to watch
//	                                          Missing   entries for which there is no kind (yet)
//	                                          Problems  what is not used, or should be written otherwise
//
//	parse.go      data to List
//	list.go       List
//	reference.go  how an entry names a kind
//	served.go     what the API server serves
//	resolve.go    List and Served to Resolution
//	tiers.go      what is listed first, and what wildcards leave out
//
// # Formats
//
// The data has two keys with a JSON array in a string, and one with spec.discovery of the MeshSync as a JSON object:
//
//	whitelist: [{"Resource":"pods.v1.","Events":["ADDED","DELETED"],"namespaces":["a"],"labelSelector":"…","fieldSelector":"…","depth":"inventory"}, "deployments.v1.apps"]
//	blacklist: ["secrets.v1."]
//	discovery: {"namespaces":{"include":[],"exclude":["kube-system"]},"depth":"full","maxTier":3,"onRemoval":"Delete"}
//
// A resource is <plural>.<version>.<group>; the core group is empty, so its resources end with a dot. Understood too, with a note
// that says how it should be written: singular, kind or short name instead of the plural; upper case; no version, or one that is not
// served (the preferred one is taken); no group (the first that has such a kind, core before all others); no last dot; core for the
// core group, unless a group of that name has the kind.
//
// Wildcards are * (all kinds), *. (the core group), *.<group> and *.<version>.<group>. They leave out what changes all the time and
// says little about a cluster: events of both groups, leases and lease candidates; and endpoints where endpointslices of the same
// namespaces and selectors are watched. An entry that names one of these selects it. Group versions that a wildcard means and that do
// not answer are missing, as *.<version>.<group>: nobody knows which kinds they have.
//
// # Order
//
//	whitelist  blacklist  what is watched
//	-          -          Default
//	set        -          what the whitelist names
//	set        set        what the whitelist names, less what the blacklist names
//	-          set        *, less what the blacklist names
//
// A key that is absent, "", [] or null is not set. A kind is watched in one version; the blacklist removes it in every version,
// because an object is the same object in all of them. A name wins over the wildcard of a group or version, and that over *; of
// two wildcards alike the earlier wins. Two entries that name the same kind in the same way are one, with the events of both;
// otherwise the earlier is in force. Discovery goes over all of it: namespaces and tiers are what is left of those of the entries,
// and depth is for entries that have none.
//
// # Tiers
//
// Kinds are listed for the first time tier by tier, so that a consumer has a usable picture first: 1 is the map of the cluster, 2
// workloads and their networking, 3 configuration, storage, RBAC and custom resources.
//
// # Guarantees
//
//   - Pure: the same list and the same kinds give the same resolution.
//   - One bad entry never mutes the others.
//   - Nothing bad in a whitelist widens a watch: a list that cannot be read is an error, an entry whose limits cannot be read is left
//     out and no wildcard selects what it names, and a whitelist of bad entries watches nothing.
//   - An entry of a blacklist that cannot be read, or means nothing that is served, leaves its kind watched, and is among the skipped;
//     of a blacklist that stands alone at least one entry must be readable.
//   - What is said for humans is on one line and bounded, whatever stands in the data.
package watchlist
