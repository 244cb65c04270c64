// Package watchlist reads the list that says which kinds of objects the agent watches.
//
// What flows in: the data of a ConfigMap (or of spec.watch-list of a MeshSync), two keys with a JSON array in a string:
//
//	whitelist: [{"Resource":"pods.v1.","Events":["ADDED","DELETED"]}, {"Resource":"deployments.v1.apps"}]
//	blacklist: ["secrets.v1."]
//
// What flows out: a List, and a Problem for everything in the data that could not be used.
//
// A resource is <plural>.<version>.<group>; the core group is empty, so its resources end with a dot. An entry may also be the
// resource alone, as a string. Events absent or empty means all three. The same resource twice: the events are united.
//
//	whitelist  blacklist  what is watched
//	-          -          Default
//	set        -          what the whitelist names
//	set        set        what the whitelist names, less what the blacklist names
//	-          set        everything the API server serves that can be listed and watched, less what the blacklist names, less
//	                      the kinds that change all the time and say little: events (both groups) and leases
//
// A key that is absent, "" or [] is not set. The whitelist speaks of a version; the blacklist removes a kind in every version,
// because an object is the same object in all of them.
//
// Guarantees: pure; one bad entry never mutes the others; a list that cannot be read is an error and never a wider watch.
package watchlist
