package watchscale

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"meshery.io/operator/test/controlplane"
	"meshery.io/operator/test/natsserver"
)

// envKinds is how many custom kinds to define, instead of few. With it the requests of a minute at rest are counted too.
const envKinds = "MESHERY_KINDS"

const patience = 3 * time.Minute

// TestManyKinds compares an agent that watches few kinds with one that watches six times as many.
func TestManyKinds(t *testing.T) {
	many, full := 60, false
	if text := os.Getenv(envKinds); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil || number < 12 {
			t.Fatalf("%s=%q: want a number of kinds, such as 300", envKinds, text)
		}
		many, full = number, true
	}
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Audit: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	l := &lab{t: t, plane: plane, broker: natsserver.Start(t, natsserver.Options{}), program: filepath.Join(t.TempDir(), "meshsync")}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", l.program, "../../cmd/meshsync").CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	few := l.measure(many/6, false)
	all := l.measure(many, full)
	kinds := float64(all.kinds - few.kinds)
	t.Logf("%d cores\n%s", runtime.NumCPU(), table(few, all))
	for _, m := range []measurement{few, all} {
		if m.asked["watch"] != m.kinds+ofItsOwn {
			t.Errorf("%d watches for %v kinds: want one each, and %d", m.asked["watch"], m.kinds, ofItsOwn)
		}
		if m.asked["list"] != 0 || m.asked["review"] > 2 || m.asked["discovery"] > 20 {
			t.Errorf("requests until all is seen: %v", m.asked)
		}
	}
	if perKind := (all.goroutines - few.goroutines) / kinds; perKind > 15 {
		t.Errorf("%.1f goroutines per kind", perKind)
	}
}

// ofItsOwn are the watches that an agent has besides those of the watch-list: the one of custom resource definitions.
const ofItsOwn = 1

// lab is where agents are measured.
type lab struct {
	t       *testing.T
	plane   *controlplane.ControlPlane
	broker  *natsserver.Server
	program string
	defined int
}

// measurement of one agent.
type measurement struct {
	defined    int // custom kinds
	kinds      int // watched
	ready      time.Duration
	asked      map[string]int
	rest       map[string]int // in a minute; nil for not counted
	heap       float64
	resident   float64
	goroutines float64
}

// measure runs an agent where there are so many custom kinds.
func (l *lab) measure(kinds int, full bool) measurement {
	l.t.Helper()
	l.define(kinds)
	before := l.auditSize()
	began := time.Now()
	agent := l.startAgent()
	defer agent.stop()
	l.eventually("the agent is ready", func() error {
		_, err := agent.get(agent.http, "/readyz")
		return err
	})
	m := measurement{defined: kinds, ready: time.Since(began)}
	l.eventually("everything is seen", func() error {
		m.kinds = int(agent.metric(`meshery_meshsync_watched_kinds{state="Synced"}`))
		if others := int(agent.metric("meshery_meshsync_watched_kinds{")) - m.kinds; others != 0 || m.kinds < kinds {
			return fmt.Errorf("%d kinds are synced, %d are not", m.kinds, others)
		}
		return nil
	})
	l.eventually("all is logged", func() error { // the audit log is written in batches
		if m.asked = l.audited(before); m.asked["watch"] < m.kinds+ofItsOwn {
			return fmt.Errorf("%v", m.asked)
		}
		return nil
	})
	// What the start has left behind goes first.
	if _, err := agent.get(agent.profiles, "/debug/pprof/heap?gc=1"); err != nil {
		l.t.Fatal(err)
	}
	m.heap, m.resident = agent.metric("go_memstats_heap_alloc_bytes "), agent.metric("process_resident_memory_bytes ")
	m.goroutines = agent.metric("go_goroutines ")
	if full {
		before := l.auditSize()
		<-time.After(time.Minute)
		m.rest = l.audited(before)
	}
	return m
}

func table(few, all measurement) string {
	perKind := func(of func(measurement) float64) float64 { return (of(all) - of(few)) / float64(all.kinds-few.kinds) }
	const mib, kib = 1 << 20, 1 << 10
	var text strings.Builder
	row := func(name, few, all, each string) { fmt.Fprintf(&text, "%-44s %12s %12s %12s\n", name, few, all, each) }
	row("custom kinds", strconv.Itoa(few.defined), strconv.Itoa(all.defined), "per kind")
	row("kinds watched", strconv.Itoa(few.kinds), strconv.Itoa(all.kinds), "")
	row("time until all is seen", few.ready.Round(10*time.Millisecond).String(), all.ready.Round(10*time.Millisecond).String(), "")
	for _, verb := range []string{"discovery", "review", "list", "watch", "get", "other", "refused for the moment"} {
		row("requests until then: "+verb, strconv.Itoa(few.asked[verb]), strconv.Itoa(all.asked[verb]), "")
	}
	if all.rest != nil {
		row("requests in a minute at rest", "", fmt.Sprint(all.rest), "")
	}
	memory := func(name string, of func(measurement) float64) {
		row(name, fmt.Sprintf("%.1f MiB", of(few)/mib), fmt.Sprintf("%.1f MiB", of(all)/mib), fmt.Sprintf("%.1f KiB", perKind(of)/kib))
	}
	memory("heap", func(m measurement) float64 { return m.heap })
	memory("resident memory", func(m measurement) float64 { return m.resident })
	goroutines := func(m measurement) float64 { return m.goroutines }
	row("goroutines", fmt.Sprint(few.goroutines), fmt.Sprint(all.goroutines), fmt.Sprintf("%.1f", perKind(goroutines)))
	return text.String()
}

