package operator

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// firstMajor is the major version of our agent's first release. What is below is the existing agent, which this operator cannot
// run: it reads other names, as another account.
const firstMajor = 2

// earlierTags are the tags that move with the releases of the existing agent.
var earlierTags = []string{"stable-latest", "edge-latest"}

// meshSyncImage is what the agent runs. replaced means that spec.version names a release of the existing agent, which old
// resources and Meshery Server do, and that the operator's own image runs instead.
func meshSyncImage(meshSync *v1alpha1.MeshSync, options *Options) (image string, replaced bool) {
	tag := meshSync.Spec.Version
	release, err := version.ParseSemantic(tag)
	switch {
	case slices.Contains(earlierTags, tag), err == nil && release.Major() < firstMajor:
		return options.MeshSyncImage, true
	case err == nil:
		return imageWithTag(options.MeshSyncImage, strings.TrimPrefix(tag, "v")), false
	default:
		return imageWithTag(options.MeshSyncImage, tag), false
	}
}

func versionWarnings(meshSync *v1alpha1.MeshSync, options *Options) []finding {
	image, replaced := meshSyncImage(meshSync, options)
	if !replaced {
		return nil
	}
	return []finding{{v1alpha1.ReasonVersionReplaced, fmt.Sprintf(
		"spec.version %s is a release of an earlier agent, which this operator cannot run; %s runs instead: remove spec.version, or name a release from %d.0.0 on",
		meshSync.Spec.Version, image, firstMajor)}}
}
