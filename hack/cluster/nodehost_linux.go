package main

import (
	"context"
	"errors"
	"io"
	"os"
)

// ensureNodePossible checks what a node needs of the machine, and installs what can be installed.
func ensureNodePossible(ctx context.Context, progress io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("--node needs root, for namespaces and containers; without it a control plane needs no privileges")
	}
	return ensurePackages(ctx, progress)
}