// define makes custom resource definitions until there are so many, and waits until they are served.
func (l *lab) define(kinds int) {
	l.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", l.plane.Kubeconfig)
	if err != nil {
		l.t.Fatal(err)
	}
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		l.t.Fatal(err)
	}
	definitions := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	var group errgroup.Group
	group.SetLimit(8)
	for ; l.defined < kinds; l.defined++ {
		definition := definitionOf(l.defined)
		group.Go(func() error {
			_, err := definitions.Create(l.t.Context(), definition, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		l.t.Fatal(err)
	}
	// An API server refuses the first watch of a kind that nobody has asked for before, and lets it wait for a second.
	for n := range kinds {
		group.Go(func() error {
			resource := schema.GroupVersionResource{Group: "scale.example.com", Version: "v1", Resource: "things" + strconv.Itoa(n)}
			return poll(l.t.Context(), func() error {
				all, err := client.Resource(resource).Watch(l.t.Context(), metav1.ListOptions{})
				if err == nil {
					all.Stop()
				}
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		l.t.Fatal(err)
	}
}

func definitionOf(n int) *unstructured.Unstructured {
	text := fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things%[1]d.scale.example.com}
spec:
  group: scale.example.com
  scope: Namespaced
  names: {plural: things%[1]d, singular: thing%[1]d, kind: Thing%[1]d, listKind: Thing%[1]dList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, n)
	definition := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &definition.Object); err != nil {
		panic(err)
	}
	return definition
}

func (l *lab) eventually(what string, check func() error) {
	l.t.Helper()
	if err := poll(l.t.Context(), check); err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
}

// poll waits until check has nothing to complain of.
func poll(ctx context.Context, check func() error) error {
	var last error
	_ = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	return last
}

// agent is a running process.
type agent struct {
	http, profiles string
	stop           func()
}

func (l *lab) startAgent() *agent {
	l.t.Helper()
	list := filepath.Join(l.t.TempDir(), "watch-list.yaml")
	if err := os.WriteFile(list, []byte(`{blacklist: ["events.v1."]}`), 0o600); err != nil {
		l.t.Fatal(err)
	}
	a := &agent{http: freeAddr(l.t), profiles: freeAddr(l.t)}
	cmd := exec.Command(l.program, "--kubeconfig", l.plane.Kubeconfig, "--watch-list-file", list, "--http-addr", a.http, "--pprof-addr", a.profiles)
	cmd.Env = append(os.Environ(), "BROKER_URL="+l.broker.URL())
	log, err := os.Create(filepath.Join(l.t.TempDir(), "agent.log"))
	if err != nil {
		l.t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	a.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			l.t.Errorf("agent: %v", err)
		}
		_ = log.Close()
	}
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

func (a *agent) get(addr, path string) (string, error) {
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

// metric returns the sum of the series that begin so.
func (a *agent) metric(prefix string) float64 {
	body, _ := a.get(a.http, "/metrics")
	sum := 0.0
	for line := range strings.SplitSeq(body, "\n") {
		if strings.HasPrefix(line, prefix) {
			value, _ := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			sum += value
		}
	}
	return sum
}

func (l *lab) auditSize() int64 {
	l.t.Helper()
	info, err := os.Stat(l.plane.AuditLog)
	if err != nil {
		l.t.Fatal(err)
	}
	return info.Size()
}

// audited counts the agent's requests that the API server has answered since its audit log was so long.
func (l *lab) audited(since int64) map[string]int {
	l.t.Helper()
	file, err := os.Open(l.plane.AuditLog)
	if err != nil {
		l.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(since, io.SeekStart); err != nil {
		l.t.Fatal(err)
	}
	asked := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event struct {
			Stage, Verb, UserAgent string
			ObjectRef              *struct{ Resource string }
			ResponseStatus         struct{ Code int }
		}
		if json.Unmarshal(lines.Bytes(), &event) != nil || !strings.HasPrefix(event.UserAgent, "meshsync/") {
			continue
		}
		switch {
		case event.Verb == "watch" && event.Stage != "ResponseStarted", event.Verb != "watch" && event.Stage != "ResponseComplete":
		case event.ResponseStatus.Code == http.StatusTooManyRequests:
			asked["refused for the moment"]++
		case event.ObjectRef == nil:
			asked["discovery"]++
		case event.Verb == "create" && strings.HasPrefix(event.ObjectRef.Resource, "selfsubject"):
			asked["review"]++
		case event.Verb == "list" || event.Verb == "watch" || event.Verb == "get":
			asked[event.Verb]++
		default:
			asked["other"]++
		}
	}
	return asked
}
