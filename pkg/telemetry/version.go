package telemetry

import "runtime/debug"

// version is set by the linker in release builds: -X meshery.io/operator/pkg/telemetry.version=v1.2.3.
var version string

// Version is the release that this binary was built as, else the VCS revision it was built from, else "dev".
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return "dev"
}
