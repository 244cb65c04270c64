package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
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
  cluster list                  what runs
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

// upCommand starts a supervisor that outlives us and waits until the cluster is ready.
func upCommand(ctx context.Context, args []string) error {
	o, err := parseOptions("up", "local", args)
	if err != nil {
		return err
	}
	if s, err := folder(o.Dir).load(); err == nil && s.Supervisor.alive() {
		if s, err = awaitReady(ctx, folder(o.Dir)); err != nil {
			return err
		}
		return reportRunning(ctx, s)
	}
	if err := prepare(ctx, o); err != nil {
		return err
	}
	if err := startSupervisor(o); err != nil {
		return err
	}
	s, err := awaitReady(ctx, folder(o.Dir))
	if ctx.Err() != nil {
		return errors.Join(errors.New("interrupted"), takeDown(folder(o.Dir)))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "cluster %s is up; remove it with `cluster down --name %[1]s`\n", o.Name)
	fmt.Println(s.Ready.Kubeconfig)
	return nil
}

// reportRunning answers an `up` of a cluster that is up, after asking whether it really is.
func reportRunning(ctx context.Context, s *state) error {
	api, err := newAPIClient(folder(s.Options.Dir), s.Ready.Server)
	if err != nil {
		return err
	}
	if err := api.get(ctx, "/readyz", nil); err != nil {
		return fmt.Errorf("cluster %s is up but not well, `cluster down` first: %w; logs are in %s", s.Options.Name, err, s.Ready.Logs)
	}
	fmt.Fprintf(os.Stderr, "cluster %s is already up\n", s.Options.Name)
	fmt.Println(s.Ready.Kubeconfig)
	return nil
}

// startSupervisor claims the folder, clearing the remains of a cluster that died, and starts its supervisor.
func startSupervisor(o options) error {
	unlock, err := claim(o)
	if err != nil {
		return err
	}
	unlock()
	f := folder(o.Dir)
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(f.log("supervisor"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, superviseName, string(text))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // survives our terminal
	if err := cmd.Start(); err != nil {
		return err
	}
	// Until the supervisor has written itself down, the folder is ours.
	supervisor := identify("supervisor", cmd.Process.Pid)
	for {
		if s, err := f.load(); err == nil && s.Supervisor == supervisor {
			return nil
		}
		if !supervisor.alive() {
			text, _ := os.ReadFile(log.Name()) // without it, the message still says where to look
			return fmt.Errorf("supervisor ended; last lines of %s:\n%s", log.Name(), lastLines(text, 10))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// claim makes the folder of a cluster, with nobody else doing the same meanwhile.
func claim(o options) (unlock func(), err error) {
	cache, err := cacheRoot()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	unlock, err = lock(filepath.Join(cache, ".lock"), func() {})
	if err != nil {
		return nil, err
	}
	f := folder(o.Dir)
	err = func() error {
		s, err := f.load()
		switch {
		case err == nil && s.Supervisor.alive():
			return fmt.Errorf("cluster %s is already running in %s", s.Options.Name, f)
		case err == nil:
			fmt.Fprintf(os.Stderr, "clearing the remains of an earlier cluster in %s\n", f)
			if err := takeDown(f); err != nil {
				return err
			}
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if err := f.create(); err != nil {
			return err
		}
		return f.save(&state{Options: o, Supervisor: identify("starter", os.Getpid())})
	}()
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// awaitReady follows the state of a cluster that starts until it is ready or its supervisor has given up.
func awaitReady(ctx context.Context, f folder) (*state, error) {
	for {
		s, err := f.load()
		if err != nil {
			return nil, err
		}
		if s.Ready != nil {
			return s, nil
		}
		if !s.Supervisor.alive() {
			text, _ := os.ReadFile(f.log("supervisor")) // without it, the message still says where to look
			return nil, fmt.Errorf("cluster %s did not start; logs are in %s\n%s", s.Options.Name, f.path("logs"), lastLines(text, 20))
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// superviseCommand is the process behind `up`.
func superviseCommand(ctx context.Context, args []string) error {
	var o options
	if len(args) != 1 {
		return errors.New("for internal use: see `cluster up`")
	}
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return err
	}
	parts, err := ensureParts(ctx, partsFor(o.Node)...)
	if err != nil {
		return err
	}
	return supervise(ctx, o, parts, os.Stderr, func(*info) error { return nil })
}

// runCommand is for tests: whoever started it holds its standard input, and however that process ends, the cluster goes with it.
func runCommand(ctx context.Context, args []string) error {
	o, err := parseOptions("run", fmt.Sprintf("run-%d", os.Getpid()), args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // an error ends it as well as the end does
		cancel()
	}()
	if err := prepare(ctx, o); err != nil {
		return err
	}
	unlock, err := claim(o)
	if err != nil {
		return err
	}
	unlock()
	parts, err := ensureParts(ctx, partsFor(o.Node)...)
	if err != nil {
		return err
	}
	return supervise(ctx, o, parts, os.Stderr, func(cluster *info) error {
		return json.NewEncoder(os.Stdout).Encode(cluster)
	})
}

// prepare does what takes long or may fail for want of something, before anything is started.
func prepare(ctx context.Context, o options) error {
	if o.Node {
		if err := ensureNodePossible(ctx, os.Stderr); err != nil {
			return err
		}
	}
	_, err := ensureParts(ctx, partsFor(o.Node)...)
	return err
}

func downCommand(_ context.Context, args []string) error {
	o, err := parseTarget("down", args, nil)
	if err != nil {
		return err
	}
	if _, err := os.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(os.Stderr, "there is no cluster %s: nothing to do\n", o.Name)
		return nil
	}
	if err := takeDown(folder(o.Dir)); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "cluster %s is gone\n", o.Name)
	return nil
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

// parseOptions reads the flags of up and run.
func parseOptions(command, defaultName string, args []string) (options, error) {
	var o options
	flags := newFlagSet(command, &o, defaultName)
	flags.BoolVar(&o.Node, "node", false, "")
	flags.BoolVar(&o.Audit, "audit", false, "")
	flags.IntVar(&o.Port, "port", 0, "")
	flags.Func("apiserver-arg", "", func(arg string) error {
		o.APIServerArgs = append(o.APIServerArgs, arg)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; see `cluster help`", flags.Arg(0))
	}
	if err := o.validate(); err != nil {
		return o, err
	}
	return o, o.locate()
}

// parseTarget reads the flags of commands about an existing cluster. rest receives further arguments; without it there are none.
func parseTarget(command string, args []string, rest *[]string) (options, error) {
	var o options
	flags := newFlagSet(command, &o, "local")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if rest != nil {
		*rest = flags.Args()
	} else if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; see `cluster help`", flags.Arg(0))
	}
	if err := o.validate(); err != nil {
		return o, err
	}
	return o, o.locate()
}

func newFlagSet(command string, o *options, defaultName string) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error, once
	flags.StringVar(&o.Name, "name", defaultName, "")
	flags.StringVar(&o.Dir, "dir", "", "")
	return flags
}

// locate fills in the folder.
func (o *options) locate() error {
	if o.Dir == "" {
		root, err := runRoot()
		if err != nil {
			return err
		}
		o.Dir = filepath.Join(root, o.Name)
	}
	var err error
	o.Dir, err = filepath.Abs(o.Dir)
	return err
}
