package watchlist

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func gvr(text string) schema.GroupVersionResource {
	resource, hint := parseResource(text)
	if hint != "" {
		panic(hint)
	}
	return resource
}

func TestParse(t *testing.T) {
	const swapped = `group and version are swapped; write "deployments.v1.apps"`
	tests := map[string]struct {
		white, black string
		want         map[string]Events // what Events answers
		problems     []string          // parts of Problem.String, in order
	}{
		"no list is the default list": {
			want: map[string]Events{"pods.v1.": AllEvents, "prometheuses.v1.monitoring.coreos.com": AllEvents, "leases.v1.coordination.k8s.io": 0},
		},
		"empty arrays are the default list": {
			white: " [] ", black: "[]",
			want: map[string]Events{"pods.v1.": AllEvents, "jobs.v1.batch": 0},
		},
		"a whitelist selects what it names": {
			white: `[{"Resource":"pods.v1.","Events":["ADDED","MODIFIED","DELETED"]},{"Resource":"virtualservices.v1beta1.networking.istio.io"}]`,
			want:  map[string]Events{"pods.v1.": AllEvents, "virtualservices.v1beta1.networking.istio.io": AllEvents, "services.v1.": 0},
		},
		"events are filtered per entry": {
			white: `[{"Resource":"pods.v1.","Events":["ADDED"]},{"Resource":"nodes.v1.","Events":["MODIFIED","DELETED"]},{"Resource":"secrets.v1.","Events":[]}]`,
			want:  map[string]Events{"pods.v1.": Added, "nodes.v1.": Modified | Deleted, "secrets.v1.": AllEvents},
		},
		"the same kind twice unites the events": {
			white: `[{"Resource":"pods.v1.","Events":["ADDED"]},{"Resource":"pods.v1.","Events":["DELETED"]}]`,
			want:  map[string]Events{"pods.v1.": Added | Deleted},
		},
		"an entry may be a string": {
			white: `["pods.v1."]`,
			want:  map[string]Events{"pods.v1.": AllEvents},
		},
		"both: the blacklist removes from the whitelist, in every version": {
			white: `["pods.v1.","horizontalpodautoscalers.v2.autoscaling"]`, black: `["horizontalpodautoscalers.v1.autoscaling"]`,
			want: map[string]Events{"pods.v1.": AllEvents, "horizontalpodautoscalers.v2.autoscaling": 0},
		},
		"a blacklist alone leaves everything else but what changes all the time": {
			black: `["secrets.v1.",{"Resource":"configmaps.v1."}]`,
			want: map[string]Events{
				"secrets.v1.": 0, "configmaps.v1.": 0, "pods.v1.": AllEvents, "widgets.v1.example.com": AllEvents,
				"events.v1.": 0, "events.v1.events.k8s.io": 0, "leases.v1.coordination.k8s.io": 0,
			},
		},
		"a whitelist may name what changes all the time": {
			white: `["events.v1."]`,
			want:  map[string]Events{"events.v1.": AllEvents},
		},
		"a bad entry never mutes the others": {
			white: `[{"Resource":"pods"},{"Resource":"pods.v1."},7,null,{"Resource":"nodes.v1.","Event":["ADDED"]},{"Resource":"Services.v1."}]`,
			want:  map[string]Events{"pods.v1.": AllEvents, "nodes.v1.": 0, "services.v1.": 0},
			problems: []string{
				`whitelist entry 1 ({"Resource":"pods"}): a resource is <plural>.<version>.<group>`,
				`whitelist entry 3 (7): want {"Resource"`, "whitelist entry 4 (null): Resource is missing",
				`whitelist entry 5 ({"Resource":"nodes.v1.","Event":["ADDED"]}): want`, `write it in lower case: "services.v1."`,
			},
		},
		"only bad entries watch nothing rather than more": {
			white: `["deployments.apps.v1"]`,
			want:  map[string]Events{"deployments.v1.apps": 0, "pods.v1.": 0}, problems: []string{swapped},
		},
		"a forgotten dot is explained":       {white: `["pods.v1"]`, problems: []string{`write "pods.v1." if the core group is meant`}},
		"a resource must be well-formed":     {white: `["pods/status.v1.","a..b",".v1.","pods.v1.."]`, problems: []string{"entry 1", "entry 2", "entry 3", "entry 4"}},
		"an unknown event keeps the known":   {white: `[{"Resource":"pods.v1.","Events":["ADD","DELETED"]}]`, want: map[string]Events{"pods.v1.": Deleted}, problems: []string{`unknown event "ADD"`}},
		"only unknown events select nothing": {white: `[{"Resource":"pods.v1.","Events":["added"]}]`, want: map[string]Events{"pods.v1.": 0}, problems: []string{`unknown event "added"`}},
		"events on the blacklist are pointed out": {
			black: `[{"Resource":"pods.v1.","Events":["MODIFIED"]}]`,
			want:  map[string]Events{"pods.v1.": 0}, problems: []string{"blacklist entry 1"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list, problems, err := Parse(map[string]string{"whitelist": test.white, "blacklist": test.black})
			if err != nil {
				t.Fatal(err)
			}
			for resource, want := range test.want {
				if got := list.Events(gvr(resource)); got != want {
					t.Errorf("%s: got %q, want %q", resource, got, want)
				}
			}
			if len(problems) != len(test.problems) {
				t.Fatalf("problems: got %v, want %v", problems, test.problems)
			}
			for i, want := range test.problems {
				if !strings.Contains(problems[i].String(), want) {
					t.Errorf("problem %d: got %q, want it to contain %q", i, problems[i], want)
				}
			}
		})
	}
}

