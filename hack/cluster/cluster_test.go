package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the tool as well, so that what runs in the tests is under the race detector too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestAControlPlaneGoesUpAndDown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	t.Cleanup(func() { _ = takeDown(folder(dir)) }) // the test does; this is for when it does not get there
	kubeconfig := tool(t, "up", "--dir", dir)
	if info, err := os.Stat(kubeconfig); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: got %v, %v, want a file of the owner's own", info, err)
	}
	if again := tool(t, "up", "--dir", dir); again != kubeconfig {
		t.Errorf("second up: got %q, want %q", again, kubeconfig)
	}

	s := mustLoad(t, dir)
	api, err := newAPIClient(folder(dir), s.Ready.Server)
	if err != nil {
		t.Fatal(err)
	}
	if err := processNamed(t, s, partAPIServer).kill(); err != nil {
		t.Fatal(err)
	}
	if err := poll(30*time.Second, func() error { return api.get(t.Context(), "/readyz", nil) }); err != nil {
		t.Errorf("the API server was not started again: %v", err)
	}

	tool(t, "down", "--dir", dir)
	checkGone(t, s)
	tool(t, "down", "--dir", dir) // nothing to do
}

func TestDownAfterTheSupervisorWasKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends the components with their supervisor")
	}
	dir := filepath.Join(t.TempDir(), "cluster")
	tool(t, "up", "--dir", dir)
	s := mustLoad(t, dir)
	if err := s.Supervisor.kill(); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Processes {
		if err := p.waitGone(5 * time.Second); err != nil {
			t.Error(err)
		}
	}
	tool(t, "down", "--dir", dir)
	checkGone(t, s)
}

func TestANodeRunsPods(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("NOT TESTED: a node needs Linux and root")
	}
	cluster, stop := runTool(t, "--node", "--name", "test", "--dir", filepath.Join(t.TempDir(), "cluster"))
	tool(t, "load", "--dir", cluster.Dir, packPeer(t))
	kubectl := kubectlFor(t, cluster)

	kubectl.must(t, "apply", "-f", "testdata/pods.yaml")
	kubectl.must(t, "rollout", "status", "deployment/web", "--timeout=60s")
	kubectl.must(t, "rollout", "status", "statefulset/peers", "--timeout=60s")

	const served = "as user 65532"
	for _, test := range []struct {
		what, want string
		args       []string
	}{
		{"a Service by name", served, []string{"exec", "deployment/web", "--", "/peer", "get", "http://web.default.svc.cluster.local"}},
		{"a Service from its own pods", served, []string{"exec", "deployment/web", "--", "/peer", "get", "http://outside"}},
		{"a pod of a headless Service", "peers-1 " + served, []string{"exec", "deployment/web", "--", "/peer", "get", "http://peers-1.peers:8080"}},
		{"the API server from a pod", `"gitVersion": "v1.`, []string{"exec", "peers-0", "--", "/peer", "get", "https://kubernetes.default.svc/version"}},
		{"logs", "peer serves on peers-0", []string{"logs", "peers-0"}},
		{"a balancer that nobody is", `{"loadBalancer":{}}`, []string{"get", "service", "outside", "-o", "jsonpath={.status}"}},
		{"the node's figures", `"nodeName": "test"`, []string{"get", "--raw", "/api/v1/nodes/test/proxy/stats/summary"}},
	} {
		// A pod is ready a moment before kube-proxy sends anything its way.
		err := poll(10*time.Second, func() error { return kubectl.prints(test.want, test.args...) })
		if err != nil {
			t.Errorf("%s: %v", test.what, err)
		}
	}
	for what, url := range map[string]string{
		"NodePort":  "http://" + cluster.NodeIP + ":" + kubectl.must(t, "get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}"),
		"ClusterIP": "http://" + kubectl.must(t, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"),
	} {
		if got := fetch(t, url); !strings.Contains(got, served) {
			t.Errorf("%s from the host: got %q", what, got)
		}
	}
	portForward(t, kubectl, "statefulset/peers", "8080")
	kubectl.must(t, "rollout", "restart", "statefulset/peers")
	kubectl.must(t, "rollout", "status", "statefulset/peers", "--timeout=60s")
	kubectl.must(t, "delete", "deployment", "web", "--cascade=foreground", "--timeout=60s")

	s := mustLoad(t, cluster.Dir)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	checkGone(t, s)
	checkHostClean(t, s)
}

