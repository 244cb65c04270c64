//go:build !linux

package main

import (
	"context"
	"errors"
	"io"
	"net/netip"
)

var errNotLinux = errors.New("--node needs Linux: containers share its kernel; a control plane without a node runs here")

// node does not exist here.
type node struct{}

func ensureNodePossible(context.Context, io.Writer) error { return errNotLinux }

func nodeInitCommand(context.Context, []string) error { return errNotLinux }

func (s *supervisor) createNode() (*node, error)        { return nil, errNotLinux }
func (n *node) endpoint() (string, netip.Prefix)        { return "", netip.Prefix{} }
func (n *node) launch(endpoints, *authority) error      { return errNotLinux }
func (n *node) ready(context.Context, *apiClient) error { return errNotLinux }
func (n *node) describe(*info)                          {}
func removeNodeTraces(folder, *state) error             { return nil }
