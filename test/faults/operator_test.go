package faults

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"meshery.io/operator/pkg/apis/meshery"
)

// operator is a running operator.
type operator struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu    sync.Mutex
	rest  []byte // a line that is not complete
	lines []logLine
}

// logLine is one of the operator's log.
type logLine struct {
	at   time.Time
	text string
}

// request is one that the operator made, as its log tells.
type request struct {
	at                time.Time
	verb, url, status string // status is empty when there was no answer
}

// startOperator runs the operator for a namespace, as its ServiceAccount, until the test ends.
func (p *plane) startOperator(t *testing.T, namespace string, args ...string) *operator {
	t.Helper()
	return start(t, append([]string{
		"--kubeconfig", p.accountKubeconfig(t, namespace), "--namespace", namespace, "--enable-leader-election",
		"--metrics-addr=0", "--health-probe-bind-address=0", "-v=6",
	}, args...))
}

// again starts an operator that ended once more, as a kubelet does.
func (o *operator) again(t *testing.T) *operator {
	t.Helper()
	return start(t, o.cmd.Args[1:])
}

func start(t *testing.T, args []string) *operator {
	t.Helper()
	o := &operator{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	o.cmd.Stderr = o
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = o.cmd.Wait()
		close(o.ended)
	}()
	t.Cleanup(func() {
		_ = o.cmd.Process.Kill()
		<-o.ended
		if t.Failed() {
			t.Logf("the end of the operator's log:\n%s", o.tail(40))
		}
	})
	return o
}

func (p *plane) accountKubeconfig(t *testing.T, namespace string) string {
	t.Helper()
	token, err := p.kube.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), meshery.OperatorName, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := api.NewConfig()
	config.Clusters["local"] = &api.Cluster{Server: p.Server, CertificateAuthority: p.CA}
	config.AuthInfos["operator"] = &api.AuthInfo{Token: token.Status.Token}
	config.Contexts["local"] = &api.Context{Cluster: "local", AuthInfo: "operator"}
	config.CurrentContext = "local"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Write takes the operator's log.
func (o *operator) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, text...)
	for {
		before, after, found := bytes.Cut(o.rest, []byte("\n"))
		if !found {
			return len(text), nil
		}
		o.lines = append(o.lines, logLine{time.Now(), string(before)})
		o.rest = bytes.Clone(after)
	}
}

// since are the lines of the log from a time on.
func (o *operator) since(from time.Time) []logLine {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, line := range o.lines {
		if !line.at.Before(from) {
			return slices.Clone(o.lines[i:])
		}
	}
	return nil
}

var responseLine = regexp.MustCompile(`"Response" .*?verb="(\w+)" url="([^"]*)" status="([^"]*)"`)

// requests are what the operator asked of the API server from a time on and got an answer to, or gave up.
func (o *operator) requests(from time.Time) []request {
	var found []request
	for _, line := range o.since(from) {
		if m := responseLine.FindStringSubmatch(line.text); m != nil {
			found = append(found, request{line.at, m[1], m[2], m[3]})
		}
	}
	return found
}

// lease tells the requests that keep the operator in the lead.
func (r request) lease() bool { return strings.Contains(r.url, "/leases/") }

func (r request) write() bool { return r.verb != "GET" && !r.lease() }

func count(requests []request, which func(request) bool) int {
	n := 0
	for _, r := range requests {
		if which(r) {
			n++
		}
	}
	return n
}

// errorLines are what the operator complains of, from a time on.
func (o *operator) errorLines(from time.Time) []string {
	var found []string
	for _, line := range o.since(from) {
		if strings.HasPrefix(line.text, "E") {
			found = append(found, line.text)
		}
	}
	return found
}

// tail is the end of the log without the requests.
func (o *operator) tail(n int) string {
	var texts []string
	for _, line := range o.since(time.Time{}) {
		if !responseLine.MatchString(line.text) {
			texts = append(texts, line.text)
		}
	}
	return strings.Join(texts[max(0, len(texts)-n):], "\n")
}

// running fails the test if the operator ended.
func (o *operator) running(t *testing.T) {
	t.Helper()
	select {
	case <-o.ended:
		t.Fatalf("the operator ended: %s\n%s", o.cmd.ProcessState, o.tail(20))
	default:
	}
}

// awaitEnd waits until the operator ends by itself and returns its last words.
func (o *operator) awaitEnd(t *testing.T, within time.Duration) string {
	t.Helper()
	select {
	case <-o.ended:
	case <-time.After(within):
		t.Fatalf("the operator does not end\n%s", o.tail(20))
	}
	if code := o.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("the operator ended with %s, want exit status 1", o.cmd.ProcessState)
	}
	return o.tail(1)
}

// stop ends the operator as a kubelet does, and waits.
func (o *operator) stop(t *testing.T) {
	t.Helper()
	if err := o.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-o.ended
	if !o.cmd.ProcessState.Success() {
		t.Errorf("the operator ended with %s\n%s", o.cmd.ProcessState, o.tail(20))
	}
}

// kill ends the operator at once.
func (o *operator) kill(t *testing.T) {
	t.Helper()
	if err := o.cmd.Process.Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	<-o.ended
}
