package watch

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

func kind(resource string, state v1alpha1.ResourceState, objects int64) v1alpha1.ResourceStatus {
	return v1alpha1.ResourceStatus{Resource: resource, State: state, Objects: objects}
}

func TestTruth(t *testing.T) {
	skipped := watchlist.Problem{Key: "whitelist", Position: 2, Value: "7", Hint: "nonsense", Skipped: true}
	noted := watchlist.Problem{Key: "whitelist", Position: 1, Value: "po", Hint: "taken as pods.v1."}
	pods, nodes := kind("pods.v1.", v1alpha1.ResourceSynced, 7), kind("nodes.v1.", v1alpha1.ResourceSynced, 2)
	var many []v1alpha1.ResourceStatus
	for i := range 30 {
		many = append(many, kind(fmt.Sprintf("k%02d.v1.", i), v1alpha1.ResourceSyncing, 0))
	}
	tests := map[string]struct {
		truth      truth
		numbers    string // wanted synced objects
		valid      string // condition WatchListValid
		discovered string
	}{
		"nothing is known": {
			truth{lookErr: errors.New("not asked yet")}, "0 0 0",
			"Unknown Syncing The watch-list has not been read yet", "False Syncing The watch-list has not been read yet",
		},
		"there never was a list": {
			truth{listErr: errors.New("not JSON")}, "0 0 0",
			"False Unreadable not JSON; nothing is watched", "False Syncing The watch-list has not been read yet",
		},
		"the API server does not say what it serves": {
			truth{hash: "h", lookErr: errors.New("discover kinds: no answer")}, "0 0 0",
			"True Understood Every entry of the watch-list is used", "False KindsFailing discover kinds: no answer",
		},
		"all is well": {
			truth{hash: "h", kinds: []v1alpha1.ResourceStatus{nodes, pods}}, "2 2 9",
			"True Understood Every entry of the watch-list is used", "True AllKinds 2 of 2 kinds were seen",
		},
		"the newest list is not JSON": {
			truth{hash: "h", listErr: errors.New("not JSON"), kinds: []v1alpha1.ResourceStatus{pods}}, "1 1 7",
			"False Unreadable not JSON; the last good list stays in force", "True AllKinds 1 of 1 kinds were seen",
		},
		"an entry is not canonical": {
			truth{hash: "h", problems: []watchlist.Problem{noted}, kinds: []v1alpha1.ResourceStatus{pods}}, "1 1 7",
			"True NotCanonical whitelist entry 1 (po): taken as pods.v1.", "True AllKinds 1 of 1 kinds were seen",
		},
		"an entry is skipped": {
			truth{hash: "h", problems: []watchlist.Problem{noted, skipped}, kinds: []v1alpha1.ResourceStatus{pods}}, "1 1 7",
			"False EntriesSkipped Not used: whitelist entry 2 (7): nonsense. Used, but should be written otherwise: whitelist entry 1 (po): taken as pods.v1.",
			"True AllKinds 1 of 1 kinds were seen",
		},
		"kinds that cannot be had": {
			truth{
				hash: "h", kinds: []v1alpha1.ResourceStatus{pods, kind("secrets.v1.", v1alpha1.ResourceForbidden, 0)},
				missing: []watchlist.Missing{{Position: 3, Name: "foos.v1.example.com", Reason: "not served (yet)"}},
			}, "3 1 7",
			"True Understood Every entry of the watch-list is used",
			"True SomeKindsMissing 1 of 3 kinds were seen; may not be read: secrets.v1.; not served: foos.v1.example.com",
		},
		"a group does not answer": {
			truth{
				hash: "h", kinds: []v1alpha1.ResourceStatus{pods},
				missing: []watchlist.Missing{{Position: 3, Name: "foos.v1.example.com", Reason: "no answer", Silent: true}},
			}, "2 1 7",
			"True Understood Every entry of the watch-list is used",
			"False KindsFailing 1 of 2 kinds were seen; cannot be watched at the moment: foos.v1.example.com",
		},
		"a group does not answer, and its watch still runs": {
			truth{
				hash: "h", kinds: []v1alpha1.ResourceStatus{kind("foos.v1.example.com", v1alpha1.ResourceSynced, 1)},
				missing: []watchlist.Missing{{Position: 3, Name: "foos.v1.example.com", Reason: "no answer", Silent: true}},
			}, "1 1 1",
			"True Understood Every entry of the watch-list is used", "True AllKinds 1 of 1 kinds were seen",
		},
		"many are on their way": {
			truth{hash: "h", kinds: many}, "30 0 0",
			"True Understood Every entry of the watch-list is used",
			"False Syncing 0 of 30 kinds were seen; not seen as a whole yet: " + names(many[:20]) + ", and 10 more",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.truth.generation, test.truth.newest = 5, 6
			test.truth.lastSync = time.Unix(1, 0)
			status := test.truth.status()
			d := status.Discovery
			if got := fmt.Sprint(d.KindsWanted, d.KindsSynced, d.Objects); got != test.numbers {
				t.Errorf("numbers: got %s, want %s", got, test.numbers)
			}
			if d.Generation != 5 || d.ObservedWatchListHash != test.truth.hash || d.LastSyncTime.Unix() != 1 {
				t.Errorf("got %+v", d)
			}
			for i, want := range []string{test.valid, test.discovered} {
				condition := status.Conditions[i]
				if got := fmt.Sprintf("%s %s %s", condition.Status, condition.Reason, condition.Message); got != want {
					t.Errorf("%s\n got  %s\n want %s", condition.Type, got, want)
				}
				if condition.ObservedGeneration != 6 {
					t.Errorf("%s observed generation %d", condition.Type, condition.ObservedGeneration)
				}
			}
		})
	}
}

func names(kinds []v1alpha1.ResourceStatus) string {
	var all []string
	for _, kind := range kinds {
		all = append(all, kind.Resource)
	}
	return strings.Join(all, ", ")
}