func TestDownAfterTheNodeWasKilled(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("NOT TESTED: a node needs Linux and root")
	}
	dir := filepath.Join(t.TempDir(), "cluster")
	t.Cleanup(func() { _ = takeDown(folder(dir)) })
	tool(t, "up", "--node", "--name", "test", "--dir", dir)
	s := mustLoad(t, dir)
	for _, p := range []process{s.Supervisor, processNamed(t, s, nodeProcess)} {
		if err := p.kill(); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "down", "--dir", dir)
	checkGone(t, s)
	checkHostClean(t, s)
}

// tool runs a command of the tool and returns what it prints.
func tool(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cluster %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// runTool starts `cluster run` and returns when it is ready. It also stops at the end of the test.
func runTool(t *testing.T, args ...string) (*info, func() error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"run"}, args...)...)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	stop := func() error {
		stdin.Close()
		err := <-ended
		ended <- err // for the next
		return err
	}
	t.Cleanup(func() { _ = stop() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	go func() { ended <- cmd.Wait() }()
	if err != nil {
		t.Fatal("it did not become ready")
	}
	cluster := new(info)
	if err := json.Unmarshal(line, cluster); err != nil {
		t.Fatal(err)
	}
	return cluster, stop
}

// packPeer builds the program of the test's pods and packs it into an image.
func packPeer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	binary, archive := filepath.Join(dir, "peer"), filepath.Join(dir, "peer.tar")
	b := builder{root: ".", progress: io.Discard}
	if err := b.goCommand(t.Context(), "go", ".", "build", "-o", binary, "./testdata/peer"); err != nil {
		t.Fatal(err)
	}
	err := b.goCommand(t.Context(), "go", "../image", "run", ".",
		"-o", archive, "-name", "docker.io/example/peer:dev", "-entrypoint", "/peer", binary+"=/peer")
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// kubectl is the program, with the kubeconfig of one cluster.
type kubectl struct{ path, kubeconfig string }

func kubectlFor(t *testing.T, cluster *info) kubectl {
	t.Helper()
	return kubectl{path: tool(t, "path", partKubectl), kubeconfig: cluster.Kubeconfig}
}

func (k kubectl) command(args ...string) *exec.Cmd {
	return exec.Command(k.path, append([]string{"--kubeconfig", k.kubeconfig}, args...)...)
}

// must runs it and returns what it prints.
func (k kubectl) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := k.command(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// prints runs it and is nil if that succeeds and prints want.
func (k kubectl) prints(want string, args ...string) error {
	out, err := k.command(args...).CombinedOutput()
	if err == nil && !strings.Contains(string(out), want) {
		err = fmt.Errorf("want %q", want)
	}
	if err != nil {
		return fmt.Errorf("kubectl %s: %w, got %q", strings.Join(args, " "), err, out)
	}
	return nil
}

func portForward(t *testing.T, k kubectl, target, port string) {
	t.Helper()
	cmd := k.command("port-forward", target, ":"+port)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }() // killed: its status means nothing
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	if got := fetch(t, "http://"+address); !strings.Contains(got, "as user 65532") {
		t.Errorf("port-forward: got %q", got)
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func mustLoad(t *testing.T, dir string) *state {
	t.Helper()
	s, err := folder(dir).load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func processNamed(t *testing.T, s *state, name string) process {
	t.Helper()
	for _, p := range s.Processes {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no %s among %v", name, s.Processes)
	return process{}
}

// checkGone checks that nothing of a cluster is left but what a node puts on its host.
func checkGone(t *testing.T, s *state) {
	t.Helper()
	if _, err := os.Stat(s.Options.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there", s.Options.Dir)
	}
	for _, p := range append(s.Processes, s.Supervisor) {
		if p.alive() {
			t.Errorf("%s (process %d) still runs", p.Name, p.PID)
		}
	}
}

// checkHostClean looks for everything that a node puts on its host.
func checkHostClean(t *testing.T, s *state) {
	t.Helper()
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil {
		t.Fatal(err)
	}
	taken, err := parseRoutes(string(routes))
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range taken {
		if route.Overlaps(s.Subnet.all()) {
			t.Errorf("route %s is still there", route)
		}
	}
	if _, err := os.Stat("/sys/class/net/" + s.Subnet.link()); err == nil {
		t.Errorf("interface %s is still there", s.Subnet.link())
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/" + s.Subnet.cgroup())
	if err != nil {
		t.Fatal(err)
	}
	perController, err := filepath.Glob("/sys/fs/cgroup/*/" + s.Subnet.cgroup())
	if err != nil {
		t.Fatal(err)
	}
	if left := append(groups, perController...); len(left) > 0 {
		t.Errorf("cgroups %v are still there", left)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), s.Options.Dir) {
		t.Errorf("mounts of %s are still there", s.Options.Dir)
	}
}
