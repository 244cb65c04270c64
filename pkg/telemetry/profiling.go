package telemetry

import (
	"net/http"
	"net/http/pprof" // also registers with http.DefaultServeMux, which nothing here serves
)

// ProfilingHandler serves Go's profiles under /debug/pprof/. Give it a port of its own that only its user can reach: whoever asks
// for a profile slows the process down and sees its command line.
func ProfilingHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	return mux
}
