package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/test/bench/replay"
	"meshery.io/operator/test/natsserver"
)

// envRounds is how often everything is measured, as for people to read. Without it there is one small round, to see that it works.
const envRounds = "MESHERY_BENCH_ROUNDS"

// publishedRounds is the least that a median is worth keeping of.
const publishedRounds = 5

// reports is where the results of a full run go.
const reports = "../../docs/benchmarks"

// size of a run.
type size struct {
	rounds      int
	pods        int // on the real API server, and replayed
	updates     int // of pods of the real API server, each of another one
	updatesRate float64
	passes      int // over all replayed pods, in bulk
	eventsRate  float64
	many        int   // replayed pods
	sizes       []int // objects of all shapes
}

func sizeOf(t *testing.T) size {
	t.Helper()
	text := os.Getenv(envRounds)
	if text == "" {
		return size{rounds: 1, pods: 200, updates: 60, updatesRate: 300, passes: 1, eventsRate: 1500, many: 400, sizes: []int{1000, 2000}}
	}
	rounds, err := strconv.Atoi(text)
	if err != nil || rounds < 1 {
		t.Fatalf("%s=%q: want a number of rounds, such as 5", envRounds, text)
	}
	return size{
		rounds: rounds, pods: 10_000, updates: 3000, updatesRate: 300, passes: 3, eventsRate: 1500,
		many: 100_000, sizes: []int{1000, 10_000, 100_000},
	}
}

// patience is how long any one step may take.
const patience = 10 * time.Minute

// lab is where agents are measured.
type lab struct {
	size
	*results

	broker          *natsserver.Server // that of the step
	consumer        *consumer
	reference, ours program
	pod             *replay.Shape
}

// TestHotPath compares the agent with the reference path.
func TestHotPath(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what a process uses is read from /proc")
	}
	loadBefore := load()
	l := &lab{size: sizeOf(t), results: newResults(), pod: pod(t)}
	l.reference, l.ours = build(t, "reference", "./reference"), build(t, "meshsync", "../../cmd/meshsync")
	l.connect(t, natsserver.Options{MaxPayload: maxPayload})

	began := time.Now()
	for _, step := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"encode", l.encode}, {"real API server", l.realServer}, {"replayed", l.replayed}, {"many", l.manyObjects}, {"all shapes", l.allShapes}, {"JetStream", l.jetStream},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
		t.Logf("%s: %s so far", step.name, time.Since(began).Round(time.Second))
	}
	l.report(t, l.results.report(l.size, loadBefore, time.Since(began)))
}

// maxPayload is what the operator gives its brokers.
const maxPayload = 8 << 20

// connect starts a broker, and listens to it.
func (l *lab) connect(t *testing.T, o natsserver.Options) {
	t.Helper()
	l.broker = natsserver.Start(t, o)
	l.consumer = listen(t, l.broker.URL())
}

