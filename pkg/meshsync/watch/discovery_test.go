package watch

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
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
	scheme := runtime.NewScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	definition := func(version string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
			ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com", ResourceVersion: version},
		}
	}
	client := fake.NewSimpleMetadataClient(scheme)
	definitions := client.Resource(crds).(fake.MetadataClient)
	ctx, cancel := context.WithCancel(t.Context())
	watching := make(chan struct{})
	client.PrependWatchReactor("*", func(clienttesting.Action) (bool, apiwatch.Interface, error) {
		w, err := client.Tracker().Watch(crds, "")
		close(watching)
		return true, w, err
	})
	var gone atomic.Bool
	changed, done := make(chan struct{}, 10), make(chan struct{})
	go func() {
		defer close(done)
		watchCRDs(ctx, dynamicfake.NewSimpleDynamicClient(scheme), client, func(kind schema.GroupResource, deleted bool) {
			if want := (schema.GroupResource{Group: "example.com", Resource: "widgets"}); kind != want || deleted != gone.Load() {
				t.Errorf("%v was changed, deleted: %t", kind, deleted)
			}
			changed <- struct{}{}
		})
	}()
	wait := func(signal <-chan struct{}) {
		t.Helper()
		select {
		case <-signal:
		case <-time.After(10 * time.Second):
			t.Fatal("no signal")
		}
	}
	wait(watching)
	if _, err := definitions.CreateFake(definition("1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wait(changed)
	if _, err := definitions.UpdateFake(definition("2"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wait(changed)
	gone.Store(true)
	if err := definitions.Delete(ctx, "widgets.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wait(changed)
	cancel()
	<-done
}
