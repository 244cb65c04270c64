package operator

import (
	"strings"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

// watchListOf is the watch-list of a MeshSync, and the field where it stands: informer_config where watch-list says nothing. The
// two are never mixed: Meshery Server sends both keys of watch-list, and an empty one means that there is none.
func watchListOf(meshSync *v1alpha1.MeshSync) (field string, data map[string]string) {
	data, older := meshSync.Spec.WatchList.Data, olderWatchList(meshSync)
	if older != nil && watchlist.Empty(data) && !watchlist.Empty(older.Data) {
		return "spec.informer_config", older.Data
	}
	return "spec.watch-list", data
}

func olderWatchList(meshSync *v1alpha1.MeshSync) *v1alpha1.WatchList {
	return meshSync.Spec.InformerConfig //nolint:staticcheck // deprecated for users, who may still have it
}

// checkWatchList refuses a watch-list that cannot be read at all: the agent keeps the last good one.
func checkWatchList(meshSync *v1alpha1.MeshSync) error {
	field, data := watchListOf(meshSync)
	if _, _, err := watchlist.Parse(data); err != nil {
		return &unavailable{reason: v1alpha1.ReasonWatchListInvalid, message: field + ": " + err.Error() + "; the last good list stays in force"}
	}
	return nil
}

func watchListWarnings(meshSync *v1alpha1.MeshSync) []finding {
	var findings []finding
	field, data := watchListOf(meshSync)
	_, problems, _ := watchlist.Parse(data) // an error is checkWatchList's
	if len(problems) > 0 {
		texts := make([]string, 0, len(problems))
		for _, problem := range problems {
			texts = append(texts, problem.String())
		}
		findings = append(findings, finding{v1alpha1.ReasonWatchListEntries, field + " has entries that are skipped: " + strings.Join(texts, "; ")})
	}
	if olderWatchList(meshSync) != nil {
		findings = append(findings, deprecatedWarning(field))
	}
	return findings
}

func deprecatedWarning(used string) finding {
	message := "spec.informer_config is an older name of spec.watch-list: move its data there"
	if used == "spec.watch-list" {
		message = "spec.informer_config is an older name of spec.watch-list and says nothing that is used: remove it"
	}
	return finding{v1alpha1.ReasonDeprecatedField, message}
}