// report prints the results and, of a full run, keeps them.
func (l *lab) report(t *testing.T, report *report) {
	t.Helper()
	t.Log("\n" + report.table())
	dir := reports
	if l.rounds < publishedRounds {
		dir = t.TempDir()
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"hot-path.json": append(text, '\n'), "hot-path.svg": report.plot()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// alternate measures both programs, and begins with the other one in every other round.
func (l *lab) alternate(measure func(p program)) {
	for round := range l.rounds {
		programs := []program{l.reference, l.ours}
		if round%2 == 1 {
			programs[0], programs[1] = l.ours, l.reference
		}
		for _, p := range programs {
			measure(p)
		}
	}
}

// add keeps what was measured of a program.
func (l *lab) add(p program, measure measure, value float64) {
	l.results.add(measure, p == l.reference, value)
}

func (l *lab) encode(t *testing.T) {
	l.alternate(func(p program) {
		run := BenchmarkWalk
		if p == l.reference {
			run = BenchmarkReference
		}
		result := testing.Benchmark(run)
		if result.N == 0 {
			t.Fatalf("%s cannot be measured", p.name)
		}
		l.add(p, encodeTime, float64(result.T.Nanoseconds())/float64(result.N)/1000)
		l.add(p, encodeCPU, result.Extra[cpuPerOp]/1000)
		l.add(p, encodeAllocs, float64(result.AllocsPerOp()))
		l.add(p, encodeBytes, float64(result.AllocedBytesPerOp()))
	})
}

func (l *lab) realServer(t *testing.T) {
	cluster := startCluster(t)
	began := time.Now()
	cluster.createPods(l.pod, l.pods)
	t.Logf("%d pods of %d bytes made in %s", l.pods, cluster.podSize(), time.Since(began).Round(time.Second))
	l.alternate(func(p program) { l.realRound(t, cluster, p) })
	l.profileReal(t, cluster)
}

// startReal starts a program on a real API server.
func (l *lab) startReal(t *testing.T, p program, cluster *cluster) *agent {
	t.Helper()
	cluster.removeWatchList()
	if p == l.reference {
		return p.start(t, cluster.plane.Kubeconfig, l.broker.URL(), []string{"--kinds", strings.Join(watchedKinds[:], ",")})
	}
	return p.start(t, cluster.plane.Kubeconfig, l.broker.URL(), nil, meshery.EnvNamespace+"="+namespace, meshery.EnvName+"="+meshSync)
}

func (l *lab) realRound(t *testing.T, cluster *cluster, p program) {
	t.Helper()
	all := l.consumer.await(l.pods)
	a := l.startReal(t, p, cluster)
	defer a.stop()
	l.consumer.wait(t, all, patience)
	l.add(p, syncWall, all.last.Sub(a.started).Seconds())
	a.settle()
	l.add(p, syncCPU, a.cpu().Seconds())
	if p == l.ours {
		synced := a.memory("VmRSS")
		l.rest(t)
		l.add(p, atRest, synced/a.memory("VmRSS"))
	}

	before, began := a.cpu(), time.Now()
	changed := l.consumer.await(l.updates)
	cluster.changePods(l.updates, l.updatesRate)
	l.add(p, updateRate, perSecond(l.updates, began))
	l.consumer.wait(t, changed, patience)
	l.add(p, updateCPU, micros(a.cpu()-before, l.updates))
	l.add(p, latency50, changed.percentile(50))
	l.add(p, latency99, changed.percentile(99))
	l.add(p, peak, a.memory("VmHWM")/1e6)
	l.add(p, resident, a.memory("VmRSS")/1e6)
	if p == l.ours {
		l.add(p, requests, l.addLive(t, cluster, a))
	}
}

// rest lets an agent alone, for as long as Go takes to give memory back that is not needed.
func (l *lab) rest(t *testing.T) {
	if l.rounds < publishedRounds {
		return
	}
	select {
	case <-time.After(20 * time.Second):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// addLive adds a kind to the watch-list and returns how many requests to list or watch that took.
func (l *lab) addLive(t *testing.T, cluster *cluster, a *agent) float64 {
	t.Helper()
	const synced = `meshery_meshsync_watched_kinds{state="Synced"}`
	before, kinds := cluster.auditSize(), a.metric(synced)
	cluster.addKind()
	if err := eventually(t.Context(), func() error {
		// The audit log is written in batches.
		if now, asked := a.metric(synced), cluster.requestsOfAgent(before); now != kinds+1 || asked["list"]+asked["watch"] == 0 {
			return fmt.Errorf("%v kinds are synced after %v, want %v", now, asked, kinds+1)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	a.settle() // what it asks besides would have been asked by now
	asked := cluster.requestsOfAgent(before)
	t.Logf("a kind is added live: %v", asked)
	return float64(asked["list"] + asked["watch"])
}

func (l *lab) replayed(t *testing.T) {
	server := replay.Start(t, []*replay.Shape{l.pod}, l.pods)
	l.alternate(func(p program) { l.replayedRound(t, p, server) })
	l.profileReplayed(t, server)
}

func (l *lab) replayedRound(t *testing.T, p program, server *replay.Server) {
	t.Helper()
	a, _ := l.sync(t, p, server)
	defer a.stop()
	events := l.passes * l.pods
	mallocs, asking := a.mallocs()
	cpu := a.cpu()
	for range l.passes {
		l.change(t, server, 0)
	}
	l.add(p, bulkCPU, micros(a.cpu()-cpu, events))
	now, askingTwice := a.mallocs()
	l.add(p, allocations, (now-mallocs-asking-askingTwice)/float64(events))
	if p == l.reference { // it cannot do so many
		return
	}
	histogram, began := a.deliveries(), time.Now()
	changed := l.change(t, server, l.eventsRate)
	l.add(p, replayedRate, perSecond(l.pods, began))
	l.add(p, replayed50, changed.percentile(50))
	l.add(p, replayed99, changed.percentile(99))
	if during := a.deliveries().since(histogram); during != nil {
		l.add(p, delivery50, 1000*during.quantile(0.50))
		l.add(p, delivery99, 1000*during.quantile(0.99))
	}
}

// change changes every object of a server once, so many in a second or, with 0, all at once, and returns when there was a message about
// each.
func (l *lab) change(t *testing.T, server *replay.Server, pace float64) *awaited {
	t.Helper()
	changed := l.consumer.await(server.Objects)
	if err := server.Change(t.Context(), l.pod.Resource, pace); err != nil {
		t.Fatal(err)
	}
	l.consumer.wait(t, changed, patience)
	return changed
}

// sync starts an agent on a replaying server and returns when there was a message about each object.
func (l *lab) sync(t *testing.T, p program, server *replay.Server) (*agent, *awaited) {
	t.Helper()
	all := l.consumer.await(server.Objects)
	args := []string{"--kinds", strings.Join(server.Kinds(), ",")}
	if p == l.ours {
		list, err := json.Marshal(map[string][]string{"whitelist": server.Kinds()})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "watch-list.json")
		if err := os.WriteFile(file, list, 0o600); err != nil {
			t.Fatal(err)
		}
		args = []string{"--watch-list-file", file}
	}
	a := p.start(t, server.Kubeconfig, l.broker.URL(), args)
	l.consumer.wait(t, all, patience)
	a.settle()
	return a, all
}

// referencePerObject is how much memory the reference path takes for an object, before it is collected.
const referencePerObject = 140_000

// manyObjects measures memory.
func (l *lab) manyObjects(t *testing.T) {
	few := replay.Start(t, []*replay.Shape{l.pod}, l.many/100)
	all := replay.Start(t, []*replay.Shape{l.pod}, l.many)
	measure := func(p program) {
		a, _ := l.sync(t, p, few)
		empty := a.heap()
		a.stop()
		a, _ = l.sync(t, p, all)
		defer a.stop()
		l.add(p, peakMany, a.memory("VmHWM")/1e6)
		l.add(p, heapPerObject, (a.heap()-empty)/float64(l.many-l.many/100))
	}
	// Once: it takes minutes, and gigabytes.
	if free, needed := availableMemory(t), float64(l.many)*referencePerObject; free > needed {
		measure(l.reference)
	} else {
		t.Logf("The reference path is left out: %.1f GB of memory are free, and it takes up to %.1f GB", free/1e9, needed/1e9)
	}
	for range l.rounds {
		measure(l.ours)
	}
}

// allShapes measures how the agent grows with the cluster.
func (l *lab) allShapes(t *testing.T) {
	shapes, err := replay.Shapes()
	if err != nil {
		t.Fatal(err)
	}
	for _, objects := range l.sizes {
		server := replay.Start(t, shapes, objects)
		for range l.rounds {
			began := time.Now()
			a, all := l.sync(t, l.ours, server)
			l.addScale(objects, scalePoint{
				CPU: a.cpu().Seconds(), Wall: all.last.Sub(a.started).Seconds(),
				Peak: a.memory("VmHWM") / 1e6, Heap: a.heap() / 1e6,
			})
			a.stop()
			t.Logf("%d objects: %s", objects, time.Since(began).Round(time.Millisecond))
		}
	}
}

// jetStream measures the bulk with a broker that keeps the last message about each object and acknowledges it.
func (l *lab) jetStream(t *testing.T) {
	l.connect(t, natsserver.Options{MaxPayload: maxPayload, JetStream: true})
	server := replay.Start(t, []*replay.Shape{l.pod}, l.pods)
	for range l.rounds {
		a, _ := l.sync(t, l.ours, server)
		a.settle()
		if stored := l.consumer.stored(t); stored != uint64(l.pods) {
			t.Fatalf("%d of %d objects are stored", stored, l.pods)
		}
		cpu := a.cpu()
		for range l.passes {
			l.change(t, server, 0)
		}
		a.settle() // acknowledgements come behind the messages
		l.add(l.ours, jetStreamCPU, micros(a.cpu()-cpu, l.passes*l.pods))
		l.add(l.ours, jetStreamPeak, a.memory("VmHWM")/1e6)
		a.stop()
		l.consumer.forget(t)
	}
}

func micros(took time.Duration, events int) float64 {
	return float64(took.Microseconds()) / float64(events)
}

func perSecond(events int, since time.Time) float64 {
	return float64(events) / time.Since(since).Seconds()
}
