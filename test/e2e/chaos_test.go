package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"meshery.io/operator/test/controlplane"
)

const (
	// chaosInTests is how long chaos lasts in every run of the tests; CHAOS_DURATION makes it a run of its own.
	chaosInTests = time.Minute
	// chaosSettles is how long everything may take to be right again afterwards: a roll of three servers, each with a grace period.
	chaosSettles = 5 * time.Minute
	// memoryGrowth is how much more the operator may hold at the end of a long run than after its first minute undisturbed.
	memoryGrowth = 0.25
)

// TestSoak is chaos for long: CHAOS_DURATION=10m.
func TestSoak(t *testing.T) {
	duration, err := time.ParseDuration(os.Getenv("CHAOS_DURATION"))
	if err != nil {
		t.Skip("CHAOS_DURATION says how long; the tests do it for a minute")
	}
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT PASSED: chaos needs Linux and root for a real node")
	}
	c := start(t)
	c.run(t, "apply", "-f", manifests)
	c.waitReady(t)
	c.chaos(t, duration)
}

// chaos changes, deletes and kills at random. Afterwards everything must be Ready, with the newest generation observed, and made of
// exactly the objects of which it was made before.
func (c *cluster) chaos(t *testing.T, duration time.Duration) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED=%q: want a number", text)
		}
	}
	t.Logf("CHAOS_SEED=%d for %s", seed, duration)
	chance := rand.New(rand.NewPCG(seed, 0))
	before, specs := c.made(t), c.specs(t)

	done := map[string]int{}
	var memory []sample
	began, nextSample := time.Now(), time.Now()
	for time.Since(began) < duration {
		// In the second half the operator's process lives, so that its memory can be compared with itself.
		mayKillOperator := time.Since(began) < duration/2
		name, act := c.anAct(chance, mayKillOperator)
		if err := act(t.Context()); err == nil {
			done[name]++
		} else if ctx := t.Context(); ctx.Err() != nil {
			t.Fatal(err)
		} // else it met an object that was just deleted, or a change that the API server refuses
		if !time.Now().Before(nextSample) {
			if taken, err := c.operatorMemory(t.Context()); err == nil {
				memory = append(memory, taken)
			}
			nextSample = time.Now().Add(5 * time.Second)
		}
		pause(t, time.Duration(100+chance.IntN(900))*time.Millisecond)
	}
	acts := 0
	for _, n := range done {
		acts += n
	}

	settling := time.Now()
	eventually(t, "all is well after chaos", chaosSettles, c.allWell)
	settled := time.Since(settling)
	for resource, spec := range specs {
		c.run(t, "patch", "-n", namespace, resource, "--type=json", "-p", `[{"op":"replace","path":"/spec","value":`+spec+`}]`)
	}
	eventually(t, "all is well as before", chaosSettles, c.allWell)
	eventually(t, "it is made of what it was made of before", time.Minute, func(context.Context) error {
		if after := c.made(t); !slices.Equal(before, after) {
			return fmt.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
		return nil
	})
	t.Logf("%d acts in %s: %s", acts, duration, describe(done))
	t.Logf("all well %s after the last; operator's memory %s", settled.Round(time.Second), judgeMemory(t, memory, duration))
}

