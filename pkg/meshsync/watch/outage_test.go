package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

// away is an API server that can go away: it breaks the watches that there are and fails every request.
type away struct {
	client *fake.FakeDynamicClient
	reason atomic.Pointer[error]
	events atomic.Pointer[apiwatch.FakeWatcher] // of the last watch
}

func newAway() *away {
	a := &away{client: fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{configMaps: "ConfigMapList"})}
	a.client.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		reason := a.why()
		return reason != nil, nil, reason
	})
	a.client.PrependWatchReactor("*", func(clienttesting.Action) (bool, apiwatch.Interface, error) {
		if reason := a.why(); reason != nil {
			return true, nil, reason
		}
		events := apiwatch.NewFake()
		a.events.Store(events)
		return true, events, nil
	})
	return a
}

func (a *away) why() error {
	if reason := a.reason.Load(); reason != nil {
		return *reason
	}
	return nil
}

func (a *away) leave(reason error) {
	a.reason.Store(&reason)
	a.events.Load().Stop()
}

func (a *away) comeBack() { a.reason.Store(nil) }

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
				server := newAway()
				s := newTestSet(server.client, &recorder{})
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
				server.events.Load().Stop() // the ordinary end of a watch
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
		server, silence := newAway(), make(chan struct{})
		s := newTestSet(server.client, &recorder{})
		s.apply(t.Context(), wishFor(watchlist.Target{Resource: configMaps}))
		defer s.stop()
		w := s.covering(configMaps, "")
		pass(time.Second)
		server.client.PrependWatchReactor("*", func(clienttesting.Action) (bool, apiwatch.Interface, error) {
			<-silence
			return false, nil, nil
		})
		server.events.Load().Stop()
		pass(outagePatience - time.Second)
		if got, err := w.state(); got != v1alpha1.ResourceSynced {
			t.Errorf("for a moment: %s (%v)", got, err)
		}
		pass(3 * time.Second)
		if got, err := w.state(); got != v1alpha1.ResourceFailed || err.Error() != "the API server does not answer" {
			t.Errorf("for long: %s (%v)", got, err)
		}
		server.reason.Store(new(errors.New("the connection is lost")))
		close(silence)
		synctest.Wait()
		if got, err := w.state(); got != v1alpha1.ResourceFailed {
			t.Errorf("it then fails: %s (%v)", got, err)
		}
		server.comeBack()
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
		scheme := runtime.NewScheme()
		if err := metav1.AddMetaToScheme(scheme); err != nil {
			t.Fatal(err)
		}
		discovery := &silentDiscovery{}
		list, err := watchlist.Parse(map[string]string{"whitelist": `["unknown.v1."]`})
		if err != nil {
			t.Fatal(err)
		}
		w := New(Options{
			Dynamic: newAway().client, Metadata: metadatafake.NewSimpleMetadataClient(scheme), Discovery: discovery,
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
	client := newAway()
	w.dynamic = client.client
	objects := w.client().Resource(configMaps).Namespace("")
	client.reason.Store(new(error(apierrors.NewInvalid(schema.GroupKind{}, "", nil))))
	if _, err := objects.Watch(t.Context(), metav1.ListOptions{}); err == nil || w.failure.Load() != nil {
		t.Errorf("got %v, failure %v", err, w.failure.Load())
	}
	client.reason.Store(new(errors.New("away")))
	if _, err := objects.Watch(t.Context(), metav1.ListOptions{}); err == nil || w.failure.Load() == nil {
		t.Errorf("got %v, failure %v", err, w.failure.Load())
	}
}

func TestEachFailureCountsOnce(t *testing.T) {
	broken := errors.New("broken")
	tests := map[string]func(*away){
		"a list": func(a *away) { a.reason.Store(&broken) },
		"a watch": func(a *away) {
			a.client.PrependWatchReactor("*", func(clienttesting.Action) (bool, apiwatch.Interface, error) { return true, nil, broken })
		},
	}
	for name, breakIt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newAway()
				breakIt(server)
				s := newTestSet(server.client, &recorder{})
				s.apply(t.Context(), wishFor(watchlist.Target{Resource: configMaps}))
				defer s.stop()
				pass(500 * time.Millisecond) // the informer tries again after 800 ms at the earliest
				if failure := s.covering(configMaps, "").failure.Load(); failure == nil || !errors.Is(failure.err, broken) {
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
		server, silence := newAway(), make(chan struct{})
		s := newTestSet(server.client, &recorder{})
		s.apply(t.Context(), wishFor(watchlist.Target{Resource: configMaps}))
		defer s.stop()
		w := s.covering(configMaps, "")
		pass(time.Second)
		server.client.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			<-silence
			return false, nil, nil
		})
		server.events.Load().Error(&apierrors.NewResourceExpired("too old").ErrStatus)
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
		restarts, err := w.metrics.restarts.GetMetricWithLabelValues("configmaps.v1.", "Expired")
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
