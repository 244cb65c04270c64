package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

type fakeDiscovery struct{ err error }

func (f fakeDiscovery) ServerGroupsAndResourcesWithContext(context.Context) ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return nil, []*metav1.APIResourceList{{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "pods", Kind: "Pod", Verbs: metav1.Verbs{"list", "watch"}}}}}, f.err
}

func TestDiscoverToleratesGroupsThatDoNotAnswer(t *testing.T) {
	broken := schema.GroupVersion{Group: "metrics.k8s.io", Version: "v1beta1"}
	served, err := discover(t.Context(), fakeDiscovery{&discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{broken: errors.New("no answer")}}})
	if err != nil || len(served.Kinds) != 1 || served.Silent[broken] == nil {
		t.Errorf("got %v, %v", served, err)
	}
	if _, err := discover(t.Context(), fakeDiscovery{errors.New("refused")}); err == nil {
		t.Error("no error although nothing answers")
	}
}

func TestCRDsSignalChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const widgets = "customresourcedefinitions//widgets.example.com"
		server := newAPIServer(t)
		server.put("customresourcedefinitions//others.example.com", "a")
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var signals []string
		var done sync.WaitGroup
		done.Go(func() {
			watchCRDs(ctx, server.client(t), func(kind schema.GroupResource, deleted bool) {
				mu.Lock()
				defer mu.Unlock()
				signals = append(signals, fmt.Sprintf("%s %t", kind, deleted))
			})
		})
		is := func(when string, want ...string) {
			t.Helper()
			pass(5 * time.Minute)
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(signals, want) {
				t.Errorf("%s: signals %v, want %v", when, signals, want)
			}
			signals = nil
		}
		is("what is there at first")
		server.put(widgets, "a")
		is("one is added", "widgets.example.com false")
		server.put(widgets, "a")
		is("it changes", "widgets.example.com false")
		server.compact()
		server.cut()
		is("all is listed again")
		server.delete(widgets)
		is("it is deleted", "widgets.example.com true")
		server.put(widgets, "b")
		is("it is there again", "widgets.example.com false")
		server.leave(errors.New("away"))
		server.delete(widgets)
		server.compact()
		server.comeBack()
		is("it was deleted while nobody looked", "widgets.example.com true")
		cancel()
		done.Wait()
	})
}
