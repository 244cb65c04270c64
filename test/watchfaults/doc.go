// Package watchfaults tries the agent on an API server that misbehaves, or is out of reach.
//
// In goes a real API server, and before it a proxy that answers 410 and 429, breaks streams and connections at the worst places,
// delays answers, passes nothing on, and asks for another certificate or token. Objects are made, changed and deleted all the
// while. Out comes, for every fault, that what a strict consumer knows is in the end exactly what is there, what the agent said of
// itself meanwhile, and how many requests it made. The agent runs inside the test, so that every goroutine can be accounted for.
package watchfaults
