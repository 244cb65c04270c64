// Package controlplane starts a real Kubernetes API server, etcd and controller manager for the tests of one package, through
// the tool in hack/cluster. Start it in TestMain; Stop removes everything. The first start on a machine builds Kubernetes from
// source (some minutes), later ones take seconds.
package controlplane

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// stopPatience is how long the tool may take to remove a cluster; a control plane takes milliseconds, a node a second or two.
const stopPatience = 30 * time.Second

// Options choose what to start. The zero value is a control plane without a node, which needs no privileges.
type Options struct {
	Node  bool // with a node that runs containers: Linux and root only
	Audit bool // log every request to ControlPlane.AuditLog

	// APIServerArgs are further flags of kube-apiserver, as name=value.
	APIServerArgs []string

	// Progress receives what the tool tells while it builds and starts; nil means os.Stderr, because a first start takes minutes.
	Progress io.Writer
}

// ControlPlane is a running cluster.
type ControlPlane struct {
	Kubeconfig  string `json:"kubeconfig"` // path; an administrator's
	Server      string `json:"server"`     // URL of the API server
	CA          string `json:"ca"`         // path of the certificate that signed the API server's
	Etcd        string `json:"etcd"`       // URL of etcd
	Dir         string `json:"dir"`        // everything of this cluster
	Logs        string `json:"logs"`       // folder with a file per component
	AuditLog    string `json:"auditLog"`   // path; one JSON object per line
	ServiceCIDR string `json:"serviceCIDR"`

	NodeName   string `json:"nodeName"`
	NodeIP     string `json:"nodeIP"` // NodePorts answer here
	HostIP     string `json:"hostIP"` // how pods reach this machine
	PodCIDR    string `json:"podCIDR"`
	ClusterDNS string `json:"clusterDNS"`

	tool   string
	stdin  io.Closer
	stderr *tail
	ended  <-chan error
	temp   string
	stop   func() error
}

// Start starts a cluster and returns when it is ready. Cancelling ctx before that gives up; afterwards it has no effect: call
// Stop. A test binary that dies without calling it leaves nothing running either.
func Start(ctx context.Context, o Options) (_ *ControlPlane, err error) {
	temp, err := os.MkdirTemp("", "controlplane-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(temp)
		}
	}()
	tool, err := buildTool(ctx, temp)
	if err != nil {
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = os.Stderr
	}
	c := &ControlPlane{tool: tool, temp: temp, stderr: &tail{}}
	cmd := exec.Command(tool, o.args(filepath.Join(temp, "cluster"))...)
	cmd.Stderr = io.MultiWriter(o.Progress, c.stderr)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.stdin = stdin
	ready, ended := make(chan []byte, 1), make(chan error, 1)
	c.ended = ended
	go func() { // reads to the end before Wait closes the pipe
		line, _ := bufio.NewReader(stdout).ReadBytes('\n') // no line: the exit status says why
		ready <- line
		ended <- cmd.Wait()
	}()
	c.stop = sync.OnceValue(c.stopOnce)

	select {
	case line := <-ready:
		if err := json.Unmarshal(line, c); err != nil {
			return nil, c.failed(<-ended)
		}
		return c, nil
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), c.Stop())
	}
}

// Stop removes the cluster and waits until it is gone. Further calls return the same.
func (c *ControlPlane) Stop() error { return c.stop() }

func (c *ControlPlane) stopOnce() error {
	c.stdin.Close()
	select {
	case err := <-c.ended:
		if err != nil {
			return c.failed(err)
		}
		return os.RemoveAll(c.temp)
	case <-time.After(stopPatience):
		return fmt.Errorf("cluster in %s does not stop:\n%s", c.Dir, c.stderr)
	}
}

func (c *ControlPlane) failed(err error) error {
	return fmt.Errorf("cluster tool: %w\n%s", err, c.stderr)
}

// Load side-loads docker-archive image tars into the node.
func (c *ControlPlane) Load(ctx context.Context, files ...string) error {
	args := append([]string{"load", "--dir", c.Dir}, files...)
	if out, err := exec.CommandContext(ctx, c.tool, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("load images: %w\n%s", err, out)
	}
	return nil
}

// Binary returns the path of a program of the pinned version, such as kubectl or nats-server, building it if this machine has
// not done so before.
func Binary(ctx context.Context, part string) (string, error) {
	temp, err := os.MkdirTemp("", "controlplane-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	tool, err := buildTool(ctx, temp)
	if err != nil {
		return "", err
	}
	var stderr tail
	cmd := exec.CommandContext(ctx, tool, "path", part)
	cmd.Stderr = io.MultiWriter(os.Stderr, &stderr)
	path, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", part, err, &stderr)
	}
	return strings.TrimSpace(string(path)), nil
}

func (o Options) args(dir string) []string {
	args := []string{"run", "--dir", dir}
	if o.Node {
		args = append(args, "--node")
	}
	if o.Audit {
		args = append(args, "--audit")
	}
	for _, arg := range o.APIServerArgs {
		args = append(args, "--apiserver-arg", arg)
	}
	return args
}

// buildTool compiles hack/cluster, which is a Go module of its own, for this machine.
func buildTool(ctx context.Context, dir string) (string, error) {
	source, err := toolSource()
	if err != nil {
		return "", err
	}
	tool := filepath.Join(dir, "cluster-tool")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", tool, ".")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hack/cluster: %w\n%s", err, out)
	}
	return tool, nil
}

// toolSource finds hack/cluster above the working directory, which for a test is the folder of its package.
func toolSource() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		source := filepath.Join(dir, "hack", "cluster")
		if _, err := os.Stat(filepath.Join(source, "go.mod")); err == nil {
			return source, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("hack/cluster not found: run the tests inside the repository")
		}
		dir = parent
	}
}

// tail keeps the end of what is written to it, for error messages. It is safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const limit = 8 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - limit; over > 0 {
		t.text = t.text[over:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}
