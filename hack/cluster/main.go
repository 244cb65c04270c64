package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
)

const stopSignal = syscall.SIGTERM

// Commands that are not for people: the process behind `up`, and pid 1 of a node.
const (
	superviseName = "supervise"
	nodeInitName  = "node-init"
)

const usage = `cluster builds and runs a real local Kubernetes.

  cluster build [PART…]         build parts into the cache (default: all)
  cluster up [flags]            start in the background; prints the path of the admin kubeconfig
  cluster down [flags]          stop and remove every trace
  cluster run [flags]           run in the foreground until standard input closes or a signal comes; prints one line of JSON when ready
  cluster load [flags] FILE…    load docker-archive image tars into the node
  cluster list                  what runs (in the default folder)
  cluster path PART             path of a built binary, building it if missing

Flags of up and run:
  --name NAME                   default "local" (run: a name of its own)
  --dir DIR                     folder of the cluster; default: below the user's cache folder
  --node                        with a node that runs containers (Linux, root)
  --port PORT                   of the API server; default: a free one
  --audit                       log every request to audit.log in the folder
  --apiserver-arg NAME=VALUE    pass a flag to kube-apiserver; may be repeated
Flags of down and load: --name, --dir

The first start builds Kubernetes from source, which takes some minutes; later ones take seconds.
Parts: %s
`

func main() {
	// Children are killed by the kernel when the thread that started them ends: stay on the one that lives as long as the process.
	runtime.LockOSThread()
	// Debian keeps ip, iptables and containerd's helpers where `su` does not look.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, stopSignal, syscall.SIGHUP)
	defer stop()
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	commands := map[string]func(context.Context, []string) error{
		"build": buildCommand,
		"up":    upCommand,
		"down":  downCommand,
		"run":   runCommand,
		"load":  loadCommand,
		"list":  listCommand,
		"path":  pathCommand,
		"help":  helpCommand,

		superviseName: superviseCommand,
		nodeInitName:  nodeInitCommand,
	}
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
		return helpCommand(ctx, nil)
	}
	run, known := commands[args[0]]
	if !known {
		return fmt.Errorf("unknown command %q; see `cluster help`", args[0])
	}
	err := run(ctx, args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return helpCommand(ctx, nil)
	}
	return err
}

func helpCommand(context.Context, []string) error {
	fmt.Printf(usage, strings.Join(allParts(), ", "))
	return nil
}

func buildCommand(ctx context.Context, args []string) error {
	parts := args
	if len(parts) == 0 {
		parts = allParts()
	}
	_, err := ensureParts(ctx, parts...)
	return err
}

func pathCommand(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: cluster path PART")
	}
	paths, err := ensureParts(ctx, args[0])
	if err == nil {
		fmt.Println(paths[args[0]])
	}
	return err
}

func ensureParts(ctx context.Context, parts ...string) (map[string]string, error) {
	root, err := sourceRoot()
	if err != nil {
		return nil, err
	}
	cache, err := cacheRoot()
	if err != nil {
		return nil, err
	}
	return builder{root: root, cache: cache, progress: os.Stderr}.ensure(ctx, parts...)
}

func listCommand(context.Context, []string) error {
	root, err := runRoot()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "NAME\tSTATE\tNODE\tSERVER\tKUBECONFIG")
	for _, entry := range entries {
		s, err := folder(filepath.Join(root, entry.Name())).load()
		switch {
		case err != nil:
			fmt.Fprintf(out, "%s\tbroken\t\t\t\n", entry.Name())
		case !s.Supervisor.alive():
			fmt.Fprintf(out, "%s\tdead\t\t\t\n", s.Options.Name)
		case s.Ready == nil:
			fmt.Fprintf(out, "%s\tstarting\t\t\t\n", s.Options.Name)
		default:
			fmt.Fprintf(out, "%s\tready\t%s\t%s\t%s\n", s.Options.Name, s.Ready.NodeIP, s.Ready.Server, s.Ready.Kubeconfig)
		}
	}
	return out.Flush()
}
