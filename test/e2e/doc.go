// Package e2e tries an installation as its users do: manifests/ applied with kubectl to a cluster with a real node, images
// built from this tree, the documentation's commands, the stream, and an uninstallation that leaves nothing.
package e2e
