// Package lead lets one agent of a MeshSync publish at a time: the one that holds the MeshSync's Lease.
//
// What flows in: the Lease, as the API server has it. What flows out: terms of leading, one after another.
//
//	lead.go    wait for a term, begin and end it
//	term.go    how long one lasts
//	lease.go   what becomes of the Lease; making and releasing it
//
// Guarantees: an agent that loses its term stands by for the next one and never ends for it; a term is over for its agent before another
// agent can begin one, as far as clocks run at the same speed and a program can tell (Term.Valid); the Lease stays held until the context
// of Run ends, so that the caller decides when nothing is left to be done, and is released then.
package lead
