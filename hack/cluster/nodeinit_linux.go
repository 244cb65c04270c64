package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// nodeInitCommand is pid 1 of a node. It arranges its namespaces, starts what runs on a node and reaps orphans. It never returns
// unless something fails; when it ends, the kernel ends everything on the node.
func nodeInitCommand(_ context.Context, args []string) error {
	if len(args) != 0 || os.Getpid() != 1 {
		return errors.New("for internal use: see `cluster up --node`")
	}
	var spec nodeSpec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil { // blocks until the host has laid the cable
		return fmt.Errorf("read what to be: %w", err)
	}
	for _, step := range []func(nodeSpec) error{arrangeMounts, arrangeNetwork} {
		if err := step(spec); err != nil {
			return err
		}
	}
	if err := syscall.Sethostname([]byte(spec.Name)); err != nil {
		return err
	}
	return runNode(spec)
}

// arrangeMounts gives the node its own view of the file system: nothing it does there reaches the host, except inside the
// cluster's folder.
func arrangeMounts(spec nodeSpec) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := coverState(spec); err != nil {
		return err
	}
	if err := arrangeProc(); err != nil {
		return err
	}
	// Shared among the node's own processes only: containers with mount propagation need that.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts inside: %w", err)
	}
	return nil
}

// coverState puts folders of the cluster over those where containerd, the kubelet and CNI plugins keep state, so that they run with
// their ordinary paths. What the node needs from below a covered folder (a home may be in /var/lib) is brought back.
func coverState(spec nodeSpec) error {
	var needed []string
	for _, path := range []string{string(spec.Dir), filepath.Dir(spec.Parts[partKubelet]), filepath.Dir(spec.Parts[partCoreDNS]), filepath.Dir(spec.Parts[partPause])} {
		if under(path, "/run") || under(path, "/var/lib") || under(path, "/var/log") {
			needed = append(needed, path)
		}
	}
	kept := make(map[string]*os.File, len(needed))
	for _, path := range needed {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		kept[path] = file
	}
	for target, name := range map[string]string{"/var/lib": "lib", "/var/log": "log"} {
		source := spec.Dir.path("node", name)
		if err := os.MkdirAll(source, 0o755); err != nil {
			return err
		}
		if err := bind(source, target); err != nil {
			return err
		}
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for path, file := range kept {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		if err := bind(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), path); err != nil {
			return err
		}
	}
	return nil
}

func under(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }

func bind(source, target string) error {
	if err := syscall.Mount(source, target, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

// arrangeProc mounts the /proc of the new PID namespace, with the host's sysctls out of reach: only those of the network are the
// node's own. The kubelet insists on some of the host's, so it is shown the values it wants.
func arrangeProc() error {
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	const remount = syscall.MS_BIND | syscall.MS_REMOUNT
	for _, mount := range []struct {
		path  string
		flags uintptr
	}{{"/proc/sys", syscall.MS_RDONLY}, {"/proc/sys/net", 0}} {
		if err := bind(mount.path, mount.path); err != nil {
			return err
		}
		if err := syscall.Mount("", mount.path, "", remount|mount.flags, ""); err != nil {
			return fmt.Errorf("remount %s: %w", mount.path, err)
		}
	}
	for name, value := range map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	} {
		shown := filepath.Join("/run/sysctl", name)
		if err := os.MkdirAll(filepath.Dir(shown), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(shown, []byte(value+"\n"), 0o444); err != nil {
			return err
		}
		if err := bind(shown, filepath.Join("/proc/sys", name)); err != nil {
			return err
		}
	}
	return nil
}

// arrangeNetwork gives the node its end of the cable. There is no default route: the host does not forward, so packets for the rest
// of the world are refused here and now instead of being lost there.
func arrangeNetwork(spec nodeSpec) error {
	node := spec.Subnet.node().String()
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"address", "add", node + "/30", "dev", "eth0"},
		{"link", "set", "eth0", "up"},
		// Services have no interface: kube-proxy rewrites their addresses, but only of packets that found a route.
		{"route", "add", spec.Subnet.services().String(), "dev", "lo", "src", node},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

// runNode starts the node's programs and stays. Any of them ending ends the node.
func runNode(spec nodeSpec) error {
	running := make(map[int]*child)
	run := func(name, path string, args ...string) error {
		started, err := startOnNode(command{name: name, path: path, args: args, log: spec.Dir.log(name)})
		if err == nil {
			running[started.PID] = started
		}
		return err
	}
	containerd, err := exec.LookPath("containerd")
	if err != nil {
		return err
	}
	if err := run("containerd", containerd, "--config", spec.Dir.path("node", "containerd.toml"), "--log-level", "warn"); err != nil {
		return err
	}
	if err := awaitSocket(containerdSocket); err != nil {
		return fmt.Errorf("containerd does not answer: %w%s", err, logTail(spec.Dir.log("containerd")))
	}
	if err := importImage(containerdSocket, spec.Parts[partPause]); err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		args []string
	}{
		{partKubelet, []string{
			"--config=" + spec.Dir.path("node", "kubelet.json"),
			"--kubeconfig=" + spec.Dir.kubeconfig(partKubelet),
			"--hostname-override=" + spec.Name,
			"--node-ip=" + spec.Subnet.node().String(),
		}},
		{partProxy, []string{"--config=" + spec.Dir.path("node", "kube-proxy.json")}},
		{partCoreDNS, []string{"-conf", spec.Dir.path("node", "Corefile")}},
	} {
		if err := run(c.name, spec.Parts[c.name], c.args...); err != nil {
			return err
		}
	}
	return reap(running)
}

// startOnNode starts a program whose end is noticed by reap. It cannot use exec.Cmd, which would wait for it as well.
func startOnNode(c command) (*child, error) {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	started, err := os.StartProcess(c.path, append([]string{c.name}, c.args...), &os.ProcAttr{
		Files: []*os.File{null, log, log},
		Env:   os.Environ(),
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	return &child{process: process{Name: c.name, PID: started.Pid}, log: c.log}, nil
}

// reap waits for whatever ends: our programs, and the orphans that every pid 1 inherits (containerd's shims among them).
func reap(running map[int]*child) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the node's programs: %w", err)
		}
		if c := running[pid]; c != nil {
			c.err = fmt.Errorf("exit status %d", status.ExitStatus())
			if status.Signaled() {
				c.err = fmt.Errorf("signal %s", status.Signal())
			}
			return c.ended()
		}
	}
}

func awaitSocket(path string) error {
	return poll(30*time.Second, func() error {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
