// Command meshsync publishes every change of a cluster's objects to a broker. "meshsync tail" prints what is published.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // the image holds no authorities, and a broker may have a public one
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/pkg/meshsync/tail"
	"meshery.io/operator/pkg/telemetry"
)

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		// One core does tens of thousands of changes a second. With more, waking them up for one that comes alone costs a sixth of what
		// that takes, and on a large node each holds memory.
		runtime.GOMAXPROCS(1)
	}
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
	tailing := tail.Options{Out: os.Stdout, Notes: os.Stderr}
	command, err := parse(args, &options, &tailing)
	if err != nil {
		return err
	}
	switch command {
	case "version":
		fmt.Println(telemetry.Version())
		return nil
	case "tail":
		if tailing.Address, err = options.Broker(); err != nil {
			return err
		}
		return tail.Run(ctx, tailing)
	default:
		return meshsync.Run(ctx, options)
	}
}
