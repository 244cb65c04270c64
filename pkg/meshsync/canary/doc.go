// Package canary tells how long a change takes to arrive, by a change of its own.
//
// What flows in: a tick, or somebody who wants to know now. What flows out: a change of one ConfigMap in the MeshSync's namespace, one
// message on a subject of its own, and how long each stage took.
//
//	canary.go   when to try, and what is said about it
//	flight.go   one try, stage by stage
//	metrics.go  what is counted
//
// Guarantees: only the agent that leads writes, once a minute; nothing of it is about a real object, on a subject that anybody else listens
// to, or left when the MeshSync is deleted. It is logged when changes cease to arrive and when they do again, not each time.
package canary
