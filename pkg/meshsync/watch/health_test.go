package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

// pass lets time go by, in a bubble where that takes none.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestOutagesCountAgainstReadiness(t *testing.T) {
	refusedConnection := fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	tests := map[string]struct {
		reason error
		want   v1alpha1.ResourceState // after a while
	}{
		"connections are refused":  {refusedConnection, v1alpha1.ResourceFailed}, // the informer does not report this one
		"the API server is silent": {errors.New("TLS handshake timeout"), v1alpha1.ResourceFailed},
		"it has too much to do":    {apierrors.NewTooManyRequests("later", 0), v1alpha1.ResourceFailed},
		"permission is withdrawn":  {apierrors.NewForbidden(configMaps.GroupResource(), "", nil), v1alpha1.ResourceForbidden},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newAPIServer(t)
				s := newTestSet(server.client(t), &recorder{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s.apply(ctx, wishFor(watchlist.Target{Resource: configMaps, Events: watchlist.AllEvents}))
				defer s.stop()
				w := s.covering(configMaps, "")
				is := func(when string, want v1alpha1.ResourceState) {
					t.Helper()
					if got, err := w.state(); got != want {
						t.Errorf("%s: %s (%v), want %s", when, got, err, want)
					}
				}
				pass(time.Second)
				is("at first", v1alpha1.ResourceSynced)
				server.cut() // the ordinary end of a watch
				for range 60 {
					pass(time.Second)
					is("a watch that ended is begun again", v1alpha1.ResourceSynced)
				}
				server.leave(test.reason)
				if test.want == v1alpha1.ResourceFailed {
					pass(outagePatience - time.Second)
					is("for a moment", v1alpha1.ResourceSynced)
				}
				pass(2 * time.Minute)
				is("for long", test.want)
				server.comeBack()
				pass(2 * time.Minute) // the informer waits up to one
				is("again", v1alpha1.ResourceSynced)
				server.leave(test.reason)
				if test.want == v1alpha1.ResourceFailed {
					pass(time.Second)
					is("the next outage is another one", v1alpha1.ResourceSynced)
				}
			})
		})
	}
}

// TestSilenceCountsAgainstReadiness has a server that takes a request and then says nothing for a long time.
func TestSilenceCountsAgainstReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, silence := newAPIServer(t), make(chan struct{})
		s := newTestSet(server.client(t), &recorder{})
		s.apply(t.Context(), wishFor(watchlist.Target{Resource: configMaps}))
		defer s.stop()
		w := s.covering(configMaps, "")
		pass(time.Second)
		server.answer(func(w http.ResponseWriter, _ *http.Request) bool {
			<-silence
			refuse(w, apierrors.NewServiceUnavailable("its store is lost"))
			return true
		})
		server.cut()
		pass(outagePatience - time.Second)
		if got, err := w.state(); got != v1alpha1.ResourceSynced {
			t.Errorf("for a moment: %s (%v)", got, err)
		}
		pass(3 * time.Second)
		if got, err := w.state(); got != v1alpha1.ResourceFailed || err.Error() != "the API server does not answer" {
			t.Errorf("for long: %s (%v)", got, err)
		}
		close(silence)
		synctest.Wait()
		if got, err := w.state(); got != v1alpha1.ResourceFailed || !strings.Contains(err.Error(), "its store is lost") {
			t.Errorf("it then fails: %s (%v)", got, err)
		}
		server.answer(nil)
		pass(2 * time.Minute)
		if got, err := w.state(); got != v1alpha1.ResourceSynced {
			t.Errorf("again: %s (%v)", got, err)
		}
	})
}

// TestWatchesThatBreakOffAtOnceAreNoRecovery has a server that accepts every watch and then cannot list.
func TestWatchesThatBreakOffAtOnceAreNoRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
		failing := errors.New("conversion webhook")
		w.watchFailed(failing)
		began := time.Now()
		for time.Since(began) < outagePatience {
			pass(10 * time.Second)
			w.accepted()
			pass(time.Second)
			w.watchFailed(failing)
		}
		if failure := w.failure.Load(); !failure.since.Equal(began) {
			t.Errorf("the failure began %s ago, want %s", time.Since(failure.since), time.Since(began))
		}
		w.accepted()
		pass(probation)
		if !w.failure.Load().over(time.Now()) {
			t.Error("a watch that lasts ends the failure")
		}
	})
}

