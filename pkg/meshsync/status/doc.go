// Package status writes into the MeshSync what its agent watches.
//
// What flows in: the truth, asked for once a second. What flows out: status.discovery, status.resources and the conditions
// WatchListValid and Discovered, by server-side apply as field manager FieldManager, which owns nothing else.
//
//	status.go  when to write, and writing
//	owner.go   the reference by which what the agent makes goes with the MeshSync
//	worst.go   which kinds are named: pure
//	ignore.go  which changes of the MeshSync are the writer's own
//
// Guarantees:
//   - At most one write per writeInterval, whatever changes. Numbers of objects alone are brought up to date once per countInterval.
//   - Bounded: maxKinds kinds, the worst first, with bounded messages.
//   - What is there already, by a predecessor or by another agent of the same MeshSync, is not written again. It is looked at every
//     lookAgainInterval, so that it is there again if somebody took it away.
//   - A write that fails is tried again, ever more rarely. Nothing waits for it.
package status
