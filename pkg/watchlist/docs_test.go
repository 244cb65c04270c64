package watchlist

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// documented returns what follows a heading of docs/meshsync.md, up to the next.
func documented(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/meshsync.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\n"+heading+"\n")
	section, _, _ := strings.Cut(after, "\n#")
	return section
}

func TestTheDocumentedListIsUnderstood(t *testing.T) {
	t.Parallel()
	_, example, _ := strings.Cut(documented(t, "## Watch-list"), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	var meshSync v1alpha1.MeshSync
	if err := yaml.UnmarshalStrict([]byte(example), &meshSync); err != nil {
		t.Fatal(err)
	}
	discovery, err := json.Marshal(meshSync.Spec.Discovery)
	if err != nil {
		t.Fatal(err)
	}
	data := meshSync.Spec.WatchList.Data
	data["discovery"] = string(discovery)
	wantTexts(t, mustParse(t, data).Resolve(testCluster()), `
		watch ingressclasses.v1.networking.k8s.io
		watch deployments.v1.apps not in kube-system
		watch ingresses.v1.networking.k8s.io not in kube-system
		watch pods.v1. ADDED,DELETED not in kube-system
		watch configmaps.v1. in demo,meshery labels app.kubernetes.io/part-of
		watch secrets.v1. not in kube-system depth inventory`)
}

func TestTheDocumentedNamesAreUnderstood(t *testing.T) {
	t.Parallel()
	quoted := regexp.MustCompile("`([^`]+)`")
	checked := 0
	for line := range strings.Lines(documented(t, "### Names")) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		written, taken := quoted.FindAllStringSubmatch(cells[1], -1), quoted.FindAllStringSubmatch(cells[2], -1)
		if strings.TrimSpace(cells[2]) == "as written" {
			taken = written
		}
		for i, name := range written {
			if len(taken) == 0 {
				break // a wildcard, or skipped
			}
			want := taken[min(i, len(taken)-1)][1]
			got := mustParse(t, map[string]string{"whitelist": `["` + name[1] + `"]`}).Resolve(testCluster())
			if len(got.Targets) != 1 || Format(got.Targets[0].Resource) != want || (len(got.Problems) > 0) != (name[1] != want) {
				t.Errorf("%s: got %v, want %s", name[1], texts(got), want)
			}
			checked++
		}
	}
	if checked != 13 {
		t.Errorf("%d names were checked", checked)
	}
}
