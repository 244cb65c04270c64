package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// node is the host's side of a node: a process in namespaces of its own, and the cable to it.
type node struct {
	spec nodeSpec
	tell *os.File // standard input of its pid 1, which waits for its nodeSpec
}

func (n *node) endpoint() (host string, services netip.Prefix) {
	return n.spec.Subnet.host().String(), n.spec.Subnet.services()
}

// createNode makes the namespaces and joins them to the host. Nothing runs in them yet. This comes before everything else because
// creating the link is what claims the subnet, and the API server needs an address of it.
func (s *supervisor) createNode() (*node, error) {
	cni, err := pluginFolder()
	if err != nil {
		return nil, err
	}
	listen, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer listen.Close()
	started, err := s.startCommand(command{
		name:  nodeProcess,
		path:  "/proc/self/exe", // outlives the file, which `go run` deletes
		args:  []string{nodeInitName},
		log:   s.folder.log(nodeProcess),
		stdin: listen,
		attr: &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		},
	})
	if err != nil {
		tell.Close()
		return nil, err
	}
	chosen, err := s.joinNetwork(started.PID)
	if err != nil {
		tell.Close()
		return nil, err
	}
	spec := nodeSpec{Name: s.options.Name, Dir: s.folder, Subnet: chosen, Parts: s.parts, CNI: cni}
	return &node{spec: spec, tell: tell}, createCgroups(chosen.cgroup())
}

// joinNetwork lays a veth pair between the host and the network namespace of a process, in the first subnet that is free.
func (s *supervisor) joinNetwork(pid int) (subnet, error) {
	taken, err := reachable()
	if err != nil {
		return 0, err
	}
	for _, candidate := range freeSubnets(taken) {
		// Written down first, so that it is removed whatever happens; whether it is ours is told by its alias.
		s.state.Link = candidate.link()
		if err := s.save(); err != nil {
			return 0, err
		}
		err := ip("link", "add", candidate.link(), "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(pid))
		if errors.Is(err, fs.ErrExist) {
			continue // another cluster was quicker
		}
		if err != nil {
			return 0, err
		}
		return candidate, s.configureLink(candidate)
	}
	return 0, fmt.Errorf("no free subnet: the host has routes or addresses in all of 10.%d.0.0/16 to 10.%d.0.0/16", firstSubnet, lastSubnet)
}

func (s *supervisor) configureLink(chosen subnet) error {
	if err := ip("link", "set", chosen.link(), "alias", linkAlias(s.folder)); err != nil {
		return err
	}
	s.state.Subnet = chosen
	if err := s.save(); err != nil {
		return err
	}
	for _, args := range [][]string{
		append([]string{"route", "add"}, chosen.barrier()...),
		{"address", "add", chosen.host().String() + "/30", "dev", chosen.link()},
		{"link", "set", chosen.link(), "up"},
		{"route", "add", chosen.all().String(), "via", chosen.node().String(), "dev", chosen.link()},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return nil
}

// linkAlias marks an interface as that of one cluster. The kernel keeps up to 255 bytes of it.
func linkAlias(f folder) string { return string(f)[max(0, len(f)-200):] }

// launch tells the node what it is, from where on it runs by itself.
func (n *node) launch(e endpoints, ca *authority) error {
	defer n.tell.Close()
	if err := writeNodeFiles(n.spec, e, ca); err != nil {
		return err
	}
	return json.NewEncoder(n.tell).Encode(n.spec)
}

func (n *node) ready(ctx context.Context, api *apiClient) error { return nodeReady(ctx, api, n.spec) }

func (n *node) describe(cluster *info) {
	cluster.NodeName = n.spec.Name
	cluster.NodeIP = n.spec.Subnet.node().String()
	cluster.HostIP = n.spec.Subnet.host().String()
	cluster.PodCIDR = n.spec.Subnet.pods().String()
	cluster.ClusterDNS = cluster.NodeIP
}

// reachable lists what the host has addresses in or routes to.
func reachable() ([]netip.Prefix, error) {
	table, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil, err
	}
	taken, err := parseRoutes(string(table))
	if err != nil {
		return nil, err
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil && prefix.Addr().Is4() {
			taken = append(taken, prefix)
		}
	}
	return taken, nil
}

// ip runs the ip tool. What exists already, or no longer, comes back as fs.ErrExist or fs.ErrNotExist.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	switch {
	case err == nil:
		return nil
	case bytes.Contains(out, []byte("File exists")):
		return fmt.Errorf("ip %s: %w", strings.Join(args, " "), fs.ErrExist)
	case bytes.Contains(out, []byte("No such process")), bytes.Contains(out, []byte("Cannot find device")):
		return fmt.Errorf("ip %s: %w", strings.Join(args, " "), fs.ErrNotExist)
	}
	return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
}

