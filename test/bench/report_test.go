package bench

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// measure names what is measured.
type measure string

const (
	syncCPU       measure = "sync-cpu"
	updateCPU     measure = "update-cpu"
	bulkCPU       measure = "bulk-cpu"
	jetStreamCPU  measure = "jetstream-cpu"
	encodeTime    measure = "encode-time"
	encodeAllocs  measure = "encode-allocations"
	encodeBytes   measure = "encode-bytes"
	allocations   measure = "allocations"
	heapPerObject measure = "heap-per-object"
	peak          measure = "peak"
	resident      measure = "resident"
	jetStreamPeak measure = "jetstream-peak"
	peakMany      measure = "peak-many"
	syncWall      measure = "sync-wall"
	delivery50    measure = "delivery-p50"
	delivery99    measure = "delivery-p99"
	replayedRate  measure = "replayed-rate"
	replayed50    measure = "replayed-p50"
	replayed99    measure = "replayed-p99"
	updateRate    measure = "update-rate"
	latency50     measure = "latency-p50"
	latency99     measure = "latency-p99"
	requests      measure = "requests"
	growth        measure = "growth"
	atRest        measure = "at-rest"
	encodeCPU     measure = "encode-cpu"
)

// target says what is good enough. As a ratio it is how many times less than the reference path at least, otherwise the most.
type target struct {
	measure         measure
	name, unit      string
	ratio           bool
	accept, stretch float64
}

// none is a target that there is not.
const none = -1

func targets() []target {
	return []target{
		{syncCPU, "CPU, initial sync of 10k pods, real API server", "s", true, 10, 17},
		{updateCPU, "CPU per event at 300/s, real API server", "µs", true, 6, 10},
		{bulkCPU, "CPU per event, stream in bulk, replayed", "µs", true, 25, 45},
		{jetStreamCPU, "… the same, JetStream acknowledged", "µs", false, 40, 22},
		{encodeTime, "encode only, 9 kB pod", "µs", true, 60, 120},
		{encodeCPU, "… CPU, garbage collection included", "µs", true, none, none},
		{encodeAllocs, "… allocations", "", false, 0, 0},
		{encodeBytes, "… allocated", "B", false, none, none},
		{allocations, "allocations per event, end to end, replayed", "", false, 16, 7},
		{heapPerObject, "live heap per watched object, replayed", "B", false, 450, 200},
		{peak, "peak RSS, 10k pods, core NATS, real API server", "MB", false, 60, 42},
		{resident, "… RSS afterwards", "MB", false, none, none},
		{atRest, "RSS after the initial sync, against 20 s later", "×", false, 1.2, none},
		{jetStreamPeak, "peak RSS, 10k pods, JetStream, replayed", "MB", false, 80, 50},
		{peakMany, "peak RSS, 100k pods, replayed", "MB", false, 150, 97},
		{syncWall, "wall time, initial sync of 10k pods, real API server", "s", true, 3.5, 5},
		{delivery50, "p50 at 1,500/s replayed, frame read to acknowledged", "ms", false, none, none},
		{delivery99, "p99 at 1,500/s replayed, frame read to acknowledged", "ms", false, 10, 2},
		{replayed50, "p50 at 1,500/s replayed, event written to subscriber", "ms", false, none, none},
		{replayed99, "p99 at 1,500/s replayed, event written to subscriber", "ms", false, none, none},
		{replayedRate, "… how many there were", "/s", false, none, none},
		{latency50, "p50 at 300/s, API write to subscriber, real API server", "ms", true, 1, 1},
		{latency99, "p99 at 300/s, API write to subscriber, real API server", "ms", true, 1, 2},
		{updateRate, "… how many there were", "/s", false, none, none},
		{requests, "lists and watches when one kind is added live", "", false, 1, 1},
		{growth, "CPU per object, 100k against 10k of 20 kinds", "×", false, 1.2, none},
	}
}

// results are all measured values.
type results struct {
	reference, ours map[measure][]float64
	scale           map[int][]scalePoint // by the number of objects
}

// scalePoint is one agent among so many objects: seconds, and megabytes.
type scalePoint struct{ CPU, Wall, Peak, Heap float64 }

func newResults() *results {
	return &results{map[measure][]float64{}, map[measure][]float64{}, map[int][]scalePoint{}}
}

func (r *results) add(measure measure, reference bool, value float64) {
	if reference {
		r.reference[measure] = append(r.reference[measure], value)
	} else {
		r.ours[measure] = append(r.ours[measure], value)
	}
}

func (r *results) addScale(objects int, point scalePoint) {
	r.scale[objects] = append(r.scale[objects], point)
}

// report is what is published of a run.
type report struct {
	Date    string     `json:"date"`
	Machine string     `json:"machine"`
	Load    string     `json:"load"` // processes that wanted to run in the minute before
	Rounds  int        `json:"rounds"`
	Pods    int        `json:"pods"`
	Took    string     `json:"took"`
	Rows    []row      `json:"rows"`
	Scale   []scaleRow `json:"scale"`
}

// row compares the medians.
type row struct {
	Measure   measure  `json:"measure"`
	Name      string   `json:"name"`
	Unit      string   `json:"unit,omitempty"`
	Reference *float64 `json:"reference"`
	Ours      *float64 `json:"ours"`
	Ratio     *float64 `json:"ratio"`
	IsRatio   bool     `json:"targetIsRatio"`
	Accept    *float64 `json:"accept"`
	Stretch   *float64 `json:"stretch"`
	Verdict   verdict  `json:"verdict"`
	Rounds    rounds   `json:"rounds"`
}

// rounds are the single values.
type rounds struct {
	Reference []float64 `json:"reference"`
	Ours      []float64 `json:"ours"`
}

type verdict string

