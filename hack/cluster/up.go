package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

var errInUse = errors.New("already running")

// upCommand starts a supervisor that outlives us and waits until the cluster is ready.
func upCommand(ctx context.Context, args []string) error {
	o, err := parseOptions("up", "local", args)
	if err != nil {
		return err
	}
	f := folder(o.Dir)
	if s, err := f.load(); err == nil && s.Supervisor.alive() {
		return reportRunning(ctx, f)
	}
	if err := prepare(ctx, o); err != nil {
		return err
	}
	err = claim(o)
	if errors.Is(err, errInUse) { // somebody was quicker
		return reportRunning(ctx, f)
	}
	if err != nil {
		return err
	}
	if err := startSupervisor(o); err != nil {
		return err
	}
	s, err := awaitReady(ctx, f)
	if ctx.Err() != nil {
		return errors.Join(errors.New("interrupted"), takeDown(f))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "cluster %s is up; remove it with `cluster down %s`\n", o.Name, o.target())
	fmt.Println(s.Ready.Kubeconfig)
	return nil
}

// reportRunning answers an `up` of a cluster that somebody else starts or has started, after asking whether it is well.
func reportRunning(ctx context.Context, f folder) error {
	s, err := awaitReady(ctx, f)
	if err != nil {
		return err
	}
	api, err := newAPIClient(f, s.Ready.Server)
	if err != nil {
		return err
	}
	if err := api.get(ctx, "/readyz", nil); err != nil {
		return fmt.Errorf("cluster %s is up but not well, `cluster down %s` first: %w; logs are in %s",
			s.Options.Name, s.Options.target(), err, s.Ready.Logs)
	}
	fmt.Fprintf(os.Stderr, "cluster %s is already up\n", s.Options.Name)
	fmt.Println(s.Ready.Kubeconfig)
	return nil
}

// startSupervisor starts the process behind a cluster in a folder that we have claimed, and waits until it has taken that over.
func startSupervisor(o options) error {
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
	supervisor := identify("supervisor", cmd.Process.Pid)
	var died error
	err = poll(startPatience, func() error {
		if s, err := f.load(); err == nil && s.Supervisor == supervisor {
			return nil
		}
		if !supervisor.alive() {
			died = fmt.Errorf("supervisor ended%s", logTail(log.Name()))
			return nil
		}
		return errors.New("supervisor does not take over")
	})
	return errors.Join(err, died)
}

// claim makes the folder of a cluster and writes us down as its owner, clearing the remains of a cluster that died there.
func claim(o options) error {
	cache, err := cacheRoot()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(cache, ".lock"), func() {}) // held for milliseconds: nothing to tell
	if err != nil {
		return err
	}
	defer unlock()
	f := folder(o.Dir)
	s, err := f.load()
	switch {
	case err == nil && s.Supervisor.alive():
		return fmt.Errorf("cluster %s in %s: %w", s.Options.Name, f, errInUse)
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
			return nil, fmt.Errorf("cluster %s did not start; logs are in %s%s", s.Options.Name, f.path("logs"), logTail(f.log("supervisor")))
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
	// When that process dies it takes our output along, and writing there must not kill us before the cluster is gone.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // an error ends it as well as the end does
		cancel()
	}()
	if err := prepare(ctx, o); err != nil {
		return err
	}
	if err := claim(o); err != nil {
		return err
	}
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
