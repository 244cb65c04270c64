package delivery

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/test/process"
)

// agent is an agent as a pod runs it: a process that is started anew when it ends.
type agent struct {
	t    *testing.T
	env  []string
	args []string
	log  *os.File

	process *process.Process // nil while there is none
	addr    string           // of its HTTP server
	peak    int64            // the most memory that one took which is gone
	started func()           // called before each start
}

// newAgent prepares an agent for a MeshSync. name is that of its pod.
func newAgent(t *testing.T, name, meshSync, kubeconfig, brokerURL string) *agent {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, log: log, started: func() {}, args: []string{"--kubeconfig", kubeconfig}}
	for flag, value := range map[string]time.Duration{"--compare-interval": compareInterval, "--repeat-window": repeatWindow} {
		if value > 0 {
			a.args = append(a.args, flag, value.String())
		}
	}
	a.env = append(os.Environ(), meshery.EnvBrokerURL+"="+brokerURL, meshery.EnvNamespace+"="+namespaces[0], meshery.EnvName+"="+meshSync, "POD_NAME="+name,
		fmt.Sprint("HTTP2_READ_IDLE_TIMEOUT_SECONDS=", int(idle.Seconds())), fmt.Sprint("HTTP2_PING_TIMEOUT_SECONDS=", int(ping.Seconds())))
	t.Cleanup(func() {
		a.kill()
		_ = log.Close()
		if t.Failed() {
			t.Logf("%s said at last:\n%s", name, a.said())
		}
	})
	return a
}

// What agents are told, once they can be, so that what they do in minutes comes in time: 5 s each; 0 is not to tell.
const (
	compareInterval = 5 * time.Second // between two comparisons of the stream with what is known
	repeatWindow    = 5 * time.Second // before and after a break, of which everything is said once more on the core subject
)

// A connection to the API server that has been silent for a while is asked whether it lives. The defaults are 30 s and 15 s, which
// would make the tests longer and prove nothing more.
const (
	idle = 5 * time.Second
	ping = 8 * time.Second
)

// said is the end of the agent's log.
func (a *agent) said() string {
	const enough = 6 << 10
	text, err := os.ReadFile(a.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-enough):])
}

// start starts the agent, unless it runs.
func (a *agent) start() {
	a.t.Helper()
	if a.process != nil {
		return
	}
	a.started()
	a.addr = freeAddr(a.t)
	var err error
	if a.process, err = process.Start(a.log, a.env, agentProgram, append(a.args, "--http-addr", a.addr)...); err != nil {
		a.t.Fatal(err)
	}
}

// kill ends the agent without warning, as a node does that dies. It must not have ended by itself.
func (a *agent) kill() {
	if a.process == nil {
		return
	}
	a.live()
	a.measure()
	a.process.Kill()
	a.process = nil
}

// stop ends the agent as Kubernetes does.
func (a *agent) stop() {
	a.t.Helper()
	if a.process == nil {
		return
	}
	a.live()
	a.measure()
	a.signal(syscall.SIGTERM)
	select {
	case <-a.process.Ended():
		if err := a.process.Err(); err != nil {
			a.t.Errorf("the agent ended: %v", err)
		}
	case <-time.After(patience):
		a.t.Error("the agent does not end")
	}
	a.process.Kill()
	a.process = nil
}

// pause lets the agent hang, until resume.
func (a *agent) pause()  { a.signal(syscall.SIGSTOP) }
func (a *agent) resume() { a.signal(syscall.SIGCONT) }

func (a *agent) signal(signal syscall.Signal) {
	if a.process == nil {
		return
	}
	if err := a.process.Signal(signal); err != nil {
		a.t.Errorf("signal the agent: %v", err)
	}
}

// live complains if the agent has ended by itself.
func (a *agent) live() {
	a.t.Helper()
	select {
	case <-a.process.Ended():
		a.t.Errorf("the agent ended by itself: %v", a.process.Err())
	default:
	}
}

func (a *agent) measure() {
	if peak, err := a.process.Memory("VmHWM"); err == nil {
		a.peak = max(a.peak, peak)
	}
}

// peakMemory is the most that was resident of any process so far.
func (a *agent) peakMemory() int64 {
	if a.process != nil {
		a.measure()
	}
	return a.peak
}

// ready complains while the agent is not ready.
func (a *agent) ready() error {
	_, err := a.get("/readyz")
	return err
}

// watches complains while the agent does not watch so many kinds.
func (a *agent) watches(kinds int) error {
	n, err := a.metric(`meshery_meshsync_watched_kinds{state="Synced"}`)
	if err == nil && int(n) != kinds {
		err = fmt.Errorf("%.0f kinds are watched, not %d", n, kinds)
	}
	return err
}

func (a *agent) get(path string) (string, error) {
	response, err := probe.Get("http://" + a.addr + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, response.StatusCode, body)
	}
	return string(body), err
}

// probe keeps no connection, which would be a goroutine of the agent's.
var probe = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: requestPatience}

// metric returns the sum of the series that begin so.
func (a *agent) metric(prefix string) (sum float64, err error) {
	body, err := a.get("/metrics")
	for line := range strings.SplitSeq(body, "\n") {
		if strings.HasPrefix(line, prefix) {
			value, _ := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			sum += value
		}
	}
	return sum, err
}

func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
