// Package metricsdoc compares docs/metrics.md with the metrics that a program registers.
package metricsdoc

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Check fails when a metric whose name begins with prefix is registered and not in a table of the document, or the other way
// round, and when its labels, or its type as far as it has a value, differ. A row is | `name` | type | `label`, `label` | … |.
func Check(t testing.TB, document, prefix string, registry *prometheus.Registry) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	documented, registered := inDocument(string(text), prefix), inRegistry(t, registry, prefix)
	if len(registered) == 0 {
		t.Errorf("no metric %s* is registered", prefix)
	}
	for _, name := range slices.Sorted(maps.Keys(registered)) {
		want, ok := documented[name]
		got := registered[name]
		switch {
		case !ok:
			t.Errorf("%s does not list %s, labels %s", document, name, got.labels)
		case got.labels != want.labels:
			t.Errorf("%s: %s has the labels %q, not %q", document, name, got.labels, want.labels)
		case got.kind != "" && got.kind != want.kind:
			t.Errorf("%s: %s is a %s, not a %s", document, name, got.kind, want.kind)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("%s lists %s, which is not registered", document, name)
	}
}

// CheckServed fails when what a running program serves holds a metric that the document does not list, or of another type. It sees
// metrics only that have a value, and all parts of the program.
func CheckServed(t testing.TB, document, prefix, served string) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	documented := inDocument(string(text), prefix)
	found := typeLine.FindAllStringSubmatch(served, -1)
	for _, line := range found {
		if strings.HasPrefix(line[1], prefix) && documented[line[1]].kind != line[2] {
			t.Errorf("%s does not list %s, a %s", document, line[1], line[2])
		}
	}
	if len(found) == 0 {
		t.Errorf("these are no metrics: %.200s", served)
	}
}

type metric struct {
	labels string // sorted, separated by spaces
	kind   string // counter, gauge or histogram; empty if there is no value yet
}

var (
	row   = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|")
	label = regexp.MustCompile("`([a-z_]+)`")

	typeLine = regexp.MustCompile(`(?m)^# TYPE ([a-z_]+) ([a-z]+)$`)
)

func inDocument(text, prefix string) map[string]metric {
	found := map[string]metric{}
	for _, row := range row.FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(row[1], prefix) {
			continue
		}
		var labels []string
		for _, label := range label.FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, label[1])
		}
		found[row[1]] = metric{sorted(labels), row[2]}
	}
	return found
}

var (
	name     = regexp.MustCompile(`fqName: "([^"]*)"`)
	constant = regexp.MustCompile(`([a-z_]+)="`)
	variable = regexp.MustCompile(`variableLabels: \{([^}]*)\}`)
	constSet = regexp.MustCompile(`constLabels: \{([^}]*)\}`)
)

// inRegistry asks the collectors for their descriptions, which are there before the first value. A description shows what it
// holds only as text.
func inRegistry(t testing.TB, registry *prometheus.Registry, prefix string) map[string]metric {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descs)
		close(descs)
	}()
	found := map[string]metric{}
	for desc := range descs {
		text := desc.String()
		named := name.FindStringSubmatch(text)
		if named == nil || !strings.HasPrefix(named[1], prefix) {
			continue
		}
		var labels []string
		for _, label := range constant.FindAllStringSubmatch(submatch(constSet, text), -1) {
			labels = append(labels, label[1])
		}
		for label := range strings.SplitSeq(submatch(variable, text), ",") {
			if label != "" {
				labels = append(labels, label)
			}
		}
		found[named[1]] = metric{labels: sorted(labels)}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if known, ok := found[family.GetName()]; ok {
			found[family.GetName()] = metric{known.labels, strings.ToLower(fmt.Sprint(family.GetType()))}
		}
	}
	return found
}

func submatch(pattern *regexp.Regexp, text string) string {
	if found := pattern.FindStringSubmatch(text); found != nil {
		return found[1]
	}
	return ""
}

func sorted(labels []string) string { return strings.Join(slices.Sorted(slices.Values(labels)), " ") }
