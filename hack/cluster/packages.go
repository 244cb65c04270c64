package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// ensureNodePossible checks what a node needs of the machine, and installs what can be installed.
func ensureNodePossible(ctx context.Context, progress io.Writer) error {
	switch {
	case runtime.GOOS != "linux":
		return errNotLinux
	case os.Geteuid() != 0:
		return errors.New("--node needs root, for namespaces and containers; a control plane without a node needs no privileges")
	}
	return ensurePackages(ctx, progress)
}

var errNotLinux = errors.New("--node needs Linux, whose kernel containers share; a control plane without a node runs here too")

// requirement is something a node needs from the machine, and the Debian package that has it.
type requirement struct {
	what    string
	missing func() bool
	install string
}

func nodeRequirements() []requirement {
	program := func(name, install string) requirement {
		return requirement{name, func() bool { _, err := exec.LookPath(name); return err != nil }, install}
	}
	return []requirement{
		program("containerd", "containerd"),
		program("ctr", "containerd"),
		program("runc", "runc"),
		program("iptables", "iptables"),
		program("ip", "iproute2"),
		{"CNI plugins", func() bool { _, err := pluginFolder(); return err != nil }, "containernetworking-plugins"},
	}
}

// pluginFolder finds the CNI plugins, where Debian has them or where their own releases go.
func pluginFolder() (string, error) {
	folders := []string{"/usr/lib/cni", "/opt/cni/bin"}
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "ptp")); err == nil {
			return folder, nil
		}
	}
	return "", fmt.Errorf("no CNI plugins in %s", strings.Join(folders, " or "))
}

// ensurePackages installs what is missing with apt-get, or says what it is.
func ensurePackages(ctx context.Context, progress io.Writer) error {
	var missing, packages []string
	for _, r := range nodeRequirements() {
		if r.missing() {
			missing = append(missing, r.what)
			packages = append(packages, r.install)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	packages = slices.Compact(packages)
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("a node needs %s: install them and try again (Debian calls the packages %s)",
			strings.Join(missing, ", "), strings.Join(packages, " "))
	}
	fmt.Fprintf(progress, "installing Debian packages for the node: %s\n", strings.Join(packages, " "))
	return aptInstall(ctx, packages)
}

func aptInstall(ctx context.Context, packages []string) error {
	install := append([]string{"install", "--yes", "--no-install-recommends"}, packages...)
	err := aptGet(ctx, install...)
	if err != nil { // most likely a machine that has no package lists yet, or old ones
		if updateErr := aptGet(ctx, "update"); updateErr != nil {
			return errors.Join(err, updateErr)
		}
		err = aptGet(ctx, install...)
	}
	if err == nil && slices.Contains(packages, "containerd") {
		quietContainerd(ctx)
	}
	return err
}

// quietContainerd stops the service that comes with the package: the node runs a containerd of its own, and the machine had none
// before. Where there is no systemd there is no service either.
func quietContainerd(ctx context.Context) {
	_ = exec.CommandContext(ctx, "systemctl", "disable", "--now", "containerd.service").Run()
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"--quiet", "-o", "DPkg::Lock::Timeout=120"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, lastLines(output.Bytes(), 10))
	}
	return nil
}
