// Command jetstream is the agent's rooms with another broker behind them, for the benchmark: every message goes to the core subject and
// then into a stream that keeps the last one about each object, and counts as delivered when the stream has acknowledged it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/publish"
	"meshery.io/operator/pkg/meshsync/watch"
	"meshery.io/operator/pkg/meshsync/watch/raw"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/pkg/meshsync/wire/walk"
	"meshery.io/operator/pkg/telemetry"
	"meshery.io/operator/pkg/watchlist"
)

const (
	stateSubject = "bench.state."
	// window is how many messages may wait for an acknowledgement.
	window = 256
)

func main() {
	runtime.GOMAXPROCS(1) // as the agent
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "jetstream:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig file")
	kinds := flag.String("kinds", "", "what to watch, as plural.version.group, separated by commas")
	httpAddr := flag.String("http-addr", "", "address of /metrics")
	pprofAddr := flag.String("pprof-addr", "", "address of Go's profiles")
	flag.Parse()

	sink, err := connect(ctx, os.Getenv("BROKER_URL"))
	if err != nil {
		return err
	}
	defer sink.nats.Close()
	registry := telemetry.NewRegistry("meshsync")
	queue := publish.NewQueue(publish.Options{Bus: sink, Metrics: registry})
	list, err := watchlist.Parse(map[string]string{"whitelist": `["` + strings.ReplaceAll(*kinds, ",", `","`) + `"]`})
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	options, err := observe(ctx, config)
	if err != nil {
		return err
	}
	options.List, options.Sink, options.Metrics = watch.Fixed(list), queue, registry
	watcher := watch.New(options)

	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return telemetry.Serve(ctx, *httpAddr, telemetry.Handler(registry, watcher.Ready)) })
	running.Go(func() error { return telemetry.Serve(ctx, *pprofAddr, telemetry.ProfilingHandler()) })
	running.Go(func() error { queue.Run(ctx); return nil })
	running.Go(func() error { watcher.Run(ctx); return nil })
	return running.Wait()
}

// observe makes the clients of a cluster.
func observe(ctx context.Context, config *rest.Config) (watch.Options, error) {
	config.QPS, config.WarningHandler, config.DisableCompression = -1, rest.NoWarnings{}, true
	var options watch.Options
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return options, err
	}
	if options.Client, err = raw.NewForConfigAndClient(config, client); err != nil {
		return options, err
	}
	if options.Discovery, err = discovery.NewDiscoveryClientForConfigAndClient(config, client); err != nil {
		return options, err
	}
	if options.Dynamic, err = dynamic.NewForConfigAndClient(config, client); err != nil {
		return options, err
	}
	namespaces := options.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	system, err := namespaces.Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err == nil {
		options.Encoding.ClusterID = string(system.GetUID())
	}
	return options, err
}

// sink is a broker with a stream.
type sink struct {
	nats   *nats.Conn
	stream jetstream.JetStream
}

func connect(ctx context.Context, url string) (*sink, error) {
	conn, err := nats.Connect(url, nats.Name("jetstream"))
	if err != nil {
		return nil, err
	}
	stream, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(window), jetstream.WithPublishAsyncTimeout(10*time.Second))
	if err != nil {
		return nil, err
	}
	_, err = stream.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: "state", Subjects: []string{stateSubject + ">"}, MaxMsgsPerSubject: 1, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, MaxBytes: 4 << 30,
	})
	return &sink{conn, stream}, err
}

// Ready is what the queue asks.
func (s *sink) Ready() error { return nil }

// WaitConnected is what the queue asks: it is connected.
func (s *sink) WaitConnected(context.Context) error { return nil }

// MaxPayload is the size in bytes of the largest message that the broker takes.
func (s *sink) MaxPayload() int { return int(s.nats.MaxPayload()) }

// Send returns when the stream has acknowledged all messages.
func (s *sink) Send(ctx context.Context, messages ...bus.Message) error {
	acks := make([]jetstream.PubAckFuture, 0, len(messages))
	for _, message := range messages {
		id, err := walk.Identify(message.Body[len(wire.AppendStart(nil)):])
		if err != nil {
			return err
		}
		if err := s.nats.Publish(message.Subject, message.Body); err != nil {
			return err
		}
		subject := stateSubject + string(id.Namespace) + "." + string(id.Name)
		ack, err := s.stream.PublishMsgAsync(&nats.Msg{
			Subject: subject, Data: message.Body,
			Header: nats.Header{jetstream.MsgIDHeader: {string(id.UID) + "/" + string(id.ResourceVersion)}},
		})
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