// silentDiscovery answers until it is told not to.
type silentDiscovery struct {
	fakeDiscovery
	silent atomic.Bool
}

func (d *silentDiscovery) ServerGroupsAndResourcesWithContext(ctx context.Context) ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	if d.silent.Load() {
		return nil, nil, errors.New("no answer")
	}
	return d.fakeDiscovery.ServerGroupsAndResourcesWithContext(ctx)
}

func TestDiscoveryThatFailsForLongCountsAgainstReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		discovery := &silentDiscovery{}
		list, err := watchlist.Parse(map[string]string{"whitelist": `["unknown.v1."]`})
		if err != nil {
			t.Fatal(err)
		}
		w := New(Options{
			Client: newAPIServer(t).client(t), Discovery: discovery,
			List: Fixed(list), Sink: &recorder{}, Metrics: prometheus.NewRegistry(),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.Run(ctx)
		}()
		pass(10 * time.Minute)
		if err := w.Ready(); err != nil {
			t.Errorf("at first: %v", err)
		}
		discovery.silent.Store(true)
		w.definitionChanged(schema.GroupResource{}, false)
		pass(outagePatience)
		if err := w.Ready(); err != nil {
			t.Errorf("for a moment: %v", err)
		}
		pass(time.Second)
		if err := w.Ready(); err == nil || !strings.Contains(err.Error(), "no answer") {
			t.Errorf("for long: %v", err)
		}
		pass(10 * time.Minute)
		discovery.silent.Store(false)
		pass(retryInterval)
		if err := w.Ready(); err != nil {
			t.Errorf("again: %v", err)
		}
		cancel()
		<-done
	})
}

func TestServersThatCannotStreamListsAreNotFailing(t *testing.T) {
	w, _ := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
	server := &answers{errs: []error{apierrors.NewInvalid(schema.GroupKind{}, "", nil), errors.New("away")}}
	begin := func() error {
		_, err := observed{server, w.health}.watch(t.Context(), metav1.ListOptions{}, asItIs)
		return err
	}
	if err := begin(); err == nil || w.failure.Load() != nil {
		t.Errorf("got %v, failure %v", err, w.failure.Load())
	}
	if err := begin(); err == nil || w.failure.Load() == nil {
		t.Errorf("got %v, failure %v", err, w.failure.Load())
	}
}

// TestAFailureThatComesWithTheFirstEventIsNotOver: an API server accepts a watch before it looks what there is to tell.
func TestAFailureThatComesWithTheFirstEventIsNotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
		failing := &apierrors.NewInternalError(errors.New("conversion webhook")).ErrStatus
		began := time.Now()
		for range 3 {
			server := told{&answers{}, func(see func(apiwatch.Event), _ <-chan struct{}) {
				see(apiwatch.Event{Type: apiwatch.Error, Object: failing})
			}}
			stream, err := observed{server, w.health}.watch(t.Context(), metav1.ListOptions{}, asItIs)
			if err != nil {
				t.Fatal(err)
			}
			stream.Stop()
			pass(time.Minute)
		}
		if failure := w.failure.Load(); failure == nil || failure.over(time.Now()) || !failure.since.Equal(began) {
			t.Errorf("the failure is %+v", failure)
		}
	})
}

func TestEachFailureCountsOnce(t *testing.T) {
	broken := errors.New("broken")
	tests := map[string]func(*apiServer){
		"a list": func(s *apiServer) { s.leave(broken) },
		"a watch": func(s *apiServer) {
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if isWatch(r) {
					refuse(w, apierrors.NewInternalError(broken))
				}
				return isWatch(r)
			})
		},
	}
	for name, breakIt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newAPIServer(t)
				server.noStreamingLists = true
				breakIt(server)
				s := newTestSet(server.client(t), &recorder{})
				s.apply(t.Context(), wishFor(watchlist.Target{Resource: configMaps}))
				defer s.stop()
				pass(500 * time.Millisecond) // the informer tries again after 800 ms at the earliest
				if failure := s.covering(configMaps, "").failure.Load(); failure == nil || !strings.Contains(failure.err.Error(), "broken") {
					t.Errorf("the failure is %v", failure)
				}
				registry := prometheus.NewRegistry()
				registry.MustRegister(s.metrics.errors)
				families, err := registry.Gather()
				if err != nil || len(families) != 1 || families[0].GetMetric()[0].GetCounter().GetValue() != 1 {
					t.Errorf("counted %v, %v; want 1", families, err)
				}
			})
		})
	}
}

