package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// loadCommand loads images into the containerd of a running node.
func loadCommand(_ context.Context, args []string) error {
	var files []string
	o, err := parseTarget("load", args, &files)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("usage: cluster load [--name NAME] FILE.tar…")
	}
	socket, err := nodeSocket(o)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := importImage(socket, file); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "loaded %s into cluster %s\n", file, o.Name)
	}
	return nil
}

// nodeSocket is the path of the node's containerd socket from here: through the root folder of its pid 1.
func nodeSocket(o options) (string, error) {
	s, err := folder(o.Dir).load()
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no cluster %s", o.Name)
	}
	if err != nil {
		return "", err
	}
	for _, p := range s.Processes {
		if p.Name == nodeProcess && p.alive() {
			return filepath.Join("/proc", strconv.Itoa(p.PID), "root", containerdSocket), nil
		}
	}
	return "", fmt.Errorf("cluster %s has no node: start it with --node", s.Options.Name)
}

// importImage loads a docker-archive tar into containerd, in the namespace that the kubelet uses.
func importImage(socket, file string) error {
	out, err := exec.Command("ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("import %s: %w: %s", file, err, bytes.TrimSpace(out))
	}
	return nil
}
