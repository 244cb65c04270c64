// Command reference is an agent that takes the same steps as the existing MeshSync, for the benchmark to compare with: an informer per
// kind that decodes into unstructured objects and keeps them, handlers that convert and publish, core NATS without confirmation.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/telemetry"
	"meshery.io/operator/test/bench/reference/convert"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig file")
	kinds := flag.String("kinds", "", "what to watch, as plural.version.group, separated by commas")
	httpAddr := flag.String("http-addr", "", "address of /metrics")
	pprofAddr := flag.String("pprof-addr", "", "address of Go's profiles")
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	broker, err := nats.Connect(os.Getenv("BROKER_URL"), nats.Name("reference"))
	if err != nil {
		return err
	}
	defer broker.Close()

	serving, ctx := errgroup.WithContext(ctx)
	serving.Go(func() error {
		return telemetry.Serve(ctx, *httpAddr, telemetry.Handler(telemetry.NewRegistry("reference"), func() error { return nil }))
	})
	serving.Go(func() error { return telemetry.Serve(ctx, *pprofAddr, telemetry.ProfilingHandler()) })
	serving.Go(func() error { return watch(ctx, client, broker, strings.Split(*kinds, ",")) })
	return serving.Wait()
}

// watch publishes until ctx ends.
func watch(ctx context.Context, client dynamic.Interface, broker *nats.Conn, kinds []string) error {
	system, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return err
	}
	publish := func(event string, object any) {
		if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = unknown.Obj
		}
		message, err := convert.Message(event, object.(*unstructured.Unstructured), string(system.GetUID()))
		if err == nil {
			err = broker.Publish(wire.SubjectCore, message)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "reference:", err)
		}
	}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	for _, kind := range kinds {
		resource, _ := schema.ParseResourceArg(kind)
		if resource == nil {
			return fmt.Errorf("--kinds: %q is not plural.version.group", kind)
		}
		_, err := factory.ForResource(*resource).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(object any) { publish("ADDED", object) },
			UpdateFunc: func(old, object any) {
				if old.(*unstructured.Unstructured).GetResourceVersion() != object.(*unstructured.Unstructured).GetResourceVersion() {
					publish("MODIFIED", object)
				}
			},
			DeleteFunc: func(object any) { publish("DELETED", object) },
		})
		if err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}
