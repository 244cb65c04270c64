package telemetry

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"
)

// startServer serves on a free port and returns its address.
func startServer(t *testing.T, handler http.Handler) (addr string, stop func(), stopped <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = listener.Addr().String()
	listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, addr, handler) }()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr, cancel, done
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	addr, _, _ := startServer(t, http.NotFoundHandler())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	var silent []net.Conn
	for range maxConnections {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	if err := get(300 * time.Millisecond); err == nil {
		t.Errorf("connection %d was answered", maxConnections+1)
	}
	silent[0].Close()
	if err := get(readHeaderTimeout / 2); err != nil {
		t.Errorf("after one ended: %v", err)
	}
}

// A request that never ends does not outlive the server.
func TestTheEndBreaksOffWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	asked, brokenOff := make(chan struct{}), make(chan struct{})
	addr, stop, stopped := startServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(brokenOff)
	}))
	go func() {
		if response, err := http.Get("http://" + addr); err == nil {
			response.Body.Close()
		}
	}()
	<-asked
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	select {
	case <-brokenOff:
	case <-time.After(5 * time.Second):
		t.Error("the request goes on")
	}
}
