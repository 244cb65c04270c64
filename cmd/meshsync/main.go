// Command meshsync publishes every change of a cluster's objects to a broker. "meshsync tail" prints what is published.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/pkg/meshsync/tail"
	"meshery.io/operator/pkg/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:])
	klog.Flush()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "meshsync:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	options := meshsync.DefaultOptions()
	command, err := parse(args, &options)
	if err != nil {
		return err
	}
	switch command {
	case "version":
		fmt.Println(telemetry.Version())
		return nil
	case "tail":
		address, err := options.Broker()
		if err != nil {
			return err
		}
		return tail.Run(ctx, address, os.Stdout, os.Stderr)
	default:
		return meshsync.Run(ctx, options)
	}
}