// createCgroups makes the group below which the kubelet keeps its pods, in every hierarchy there is: one on a host with cgroup v2,
// one per controller with v1.
func createCgroups(name string) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	if err := delegateControllers("/sys/fs/cgroup"); err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		if err := os.Mkdir(filepath.Join(hierarchy, name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// delegateControllers lets the groups below the root of cgroup v2 use the controllers that the kubelet insists on. On a host that
// runs services or containers they are on already, and switching one on changes nothing for the others, so it is never undone.
// With cgroup v1 there is nothing to do: the root is no group then.
func delegateControllers(root string) error {
	available, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	control := filepath.Join(root, "cgroup.subtree_control")
	enabled, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	for _, controller := range []string{"cpu", "cpuset", "hugetlb", "memory", "pids"} {
		if !slices.Contains(strings.Fields(string(available)), controller) || slices.Contains(strings.Fields(string(enabled)), controller) {
			continue
		}
		if err := os.WriteFile(control, []byte("+"+controller), 0o644); err != nil {
			return fmt.Errorf("enable cgroup controller %s: %w", controller, err)
		}
	}
	return nil
}

// cgroupHierarchies lists where the host has mounted them.
func cgroupHierarchies() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && (fields[2] == "cgroup" || fields[2] == "cgroup2") {
			found = append(found, fields[1])
		}
	}
	return found, nil
}

// removeNodeTraces removes what a node left on the host after its processes ended: a link, a route and empty cgroups. Mounts,
// addresses, iptables rules and containers went with its namespaces.
func removeNodeTraces(f folder, s *state) error {
	var errs []error
	if s.Link != "" {
		errs = append(errs, removeLink(s.Link, linkAlias(f)))
	}
	if s.Subnet == 0 {
		return errors.Join(errs...)
	}
	err := ip(append([]string{"route", "delete"}, s.Subnet.barrier()...)...)
	if !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	hierarchies, err := cgroupHierarchies()
	errs = append(errs, err)
	for _, hierarchy := range hierarchies {
		errs = append(errs, removeCgroup(filepath.Join(hierarchy, s.Subnet.cgroup())))
	}
	return errors.Join(errs...)
}

// removeLink removes an interface if it carries our mark, or none because we died between the two.
func removeLink(name, alias string) error {
	mark, err := os.ReadFile(filepath.Join("/sys/class/net", name, "ifalias"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if found := strings.TrimSpace(string(mark)); err != nil || (found != "" && found != alias) {
		return err // somebody else's
	}
	err = ip("link", "delete", name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the kernel removes it by itself when the namespace of the other end ends
	}
	return err
}

// removeCgroup removes a group and those below it, deepest first. The kernel takes a moment to notice that the last process of a
// group has gone.
func removeCgroup(dir string) error {
	return poll(5*time.Second, func() error {
		err := removeGroups(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func removeGroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeGroups(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return syscall.Rmdir(dir) // os.Remove would try unlink first, and report its error
}