func pause(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

func describe(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}

// anAct is one of the things that people and clusters do to an installation.
func (c *cluster) anAct(chance *rand.Rand, mayKillOperator bool) (name string, act func(context.Context) error) {
	pick := func(choices ...string) string { return choices[chance.IntN(len(choices))] }
	edit := func(resource, spec string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := c.try(ctx, "patch", "-n", namespace, resource, "--type=merge", "-p", `{"spec":`+spec+`}`)
			return err
		}
	}
	kill := func(selector string) func(context.Context) error {
		return func(ctx context.Context) error {
			pods, err := c.try(ctx, "get", "pods", "-n", namespace, "-l", selector, "-o", "name")
			if err != nil || pods == "" {
				return errors.Join(err, errors.New("there is none"))
			}
			names := strings.Fields(pods)
			_, err = c.try(ctx, "delete", "-n", namespace, names[chance.IntN(len(names))], "--grace-period=0", "--force", "--wait=false")
			return err
		}
	}
	const broker, meshSync = "broker/meshery-broker", "meshsync/meshery-meshsync"
	someResources := fmt.Sprintf(`{"resources":{"requests":{"cpu":"%dm","memory":"%dMi"}}}`, 10+chance.IntN(40), 32+chance.IntN(32))
	switch chance.IntN(14) {
	case 0:
		return "sizes of the broker", edit(broker, fmt.Sprintf(`{"size":%d}`, 1+chance.IntN(3)))
	case 1:
		return "sizes of the agent", edit(meshSync, fmt.Sprintf(`{"size":%d}`, 1+chance.IntN(3)))
	case 2:
		return "service types", edit(broker, `{"service":{"type":"`+pick("ClusterIP", "NodePort", "LoadBalancer")+`"}}`)
	case 3:
		return "service annotations", edit(broker, fmt.Sprintf(`{"service":{"annotations":{"example.com/%s":"%d"}}}`, pick("a", "b"), chance.IntN(100)))
	case 4:
		return "verbosities", edit(meshSync, fmt.Sprintf(`{"verbosity":%d}`, chance.IntN(6)))
	case 5:
		return "resources", edit(pick(broker, meshSync), someResources)
	case 6:
		list := pick("pods.v1.", "services.v1.", "configmaps.v1.", "deployments.v1.apps")
		return "watch-lists", edit(meshSync, `{"watch-list":{"data":{"whitelist":"[{\"Resource\":\"`+list+`\",\"Events\":[\"ADDED\"]}]"}}}`)
	case 7, 8:
		return "broker kills", kill("app=meshery-broker")
	case 9, 10:
		return "agent kills", kill("app=meshery-meshsync")
	case 11:
		if mayKillOperator {
			return "operator kills", kill("name=meshery-operator")
		}
		fallthrough
	default:
		kind := pick("service", "configmap", "statefulset", "deployment", "serviceaccount", "role", "rolebinding", "secret", "clusterrole", "clusterrolebinding")
		return "deletions", func(ctx context.Context) error { return c.deleteOwned(ctx, chance, kind) }
	}
}

// deleteOwned deletes one of the operator's objects, of a kind.
func (c *cluster) deleteOwned(ctx context.Context, chance *rand.Rand, kind string) error {
	const selector = "app.kubernetes.io/managed-by=meshery-operator"
	objects, err := c.try(ctx, "get", kind, "-n", namespace, "-l", selector, "-o", "name")
	if err != nil || objects == "" {
		return errors.Join(err, errors.New("there is none"))
	}
	names := strings.Fields(objects)
	_, err = c.try(ctx, "delete", "-n", namespace, names[chance.IntN(len(names))], "--wait=false")
	return err
}

// specs are the specs of both resources, to put them back.
func (c *cluster) specs(t *testing.T) map[string]string {
	t.Helper()
	specs := map[string]string{}
	for _, resource := range []string{"broker/meshery-broker", "meshsync/meshery-meshsync"} {
		specs[resource] = c.run(t, "get", "-n", namespace, resource, "-o", "jsonpath={.spec}")
	}
	return specs
}

// madeByOthers are kinds that carry our labels because Kubernetes makes them from our objects.
var madeByOthers = regexp.MustCompile(`^(pods|replicasets|controllerrevisions|endpoints|endpointslices)\.`)