// TestAListThatDoesNotComeCountsAgainstReadiness has a server that says that a watch cannot go on, and does not answer the list then.
func TestAListThatDoesNotComeCountsAgainstReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, silence := newAPIServer(t), make(chan struct{})
		server.noStreamingLists = true
		server.put("configmaps/demo/x", "a")
		s := newTestSet(server.client(t), &recorder{})
		s.apply(t.Context(), wishFor(watchlist.Target{Resource: configMaps}))
		defer s.stop()
		w := s.covering(configMaps, "")
		pass(time.Second)
		server.answer(func(_ http.ResponseWriter, r *http.Request) bool {
			if !isWatch(r) {
				<-silence
			}
			return false
		})
		server.put("secrets/demo/x", "a")
		server.compact()
		server.cut()
		pass(outagePatience - time.Second)
		if got, err := w.state(); got != v1alpha1.ResourceSynced {
			t.Errorf("for a moment: %s (%v)", got, err)
		}
		pass(4 * time.Second) // the informer waits before it lists
		if got, err := w.state(); got != v1alpha1.ResourceFailed || err.Error() != "the API server does not answer" {
			t.Errorf("for long: %s (%v)", got, err)
		}
		close(silence)
		synctest.Wait()
		if got, err := w.state(); got != v1alpha1.ResourceSynced {
			t.Errorf("again: %s (%v)", got, err)
		}
		restarts, err := w.shared.metrics.restarts.GetMetricWithLabelValues("configmaps.v1.", "Expired")
		if err != nil || valueOf(t, restarts) != 1 {
			t.Errorf("the reason is not counted: %v", err)
		}
	})
}

func valueOf(t *testing.T, counter prometheus.Counter) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(counter)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%v, %v", families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

func TestStates(t *testing.T) {
	kind := schema.GroupResource{Resource: "configmaps"}
	tests := map[string]struct {
		errs    []error
		want    v1alpha1.ResourceState
		waitFor bool // it counts against readiness
	}{
		"not heard of":             {nil, v1alpha1.ResourceSyncing, true},
		"forbidden":                {[]error{apierrors.NewForbidden(kind, "", nil)}, v1alpha1.ResourceForbidden, false},
		"not served":               {[]error{apierrors.NewNotFound(kind, "")}, v1alpha1.ResourceNotServed, false},
		"cannot be watched":        {[]error{apierrors.NewMethodNotSupported(kind, "watch")}, v1alpha1.ResourceNotServed, false},
		"a selector is refused":    {[]error{apierrors.NewBadRequest("field label not supported")}, v1alpha1.ResourceFailed, false},
		"the API server is away":   {[]error{errors.New("connection refused")}, v1alpha1.ResourceFailed, true},
		"not logged in":            {[]error{apierrors.NewUnauthorized("")}, v1alpha1.ResourceFailed, true},
		"away after forbidden":     {[]error{apierrors.NewForbidden(kind, "", nil), errors.New("connection refused")}, v1alpha1.ResourceFailed, true},
		"a watch that was too old": {[]error{apierrors.NewResourceExpired("too old"), io.EOF}, v1alpha1.ResourceSyncing, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, _ := newTestWatch(watchlist.Target{Events: watchlist.AllEvents})
			for _, err := range test.errs {
				w.watchFailed(err)
			}
			if got, _ := w.state(); got != test.want || (w.missing() != nil) != test.waitFor {
				t.Errorf("got %s, %v; want %s", got, w.missing(), test.want)
			}
		})
	}
}
