package bench

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is one of the two that are compared, built.
type program struct {
	name string
	path string
}

func build(t *testing.T, name, from string) program {
	t.Helper()
	p := program{name, filepath.Join(t.TempDir(), name)}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", p.path, from).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", from, err, out)
	}
	return p
}

// agent is a running process.
type agent struct {
	t              *testing.T
	name           string
	started        time.Time
	http, profiles string
	pid            int
	stop           func()
}

// start starts a program with further arguments and variables of the environment, until the end of the test at the latest.
func (p program) start(t *testing.T, kubeconfig, broker string, args []string, env ...string) *agent {
	t.Helper()
	a := &agent{t: t, name: p.name, http: freeAddr(t), profiles: freeAddr(t)}
	cmd := exec.Command(p.path, append([]string{"--kubeconfig", kubeconfig, "--http-addr", a.http, "--pprof-addr", a.profiles}, args...)...)
	cmd.Env = append(append(os.Environ(), "BROKER_URL="+broker), env...)
	log, err := os.Create(filepath.Join(t.TempDir(), p.name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	a.started = time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a.pid = cmd.Process.Pid
	stopped := false
	a.stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			said, _ := os.ReadFile(log.Name())
			t.Errorf("%s: %v\n%s", p.name, err, said)
		}
		_ = log.Close()
	}
	t.Cleanup(a.stop)
	return a
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

// cpu is the time that the process has worked, in the program and in the kernel.
func (a *agent) cpu() time.Duration {
	a.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.pid))
	if err != nil {
		a.t.Fatal(err)
	}
	_, fields, _ := strings.Cut(string(text), ") ") // behind the name, which may hold anything
	sum := 0
	for _, field := range strings.Fields(fields)[11:13] { // utime and stime
		ticks, err := strconv.Atoi(field)
		if err != nil {
			a.t.Fatal(err)
		}
		sum += ticks
	}
	const tick = 10 * time.Millisecond // of user space, on every Linux
	return time.Duration(sum) * tick
}

// settle returns when the process does nothing any more.
func (a *agent) settle() {
	a.t.Helper()
	const quiet = 300 * time.Millisecond
	for before := time.Duration(-1); before != a.cpu(); {
		before = a.cpu()
		select {
		case <-time.After(quiet):
		case <-a.t.Context().Done():
			a.t.Fatal(a.t.Context().Err())
		}
	}
}

// memory reads VmHWM, the most that was resident ever, or VmRSS, what is now, in bytes.
func (a *agent) memory(name string) float64 {
	a.t.Helper()
	return bytesOf(a.t, fmt.Sprintf("/proc/%d/status", a.pid), name)
}

// availableMemory of the machine, in bytes.
func availableMemory(t *testing.T) float64 {
	t.Helper()
	return bytesOf(t, "/proc/meminfo", "MemAvailable")
}

// bytesOf reads a line such as "VmRSS:     1234 kB".
func bytesOf(t *testing.T, file, name string) float64 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if number, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(number, "kB")), 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib * 1024
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return 0
}

// heap is what is alive, after what is not was collected: twice, since pools outlive one collection.
func (a *agent) heap() float64 {
	a.t.Helper()
	for range 2 {
		if _, err := get(a.profiles, "/debug/pprof/heap?gc=1"); err != nil {
			a.t.Fatal(err)
		}
	}
	return a.metric("go_memstats_heap_alloc_bytes ")
}

// mallocs is how many allocations there were so far, and how many it takes to ask.
func (a *agent) mallocs() (soFar, asking float64) {
	a.t.Helper()
	const total = "go_memstats_mallocs_total "
	before := a.metric(total)
	soFar = a.metric(total)
	return soFar, soFar - before
}

// metric returns the sum of the series that begin so.
func (a *agent) metric(prefix string) float64 {
	a.t.Helper()
	sum := 0.0
	for _, value := range a.series(prefix) {
		sum += value
	}
	return sum
}

// series returns the values of the series that begin so, by their names.
func (a *agent) series(prefix string) map[string]float64 {
	a.t.Helper()
	body, err := get(a.http, "/metrics")
	if err != nil {
		a.t.Fatal(err)
	}
	series := map[string]float64{}
	for line := range strings.SplitSeq(body, "\n") {
		if strings.HasPrefix(line, prefix) {
			end := strings.LastIndexByte(line, ' ')
			series[line[:end]], _ = strconv.ParseFloat(line[end+1:], 64)
		}
	}
	return series
}

func get(addr, path string) (string, error) {
	response, err := http.Get("http://" + addr + path)
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
