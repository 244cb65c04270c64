package telemetry

import (
	"net/http"
	"strings"
	"testing"
)

func TestProfilesHaveAMuxOfTheirOwn(t *testing.T) {
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline", "/debug/pprof/symbol"} {
		if code, body := get(t, ProfilingHandler(), path); code != http.StatusOK || body == "" {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	never := func() error { return nil }
	for name, handler := range map[string]http.Handler{
		"metrics": MetricsHandler(NewRegistry("test")), "health": HealthHandler(never), "both": Handler(NewRegistry("test"), never),
	} {
		if code, body := get(t, handler, "/debug/pprof/"); code != http.StatusNotFound {
			t.Errorf("%s also serves profiles: %d %s", name, code, strings.SplitN(body, "\n", 2)[0])
		}
	}
}
