// Package consumer is a strict consumer of what the agent publishes: it stands in for Meshery Server in tests.
//
// What flows in: messages on meshery.meshsync.core and replies to informer-store. What flows out: every message in the order of
// its arrival, and the last state of every object under the ID that Meshery Server would store it under.
//
// It shares no code with the agent. Unknown members, members under another spelling, missing ones and wrong types are errors,
// also where encoding/json or Meshery Server would look the other way, because what they tolerate they lose in silence.
package consumer
