// Package meshery names what the operator, the agent and Meshery Server must agree on: the API group, the workloads'
// names and labels, and the keys through which the operator configures the agent.
package meshery

// GroupName is the API group of Broker and MeshSync.
const GroupName = "meshery.io"
