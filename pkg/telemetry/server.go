package telemetry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"k8s.io/klog/v2"
)

const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second // pprof adds to it the seconds that it is asked for
	idleTimeout       = 30 * time.Second
	shutdownTimeout   = 3 * time.Second
	maxHeaderBytes    = 64 << 10 // a token, generously
	// Further connections wait until one ends, which the timeouts above see to.
	maxConnections = 64
	// maxStreams is how many requests one connection of HTTP/2 may have at a time.
	maxStreams = 16
)

// MetricsHandler serves /metrics from the gatherer.
func MetricsHandler(gatherer prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	return mux
}

// HealthHandler serves /healthz, which answers 200 as long as the process serves at all, and /readyz, which answers 200
// while ready returns nil, and otherwise 503 with the error as its body.
func HealthHandler(ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	return mux
}

// Handler serves both: /metrics, /healthz and /readyz.
func Handler(gatherer prometheus.Gatherer, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", MetricsHandler(gatherer))
	mux.Handle("/", HealthHandler(ready))
	return mux
}

// Serve answers on addr until ctx ends, then lets running requests finish for a few seconds and breaks off the others. It returns
// an error only when it could not listen or stopped serving early.
func Serve(ctx context.Context, addr string, handler http.Handler) error {
	return serve(ctx, addr, handler, nil)
}

// ServeTLS is Serve over TLS, with HTTP/2 for who wants it.
func ServeTLS(ctx context.Context, addr string, handler http.Handler, config *tls.Config) error {
	return serve(ctx, addr, handler, config)
}

func serve(ctx context.Context, addr string, handler http.Handler, config *tls.Config) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	listener = netutil.LimitListener(listener, maxConnections)
	server := &http.Server{
		Handler: handler, TLSConfig: config, MaxHeaderBytes: maxHeaderBytes, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		// Port scans and probes break off handshakes all the time: nothing that a log should be full of.
		ErrorLog: log.New(verboseLog{klog.FromContext(ctx)}, "", 0),
	}
	stopped := make(chan error, 1)
	go func() {
		if config == nil {
			stopped <- server.Serve(listener)
		} else {
			stopped <- server.ServeTLS(listener, "", "")
		}
	}()

	select {
	case err := <-stopped:
		return fmt.Errorf("serve HTTP on %s: %w", addr, err)
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err = server.Shutdown(deadline)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("stop serving HTTP on %s: %w", addr, err)
	}
	if err := <-stopped; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", addr, err)
	}
	return nil
}

// verboseLog takes what the HTTP server has to say.
type verboseLog struct{ logger klog.Logger }

func (l verboseLog) Write(line []byte) (int, error) {
	l.logger.V(4).Info("HTTP server", "message", strings.TrimSpace(string(line)))
	return len(line), nil
}
