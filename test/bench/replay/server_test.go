package replay

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/pager"
)

const objects = 1000

func start(t *testing.T) (*Server, []*Shape, dynamic.Interface) {
	t.Helper()
	shapes, err := Shapes()
	if err != nil {
		t.Fatal(err)
	}
	server := Start(t, shapes, objects)
	config, err := clientcmd.BuildConfigFromFlags("", server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return server, shapes, client
}

func TestAnInformerSeesAllObjectsAndTheirChanges(t *testing.T) {
	server, shapes, client := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	seen := 0
	var changed atomic.Int32
	for gvr := range server.resources {
		informer := factory.ForResource(gvr).Informer()
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(_, object any) {
			if object.(*unstructured.Unstructured).GetResourceVersion() == "1000000001" {
				changed.Add(1)
			}
		}}); err != nil {
			t.Fatal(err)
		}
	}
	factory.Start(ctx.Done())
	for gvr, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			t.Fatalf("%s is not synced", gvr)
		}
		seen += len(factory.ForResource(gvr).Informer().GetStore().ListKeys())
	}
	if seen != objects || server.Objects != objects {
		t.Errorf("seen %d of %d objects, want %d", seen, server.Objects, objects)
	}
	for _, perSecond := range []float64{0, 10000} {
		if err := server.Change(ctx, shapes[0].Resource, perSecond); err != nil {
			t.Fatal(err)
		}
	}
	for want := int32(objects * shapes[0].Of / 1000); changed.Load() < want; {
		select {
		case <-ctx.Done():
			t.Fatalf("%d changes, want %d", changed.Load(), want)
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	factory.Shutdown()
}

func TestListsComeInPages(t *testing.T) {
	server, _, client := start(t)
	for gvr, one := range server.resources {
		want, pages := 0, 0
		for _, run := range one.runs {
			want += run.count
		}
		names := map[string]bool{}
		list := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
			pages++
			return client.Resource(gvr).List(t.Context(), options)
		}))
		list.PageSize = 50
		err := list.EachListItem(t.Context(), metav1.ListOptions{}, func(item runtime.Object) error {
			object := item.(*unstructured.Unstructured)
			names[object.GetName()] = true
			if object.GetKind() != one.kind.Kind {
				t.Errorf("%s is a %s", object.GetName(), object.GetKind())
			}
			return nil
		})
		if err != nil || len(names) != want || pages != max(1, (want+49)/50) {
			t.Errorf("%s: %d objects in %d pages, want %d: %v", gvr.Resource, len(names), pages, want, err)
		}
	}
}