func TestParseRefusesWhatIsNoArray(t *testing.T) {
	for _, text := range []string{"pods.v1.", `{"Resource":"pods.v1."}`, `[{"Resource":]`, `["pods.v1."] x`} {
		for _, key := range []string{"whitelist", "blacklist"} {
			_, _, err := Parse(map[string]string{key: text})
			if err == nil || !strings.Contains(err.Error(), key+" is not a JSON array") {
				t.Errorf("%s %s: got %v", key, text, err)
			}
		}
	}
}

func TestParseNamesUnknownKeys(t *testing.T) {
	_, problems, err := Parse(map[string]string{"whitelst": "[]", "whitelist": `["pods.v1."]`})
	if err != nil || len(problems) != 1 || problems[0].String() != "whitelst: unknown key; known are whitelist and blacklist" {
		t.Errorf("got %v, %v", problems, err)
	}
}

func TestProblemsStayShort(t *testing.T) {
	_, problems, _ := Parse(map[string]string{"whitelist": `["` + strings.Repeat("é", 500) + `"]`})
	if len(problems) != 1 || len(problems[0].Value) > 90 || !strings.HasSuffix(problems[0].Value, "é…") {
		t.Errorf("got %v", problems)
	}
}

func TestDefaultIsTheUnionOfTheDocumentedLists(t *testing.T) {
	if got := len(Default().Entries()); got != 23 {
		t.Errorf("got %d entries, want 23: the 15 documented kinds are among the 23 of the existing agent", got)
	}
}

func TestEntriesAreSortedAndLessTheBlacklist(t *testing.T) {
	list, _, err := Parse(map[string]string{"whitelist": `["pods.v1.",{"Resource":"nodes.v1.","Events":["ADDED"]},"secrets.v1."]`, "blacklist": `["secrets.v1."]`})
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{{gvr("nodes.v1."), Added}, {gvr("pods.v1."), AllEvents}}
	if got := list.Entries(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	everything, _, err := Parse(map[string]string{"blacklist": `["secrets.v1."]`})
	if err != nil || !everything.Everything() || len(everything.Entries()) != 0 {
		t.Errorf("got %v, %v", everything, err)
	}
	if list.Equal(everything) || !list.Equal(list) {
		t.Error("Equal cannot tell lists apart")
	}
}
