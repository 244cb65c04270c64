// Command operator reconciles Broker and MeshSync resources.
package main

import (
	"context"
	"flag"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/operator"
	"meshery.io/operator/pkg/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		klog.ErrorS(err, "Operator failed")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
	klog.Flush()
}

func run(ctx context.Context) error {
	options := operator.DefaultOptions()
	options.AddFlags(pflag.CommandLine)
	klog.InitFlags(nil)
	pflag.CommandLine.AddGoFlag(flag.Lookup("v"))
	pflag.CommandLine.AddGoFlag(flag.Lookup("vmodule"))
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	overrides := &clientcmd.ConfigOverrides{}
	pflag.StringVar(&rules.ExplicitPath, "kubeconfig", "", "Kubeconfig file. Default: as kubectl, and in a pod its service account.")
	pflag.StringVar(&overrides.CurrentContext, "context", "", "Context of the kubeconfig.")
	version := pflag.Bool("version", false, "Print the version and exit.")
	pflag.Parse()
	if *version {
		fmt.Println(telemetry.Version())
		return nil
	}
	if pflag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: this command takes flags only", pflag.Arg(0))
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	return operator.Run(ctx, config, options)
}
