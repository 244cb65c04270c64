package status

import (
	"cmp"
	"slices"
	"strings"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

const (
	// maxKinds is how many kinds status names. The numbers count all.
	maxKinds = 50
	// maxMessage is how many bytes there are at most to a kind's message.
	maxMessage = 256
)

// worst returns the kinds to name: the worst, and of those that are as bad the first by name, so that numbers do not change which.
func worst(kinds []v1alpha1.ResourceStatus) []v1alpha1.ResourceStatus {
	kinds = slices.Clone(kinds)
	slices.SortFunc(kinds, func(a, b v1alpha1.ResourceStatus) int {
		return cmp.Or(cmp.Compare(slices.Index(v1alpha1.ResourceStates, b.State), slices.Index(v1alpha1.ResourceStates, a.State)), strings.Compare(a.Resource, b.Resource))
	})
	kinds = kinds[:min(len(kinds), maxKinds)]
	for i := range kinds {
		if message := kinds[i].Message; len(message) > maxMessage {
			kinds[i].Message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
		}
	}
	return kinds
}