const (
	stretched   verdict = "stretch"
	accepted    verdict = "accept"
	missed      verdict = "MISSED"
	notMeasured verdict = "not measured"
	untold      verdict = ""
)

// scaleRow are medians.
type scaleRow struct {
	Objects       int     `json:"objects"`
	CPU           float64 `json:"cpuSeconds"`
	CPUPerObject  float64 `json:"cpuMicrosPerObject"`
	Wall          float64 `json:"wallSeconds"`
	Peak          float64 `json:"peakMB"`
	Heap          float64 `json:"heapMB"`
	HeapPerObject float64 `json:"heapBytesPerObject"`
}

func (r *results) report(s size, load string, took time.Duration) *report {
	rep := &report{
		Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Load: load,
		Rounds: s.rounds, Pods: s.pods, Took: took.Round(time.Second).String(),
	}
	for _, objects := range s.sizes {
		if len(r.scale[objects]) == 0 { // that step was left out
			continue
		}
		rep.Scale = append(rep.Scale, r.scaleRow(objects))
	}
	if last := len(rep.Scale) - 1; last > 0 {
		r.add(growth, false, rep.Scale[last].CPUPerObject/rep.Scale[last-1].CPUPerObject)
	}
	for _, target := range targets() {
		rep.Rows = append(rep.Rows, target.row(r.reference[target.measure], r.ours[target.measure]))
	}
	return rep
}

func (r *results) scaleRow(objects int) scaleRow {
	of := func(what func(scalePoint) float64) float64 {
		var values []float64
		for _, point := range r.scale[objects] {
			values = append(values, what(point))
		}
		return *median(values)
	}
	s := scaleRow{
		Objects: objects,
		CPU:     of(func(p scalePoint) float64 { return p.CPU }), Wall: of(func(p scalePoint) float64 { return p.Wall }),
		Peak: of(func(p scalePoint) float64 { return p.Peak }), Heap: of(func(p scalePoint) float64 { return p.Heap }),
	}
	s.CPUPerObject, s.HeapPerObject = s.CPU*1e6/float64(objects), s.Heap*1e6/float64(objects)
	return s
}

func (t target) row(reference, ours []float64) row {
	r := row{Measure: t.measure, Name: t.name, Unit: t.unit, IsRatio: t.ratio, Reference: median(reference), Ours: median(ours)}
	r.Rounds = rounds{reference, ours}
	if r.Reference != nil && r.Ours != nil && *r.Ours != 0 {
		r.Ratio = new(*r.Reference / *r.Ours)
	}
	if t.accept != none {
		r.Accept = new(t.accept)
	}
	if t.stretch != none {
		r.Stretch = new(t.stretch)
	}
	r.Verdict = t.verdict(r)
	return r
}

func (t target) verdict(r row) verdict {
	got, meets := r.Ours, func(limit float64) bool { return *r.Ours <= limit }
	if t.ratio {
		got, meets = r.Ratio, func(limit float64) bool { return *r.Ratio >= limit }
	}
	switch {
	case t.accept == none:
		return untold
	case got == nil:
		return notMeasured
	case t.stretch != none && meets(t.stretch):
		return stretched
	case meets(t.accept):
		return accepted
	default:
		return missed
	}
}

// median of at least one value; nil of none.
func median(values []float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return new((sorted[middle-1] + sorted[middle]) / 2)
	}
	return new(sorted[middle])
}

// table is for people.
func (r *report) table() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %s, with a load of %s before; %d rounds, medians, in %s\n\n", r.Date, r.Machine, r.Load, r.Rounds, r.Took)
	fmt.Fprintf(&text, "%-56s %12s %12s %8s %9s %9s  %s\n", "measure", "reference", "ours", "ratio", "accept", "stretch", "verdict")
	for _, row := range r.Rows {
		fmt.Fprintf(&text, "%-56s %12s %12s %8s %9s %9s  %s\n", row.Name, short(row.Reference, row.Unit), short(row.Ours, row.Unit), short(row.Ratio, "×"),
			row.limit(row.Accept), row.limit(row.Stretch), row.Verdict)
	}
	fmt.Fprintf(&text, "\n%-56s %12s %12s %8s %9s %9s\n", "20 kinds of all shapes, replayed, ours: objects", "CPU", "per object", "wall", "peak RSS", "heap/obj.")
	for _, s := range r.Scale {
		fmt.Fprintf(&text, "%-56d %12s %12s %8s %9s %9s\n", s.Objects, short(&s.CPU, "s"), short(&s.CPUPerObject, "µs"), short(&s.Wall, "s"),
			short(&s.Peak, "MB"), short(&s.HeapPerObject, "B"))
	}
	return text.String()
}

// limit is a target, and which way it goes.
func (r row) limit(limit *float64) string {
	switch {
	case limit == nil:
		return ""
	case r.IsRatio:
		return "≥ " + short(limit, "×")
	default:
		return "≤ " + short(limit, r.Unit)
	}
}

// short is a number in three digits, and its unit.
func short(number *float64, unit string) string {
	if number == nil {
		return "–"
	}
	text := fmt.Sprintf("%.0f", *number)
	if size := math.Abs(*number); size != math.Trunc(size) && size < 100 {
		text = fmt.Sprintf("%.*f", max(0, 2-int(math.Floor(math.Log10(max(size, 0.1))))), *number)
	}
	if unit == "" || unit == "×" {
		return text + unit
	}
	return text + " " + unit
}

// machine is what it was measured on.
func machine() string {
	cpu := "unknown CPU"
	if file, err := os.Open("/proc/cpuinfo"); err == nil {
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores of %s, %s, %s", runtime.NumCPU(), cpu, runtime.GOOS, runtime.Version())
}

// load is how busy the machine is.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	minute, _, _ := strings.Cut(string(text), " ")
	return minute
}
