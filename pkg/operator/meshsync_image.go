package operator

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// firstMajor is the major version of our agent's first release. What is below is the existing agent, which this operator cannot
// run: it reads other names, as another account.
const firstMajor = 2

// meshSyncImage is what the agent runs. replaced means that spec.version names a release of the existing agent, which old
// resources and Meshery Server do, and that the operator's own image runs instead.
func meshSyncImage(meshSync *v1alpha1.MeshSync, options *Options) (image string, replaced bool) {
	tag := meshSync.Spec.Version
	if earlierTag(tag) {
		return options.MeshSyncImage, true
	}
	if _, err := version.ParseSemantic(tag); err == nil {
		tag = strings.TrimPrefix(tag, "v")
	}
	return imageWithTag(options.MeshSyncImage, tag), false
}

// earlierTag reports whether a tag is one that the existing agent was published with: 1.2.3, v1.2.3, 1.2, v1.2, stable-latest,
// stable-v1.2.3, edge-1f2e3d4 and the like. A date, a commit or a number alone is the user's own.
func earlierTag(tag string) bool {
	if release, err := version.ParseSemantic(tag); err == nil {
		return release.Major() < firstMajor
	}
	release, err := version.ParseGeneric(tag)
	short := err == nil && release.String() == strings.TrimPrefix(tag, "v") // a generic version may have anything behind it
	return short && release.Major() < firstMajor || strings.HasPrefix(tag, "stable-") || strings.HasPrefix(tag, "edge-")
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
