package telemetry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/util/workqueue"
)

func get(t *testing.T, handler http.Handler, path string) (int, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder.Code, recorder.Body.String()
}

func TestReadinessSaysWhyNot(t *testing.T) {
	var reason error
	handler := Handler(NewRegistry("test"), func() error { return reason })
	if code, body := get(t, handler, "/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d %s", code, body)
	}
	reason = errors.Join(errors.New("no broker"), errors.New("pods not synced"))
	if code, body := get(t, handler, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no broker\npods not synced") {
		t.Errorf("not ready: %d %s", code, body)
	}
	if code, _ := get(t, handler, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz while not ready: %d, want 200", code)
	}
}

func TestMetricsShowBuildAndWorkqueues(t *testing.T) {
	registry := NewRegistry("test")
	queue := workqueue.NewTypedRateLimitingQueueWithConfig(workqueue.DefaultTypedControllerRateLimiter[string](),
		workqueue.TypedRateLimitingQueueConfig[string]{Name: "things", MetricsProvider: NewWorkqueueMetrics(registry, "meshery_test")})
	defer queue.ShutDown()
	queue.Add("a")
	_, body := get(t, MetricsHandler(registry), "/metrics")
	for _, want := range []string{"meshery_test_build_info{", `meshery_test_workqueue_adds_total{name="things"} 1`, "go_goroutines"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

func TestServeAnswersUntilItIsToldToStop(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := Serve(t.Context(), addr, http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("a port that is taken: got %v, want an error that names it", err)
	}
	listener.Close()

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	asked := make(chan struct{})
	go func() {
		done <- Serve(ctx, addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			cancel() // a request that is under way at the end is still answered
			<-asked
			_, _ = io.WriteString(w, "hello")
		}))
	}()
	close(asked)
	var response *http.Response
	for response == nil {
		response, err = http.Get("http://" + addr)
		if err != nil && ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || string(body) != "hello" {
		t.Errorf("got %q, %v", body, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
