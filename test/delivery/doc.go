// Package delivery proves what docs/reliability.md promises: whatever fails, in the end consumers know exactly what the API server
// has.
//
//	API server ─► link ─► agent ─► link ─► nats-server ─► subscriber, snapshot
//	    ▲                                                       │
//	  churn                       verdict ◄─────────────────────┘
//
//	kinds_test.go       the 20 kinds of objects
//	cluster_test.go     the API server: writes, the truth, compaction, permissions
//	churn_test.go       makes, changes and deletes objects all the time
//	agent_test.go       the agent, a process of its own
//	link_test.go        a network that misbehaves
//	subscriber_test.go  who listens on the core subject
//	snapshot_test.go    who reads the state stream
//	verdict_test.go     what they know, against what there is
//	scene_test.go       all of these together
//	faults_test.go      what can go wrong
//	rounds_test.go      several faults by chance, round by round
//	soak_test.go        load for long
//	*_test.go           a test for each promise that chance does not prove
//
// The parts know nothing of each other but what the scene ties: churn does not know that there is an agent, nor the subscriber which
// faults there were.
package delivery
