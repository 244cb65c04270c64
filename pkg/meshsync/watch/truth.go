package watch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

// maxNamed is how many kinds or entries a condition names.
const maxNamed = 20

// truth is what is known of what is watched.
type truth struct {
	hash       string // of the list in force; empty for none
	generation int64  // of the MeshSync that it is from
	newest     int64  // generation that has come in
	listErr    error  // why what was asked for last cannot be read
	targets    []watchlist.Target
	missing    []watchlist.Missing
	problems   []watchlist.Problem
	kinds      []v1alpha1.ResourceStatus
	lookErr    error // why it is not known what the API server serves
	lastSync   time.Time
}

// status is the part of a MeshSync's status that tells the truth: all kinds, sorted by name, and conditions without times.
func (t truth) status() v1alpha1.MeshSyncStatus {
	kinds := t.allKinds()
	discovery := &v1alpha1.MeshSyncDiscoveryStatus{
		ObservedWatchListHash: t.hash,
		Generation:            t.generation,
		KindsWanted:           int32(len(kinds)), //nolint:gosec // no cluster has that many
	}
	for _, kind := range kinds {
		discovery.Objects += kind.Objects
		if kind.State == v1alpha1.ResourceSynced {
			discovery.KindsSynced++
		}
	}
	if !t.lastSync.IsZero() {
		discovery.LastSyncTime = new(metav1.NewTime(t.lastSync))
	}
	return v1alpha1.MeshSyncStatus{
		Discovery:  discovery,
		Resources:  kinds,
		Conditions: []metav1.Condition{t.watchListValid(), t.discovered(kinds)},
	}
}

// allKinds are those that are watched, or would be, and those that are named and not served.
func (t truth) allKinds() []v1alpha1.ResourceStatus {
	kinds := slices.Clone(t.kinds)
	for i := range kinds {
		kinds[i].Message = t.whereNamed(kinds[i])
	}
	for _, entry := range t.missing {
		one := v1alpha1.ResourceStatus{Resource: entry.Name, State: v1alpha1.ResourceNotServed, Message: atEntry(entry.Position, entry.Reason)}
		if entry.Silent {
			one.State = v1alpha1.ResourceFailed
		}
		if !slices.ContainsFunc(kinds, func(known v1alpha1.ResourceStatus) bool { return known.Resource == one.Resource }) {
			kinds = append(kinds, one)
		}
	}
	return kinds
}

// whereNamed says of a kind that cannot be watched which entry names it, and why it cannot.
func (t truth) whereNamed(kind v1alpha1.ResourceStatus) string {
	if kind.State == v1alpha1.ResourceSynced || kind.State == v1alpha1.ResourceSyncing {
		return kind.Message
	}
	for _, target := range t.targets {
		if watchlist.Format(target.Resource) == kind.Resource {
			return atEntry(target.Position, kind.Message)
		}
	}
	return kind.Message
}

func atEntry(position int, message string) string {
	if position == 0 {
		return message
	}
	return fmt.Sprintf("whitelist entry %d: %s", position, message)
}

func (t truth) watchListValid() metav1.Condition {
	condition := metav1.Condition{
		Type: v1alpha1.ConditionWatchListValid, Status: metav1.ConditionTrue, ObservedGeneration: t.newest,
		Reason: v1alpha1.ReasonWatchListUnderstood, Message: "Every entry of the watch-list is used",
	}
	var skipped, noted []string
	for _, problem := range t.problems {
		if problem.Skipped {
			skipped = append(skipped, problem.String())
		} else {
			noted = append(noted, problem.String())
		}
	}
	switch {
	case t.listErr != nil:
		condition.Status, condition.Reason = metav1.ConditionFalse, v1alpha1.ReasonWatchListUnreadable
		condition.Message = t.listErr.Error() + "; the last good list stays in force"
		if t.hash == "" {
			condition.Message = t.listErr.Error() + "; nothing is watched"
		}
	case t.hash == "":
		condition.Status, condition.Reason, condition.Message = metav1.ConditionUnknown, v1alpha1.ReasonSyncing, "The watch-list has not been read yet"
	case len(skipped) > 0:
		condition.Status, condition.Reason = metav1.ConditionFalse, v1alpha1.ReasonWatchListEntriesSkipped
		condition.Message = "Not used: " + enumerate(skipped, "; ")
		if len(noted) > 0 {
			condition.Message += ". Used, but should be written otherwise: " + enumerate(noted, "; ")
		}
	case len(noted) > 0:
		condition.Reason, condition.Message = v1alpha1.ReasonWatchListNotCanonical, enumerate(noted, "; ")
	}
	return condition
}

func (t truth) discovered(kinds []v1alpha1.ResourceStatus) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionDiscovered, Status: metav1.ConditionFalse, ObservedGeneration: t.newest}
	in := map[v1alpha1.ResourceState][]string{}
	for _, kind := range kinds {
		in[kind.State] = append(in[kind.State], kind.Resource)
	}
	var but []string
	say := func(what string, state v1alpha1.ResourceState) {
		if names := in[state]; len(names) > 0 {
			but = append(but, what+": "+enumerate(names, ", "))
		}
	}
	say("cannot be watched at the moment", v1alpha1.ResourceFailed)
	say("not seen as a whole yet", v1alpha1.ResourceSyncing)
	say("may not be read", v1alpha1.ResourceForbidden)
	say("not served", v1alpha1.ResourceNotServed)
	seen := fmt.Sprintf("%d of %d kinds were seen", len(in[v1alpha1.ResourceSynced]), len(kinds))
	condition.Message = strings.Join(append([]string{seen}, but...), "; ")
	switch {
	case t.hash == "":
		condition.Reason, condition.Message = v1alpha1.ReasonSyncing, "The watch-list has not been read yet"
	case t.lookErr != nil:
		condition.Reason, condition.Message = v1alpha1.ReasonKindsFailing, t.lookErr.Error()
	case len(in[v1alpha1.ResourceFailed]) > 0:
		condition.Reason = v1alpha1.ReasonKindsFailing
	case len(in[v1alpha1.ResourceSyncing]) > 0:
		condition.Reason = v1alpha1.ReasonSyncing
	case len(but) > 0:
		condition.Status, condition.Reason = metav1.ConditionTrue, v1alpha1.ReasonSomeKindsMissing
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, v1alpha1.ReasonAllKinds
	}
	return condition
}

// enumerate names some, and says how many more there are.
func enumerate(names []string, separator string) string {
	if len(names) > maxNamed {
		names = append(slices.Clone(names[:maxNamed]), fmt.Sprintf("and %d more", len(names)-maxNamed))
	}
	return strings.Join(names, separator)
}
