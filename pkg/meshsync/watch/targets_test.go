package watch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"meshery.io/operator/pkg/watchlist"
)

func resourceList(groupVersion string, resources ...metav1.APIResource) *metav1.APIResourceList {
	return &metav1.APIResourceList{GroupVersion: groupVersion, APIResources: resources}
}

func resource(name, singular, kind string, verbs ...string) metav1.APIResource {
	return metav1.APIResource{Name: name, SingularName: singular, Kind: kind, Verbs: verbs}
}

// served is what a small API server says.
func served() []Served {
	watchable := []string{"get", "list", "watch"}
	groups := []*metav1.APIGroup{
		{Name: "", PreferredVersion: metav1.GroupVersionForDiscovery{Version: "v1"}},
		{Name: "apps", PreferredVersion: metav1.GroupVersionForDiscovery{Version: "v1"}},
		{Name: "autoscaling", PreferredVersion: metav1.GroupVersionForDiscovery{Version: "v2"}},
		{Name: "new.example.com", PreferredVersion: metav1.GroupVersionForDiscovery{Version: "v1"}},
	}
	return servedKinds(groups, []*metav1.APIResourceList{
		resourceList("v1", resource("pods", "pod", "Pod", watchable...), resource("pods/log", "", "Pod", "get"),
			resource("secrets", "secret", "Secret", watchable...), resource("events", "event", "Event", watchable...),
			resource("bindings", "binding", "Binding", "create"), resource("componentstatuses", "componentstatus", "ComponentStatus", "get", "list")),
		resourceList("apps/v1", resource("deployments", "deployment", "Deployment", watchable...)),
		resourceList("autoscaling/v1", resource("horizontalpodautoscalers", "", "HorizontalPodAutoscaler", watchable...)),
		resourceList("autoscaling/v2", resource("horizontalpodautoscalers", "", "HorizontalPodAutoscaler", watchable...)),
		resourceList("new.example.com/v1", resource("widgets", "widget", "Widget", watchable...)),
		resourceList("new.example.com/v1beta1", resource("gadgets", "gadget", "Gadget", watchable...)), // not in the preferred version
		resourceList("new.example.com/v1alpha1", resource("gadgets", "gadget", "Gadget", watchable...)),
		resourceList("not/a/group", resource("things", "thing", "Thing", watchable...)),
	})
}

func TestTargets(t *testing.T) {
	tests := map[string]struct {
		white, black string
		only         []string
		want         string // resource=events …
		missing      string // resource: reason; …
	}{
		"a whitelist gets what is served": {
			white: `[{"Resource":"pods.v1.","Events":["ADDED"]},{"Resource":"deployments.v1.apps"}]`,
			want:  "deployments.v1.apps=ADDED,MODIFIED,DELETED pods.v1.=ADDED",
		},
		"a kind is got in the version that is named, or in two": {
			white: `["horizontalpodautoscalers.v1.autoscaling","horizontalpodautoscalers.v2.autoscaling"]`,
			want:  "horizontalpodautoscalers.v1.autoscaling=ADDED,MODIFIED,DELETED horizontalpodautoscalers.v2.autoscaling=ADDED,MODIFIED,DELETED",
		},
		"everything gets each kind once, in its best version, less what cannot be watched": {
			black: `["secrets.v1."]`,
			want: "deployments.v1.apps=ADDED,MODIFIED,DELETED gadgets.v1beta1.new.example.com=ADDED,MODIFIED,DELETED " +
				"horizontalpodautoscalers.v2.autoscaling=ADDED,MODIFIED,DELETED pods.v1.=ADDED,MODIFIED,DELETED widgets.v1.new.example.com=ADDED,MODIFIED,DELETED",
		},
		"what is not served is reported, with what may have been meant": {
			white: `["pods.v1.","pod.v1.","deployments.v1beta1.apps","unknown.v1.example.com","componentstatuses.v1.","gadgets.v1.new.example.com"]`,
			want:  "pods.v1.=ADDED,MODIFIED,DELETED",
			missing: "componentstatuses.v1.: it cannot be listed and watched; deployments.v1beta1.apps: not served in this version; served is deployments.v1.apps; " +
				"gadgets.v1.new.example.com: not served in this version; served is gadgets.v1beta1.new.example.com; " +
				"pod.v1.: not served; write the plural, pods.v1.; unknown.v1.example.com: not served (yet)",
		},
		"only some kinds, by plural, singular or kind": {
			white: `["pods.v1.","secrets.v1.","deployments.v1.apps","horizontalpodautoscalers.v2.autoscaling"]`, only: []string{"pods", "Secret", "horizontalpodautoscaler"},
			want: "horizontalpodautoscalers.v2.autoscaling=ADDED,MODIFIED,DELETED pods.v1.=ADDED,MODIFIED,DELETED secrets.v1.=ADDED,MODIFIED,DELETED",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list, _, err := watchlist.Parse(map[string]string{"whitelist": test.white, "blacklist": test.black})
			if err != nil {
				t.Fatal(err)
			}
			want, missing := targets(list, served(), test.only)
			var gotWant, gotMissing []string
			for _, target := range want {
				gotWant = append(gotWant, watchlist.Format(target.Resource)+"="+target.Events.String())
			}
			for _, kind := range missing {
				gotMissing = append(gotMissing, watchlist.Format(kind.Resource)+": "+kind.Reason)
			}
			if got := strings.Join(gotWant, " "); got != test.want {
				t.Errorf("targets\n got  %s\n want %s", got, test.want)
			}
			if got := strings.Join(gotMissing, "; "); got != test.missing {
				t.Errorf("missing\n got  %s\n want %s", got, test.missing)
			}
		})
	}
}

type fakeDiscovery struct{ err error }

func (f fakeDiscovery) ServerGroupsAndResourcesWithContext(context.Context) ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return nil, []*metav1.APIResourceList{resourceList("v1", resource("pods", "pod", "Pod", "list", "watch"))}, f.err
}

func TestDiscoverToleratesGroupsThatDoNotAnswer(t *testing.T) {
	broken := schema.GroupVersion{Group: "metrics.k8s.io", Version: "v1beta1"}
	kinds, unknown, err := discover(t.Context(), fakeDiscovery{&discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{broken: errors.New("no answer")}}})
	if err != nil || len(kinds) != 1 || unknown[broken] == nil {
		t.Errorf("got %v, %v, %v", kinds, unknown, err)
	}
	if _, _, err := discover(t.Context(), fakeDiscovery{errors.New("refused")}); err == nil {
		t.Error("no error although nothing answers")
	}
}

func TestSubresourcesAreNoKinds(t *testing.T) {
	if slices.ContainsFunc(served(), func(kind Served) bool { return strings.Contains(kind.Resource.Resource, "/") }) {
		t.Error("a subresource is among them")
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
	changed, done := make(chan struct{}, 10), make(chan struct{})
	go func() {
		defer close(done)
		watchCRDs(ctx, client, func() { changed <- struct{}{} })
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
	if err := definitions.Delete(ctx, "widgets.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wait(changed)
	cancel()
	<-done
}
