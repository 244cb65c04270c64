// Command operator reconciles Broker and MeshSync resources.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/operator"
	"meshery.io/operator/pkg/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx)
	klog.Flush()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	options := operator.DefaultOptions()
	options.AddFlags(flag.CommandLine)
	telemetry.AddLogFlags(flag.CommandLine)
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	overrides := &clientcmd.ConfigOverrides{}
	flag.StringVar(&rules.ExplicitPath, "kubeconfig", "", "kubeconfig file; KUBECONFIG, ~/.kube/config or in-cluster without it")
	flag.StringVar(&overrides.CurrentContext, "context", "", "context in the kubeconfig")
	version := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *version {
		fmt.Println(telemetry.Version())
		return nil
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected %q: flags start with --", flag.Arg(0))
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return fmt.Errorf("find the cluster by --kubeconfig, KUBECONFIG, ~/.kube/config or from inside of it: %w", err)
	}
	return operator.Run(ctx, config, options)
}
