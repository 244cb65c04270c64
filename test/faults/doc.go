// Package faults tries the operator, as the program that users run, on a cluster that misbehaves: an API server that dies, hangs,
// throttles or refuses, a lease that is lost, other writers, a webhook that never answers, a quota, deletions in any order, and
// an installation of the earlier operator.
//
// In goes a control plane without a node: the API server, etcd and the controllers are real, and what a kubelet would report of
// pods is made up. Out comes, for every fault, that the operator is right again by itself, and how many requests it made
// meanwhile: the operator logs each at verbosity 6.
package faults
