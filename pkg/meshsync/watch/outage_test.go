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
		want   state // after a while
	}{
		"connections are refused":  {refusedConnection, pending}, // the informer does not report this one
		"the API server is silent": {errors.New("TLS handshake timeout"), pending},
		"it has too much to do":    {apierrors.NewTooManyRequests("later", 0), pending},
		"permission is withdrawn":  {apierrors.NewForbidden(configMaps.GroupResource(), "", nil), refused},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, sink := newAway(), &recorder{}
				s := newSet(server.client, nil, sink, newMetrics(prometheus.NewRegistry()))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s.apply(ctx, []Target{{Resource: configMaps, Events: watchlist.AllEvents}}, nil)
				defer s.stop()
				w := s.get(configMaps)
				is := func(when string, want state) {
					t.Helper()
					if got, err := w.state(); got != want {
						t.Errorf("%s: %s (%v), want %s", when, got, err, want)
					}
				}
				pass(time.Second)
				is("at first", synced)
				server.events.Load().Stop() // the ordinary end of a watch
				for range 60 {
					pass(time.Second)
					is("a watch that ended is begun again", synced)
				}
				server.leave(test.reason)
				if test.want == pending {
					pass(outagePatience - time.Second)
					is("for a moment", synced)
				}
				pass(2 * time.Minute)
				is("for long", test.want)
				server.comeBack()
				pass(2 * time.Minute) // the informer waits up to one
				is("again", synced)
				server.leave(test.reason)
				if test.want == pending {
					pass(time.Second)
					is("the next outage is another one", synced)
				}
			})
		})
	}
}

// TestSilenceCountsAgainstReadiness has a server that takes a request and then says nothing for a long time.
func TestSilenceCountsAgainstReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, silence := newAway(), make(chan struct{})
		s := newSet(server.client, nil, &recorder{}, newMetrics(prometheus.NewRegistry()))
		s.apply(t.Context(), []Target{{Resource: configMaps}}, nil)
		defer s.stop()
		w := s.get(configMaps)
		pass(time.Second)
		server.client.PrependWatchReactor("*", func(clienttesting.Action) (bool, apiwatch.Interface, error) {
			<-silence
			return false, nil, nil
		})
		server.events.Load().Stop()
		pass(outagePatience - time.Second)
		if got, err := w.state(); got != synced {
			t.Errorf("for a moment: %s (%v)", got, err)
		}
		pass(3 * time.Second)
		if got, err := w.state(); got != pending || err.Error() != "the API server does not answer" {
			t.Errorf("for long: %s (%v)", got, err)
		}
		server.reason.Store(new(errors.New("the connection is lost")))
		close(silence)
		synctest.Wait()
		if got, err := w.state(); got != pending {
			t.Errorf("it then fails: %s (%v)", got, err)
		}
		server.comeBack()
		pass(2 * time.Minute)
		if got, err := w.state(); got != synced {
			t.Errorf("again: %s (%v)", got, err)
		}
	})
}

// TestWatchesThatBreakOffAtOnceAreNoRecovery has a server that accepts every watch and then cannot list.
func TestWatchesThatBreakOffAtOnceAreNoRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newTestWatch(watchlist.AllEvents)
		failing := errors.New("conversion webhook")
		w.watchFailed(t.Context(), failing)
		began := time.Now()
		for time.Since(began) < outagePatience {
			pass(10 * time.Second)
			w.accepted()
			pass(time.Second)
			w.watchFailed(t.Context(), failing)
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
		list, _, err := watchlist.Parse(map[string]string{"whitelist": `["unknown.v1."]`})
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
		w.signal()
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
	w, _ := newTestWatch(watchlist.AllEvents)
	client := newAway()
	objects := observedClient{client.client, w}.Resource(configMaps).Namespace("")
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
				server, registry := newAway(), prometheus.NewRegistry()
				breakIt(server)
				s := newSet(server.client, nil, &recorder{}, newMetrics(registry))
				s.apply(t.Context(), []Target{{Resource: configMaps}}, nil)
				defer s.stop()
				pass(500 * time.Millisecond) // the informer tries again after 800 ms at the earliest
				if failure := s.get(configMaps).failure.Load(); failure == nil || !errors.Is(failure.err, broken) {
					t.Errorf("the failure is %v", failure)
				}
				families, err := registry.Gather()
				if err != nil {
					t.Fatal(err)
				}
				for _, family := range families {
					if n := family.GetMetric()[0].GetCounter().GetValue(); family.GetName() == "meshery_meshsync_watch_errors_total" && n != 1 {
						t.Errorf("counted %v times", n)
					}
				}
			})
		})
	}
}
