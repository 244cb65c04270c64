//go:build !linux

package main

import (
	"context"
	"net/netip"
)

// node does not exist here.
type node struct{}

func nodeInitCommand(context.Context, []string) error { return errNotLinux }

func (s *supervisor) createNode() (*node, error)        { return nil, errNotLinux }
func (n *node) endpoint() (string, netip.Prefix)        { return "", netip.Prefix{} }
func (n *node) launch(endpoints, *authority) error      { return errNotLinux }
func (n *node) ready(context.Context, *apiClient) error { return errNotLinux }
func (n *node) describe(*info)                          {}
func removeNodeTraces(folder, *state) error             { return nil }