// made are the objects that the operator made, in order. Kubernetes' own are left out, but for the number of pods.
func (c *cluster) made(t *testing.T) []string {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	found, err := controlplane.Labelled(t.Context(), config, "app.kubernetes.io/managed-by=meshery-operator")
	if err != nil {
		t.Fatal(err)
	}
	pods := 0
	found = slices.DeleteFunc(found, func(line string) bool {
		if strings.HasPrefix(line, "pods.") {
			pods++
		}
		return madeByOthers.MatchString(line)
	})
	slices.Sort(found)
	return append(found, fmt.Sprintf("%d pods", pods))
}

// allWell complains unless both resources are Ready, not Degraded, and every condition is about the newest generation.
func (c *cluster) allWell(ctx context.Context) error {
	const conditions = `{.metadata.generation}{range .status.conditions[*]} {.type}={.status}/{.observedGeneration}{end}`
	for _, resource := range []string{"broker/meshery-broker", "meshsync/meshery-meshsync"} {
		out, err := c.try(ctx, "get", "-n", namespace, resource, "-o", "jsonpath="+conditions)
		if err != nil {
			return err
		}
		fields := strings.Fields(out)
		for _, field := range fields[1:] {
			if !strings.HasSuffix(field, "/"+fields[0]) {
				return fmt.Errorf("%s: %s is not about generation %s", resource, field, fields[0])
			}
		}
		for _, want := range []string{" Ready=True/", " Progressing=False/", " Degraded=False/"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("%s: %s", resource, out)
			}
		}
	}
	_, err := c.try(ctx, "rollout", "status", "-n", namespace, "deployment/meshery-operator", "--timeout=1s")
	return err
}

// sample is how much memory a process of the operator held.
type sample struct {
	at       time.Time
	pod      string
	resident float64
}

var residentMetric = regexp.MustCompile(`(?m)^process_resident_memory_bytes (\S+)$`)

func (c *cluster) operatorMemory(ctx context.Context) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	pod, err := c.try(ctx, "get", "pods", "-n", namespace, "-l", "name=meshery-operator", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].metadata.name}")
	if err != nil {
		return sample{}, err
	}
	address, stop, err := c.tryForward(ctx, namespace, "pod/"+pod, 8080)
	if err != nil {
		return sample{}, err
	}
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return sample{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return sample{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return sample{}, err
	}
	match := residentMetric.FindSubmatch(text)
	if match == nil {
		return sample{}, errors.New("no process_resident_memory_bytes")
	}
	resident, err := strconv.ParseFloat(string(match[1]), 64)
	return sample{time.Now(), pod, resident}, err
}

// judgeMemory tells the first, the greatest and the last sample of the process that lived last, and complains when a long life made
// it grow.
func judgeMemory(t *testing.T, samples []sample, duration time.Duration) string {
	t.Helper()
	if len(samples) == 0 {
		t.Error("the operator's memory could not be seen")
		return "unknown"
	}
	pod := samples[len(samples)-1].pod
	samples = slices.DeleteFunc(samples, func(s sample) bool { return s.pod != pod })
	first, last, most := samples[0], samples[len(samples)-1], samples[0].resident
	for _, s := range samples {
		most = max(most, s.resident)
	}
	settled := slices.IndexFunc(samples, func(s sample) bool { return s.at.Sub(first.at) > time.Minute })
	if settled >= 0 && duration > 5*time.Minute {
		begin, end := average(samples[settled:min(settled+6, len(samples))]), average(samples[max(settled, len(samples)-6):])
		if end > begin*(1+memoryGrowth) {
			t.Errorf("the operator's memory grew from %.1f to %.1f MiB within %s", begin/(1<<20), end/(1<<20), last.at.Sub(first.at))
		}
	}
	return fmt.Sprintf("%.1f MiB at first, %.1f at most, %.1f at last, in a life of %s", first.resident/(1<<20), most/(1<<20), last.resident/(1<<20), last.at.Sub(first.at).Round(time.Second))
}

func average(samples []sample) float64 {
	sum := 0.0
	for _, s := range samples {
		sum += s.resident
	}
	return sum / float64(len(samples))
}
