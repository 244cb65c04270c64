package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// A quiet machine needs 3 s for the control plane and 1 s more for a node. The rest is for busy ones.
	startPatience = 2 * time.Minute
	nodePatience  = 3 * time.Minute
	// restartPause keeps a component that cannot run from burning a core.
	restartPause = time.Second
)

// supervisor holds one cluster from its first process to its last trace. It runs on the main thread: see withDeathSignal.
type supervisor struct {
	options  options
	folder   folder
	parts    map[string]string // name -> binary
	progress io.Writer

	state    *state
	commands map[string]command // what runs, to start it again
	children sync.WaitGroup     // to have seen them end
	exited   chan *child
}

// supervise runs a cluster in a folder made by folder.create until ctx ends, and removes it. It calls ready once. After a failed
// start everything is stopped but the folder stays, for its logs.
func supervise(ctx context.Context, o options, parts map[string]string, progress io.Writer, ready func(*info) error) (err error) {
	s := &supervisor{
		options:  o,
		folder:   folder(o.Dir),
		parts:    parts,
		progress: progress,
		state:    &state{Options: o, Supervisor: identify("supervisor", os.Getpid())},
		commands: make(map[string]command),
		exited:   make(chan *child, 16), // more than there are components: nobody need listen during the shutdown
	}
	defer func() {
		if ctx.Err() != nil && s.state.Ready == nil {
			err = context.Cause(ctx) // whatever start was doing, being told to stop is the reason it failed
		}
		keep := err != nil && ctx.Err() == nil
		err = errors.Join(err, tearDown(s.folder, s.state, keep))
		s.children.Wait()
	}()
	if err := s.save(); err != nil {
		return err
	}
	begin := time.Now()
	cluster, err := s.start(ctx)
	if err != nil {
		return err
	}
	s.state.Ready = cluster
	if err := s.save(); err != nil {
		return err
	}
	fmt.Fprintf(progress, "cluster %s is ready after %.1fs\n", o.Name, time.Since(begin).Seconds())
	if err := ready(cluster); err != nil {
		return err
	}
	return s.keepRunning(ctx)
}

func (s *supervisor) save() error { return s.folder.save(s.state) }

// start brings up the control plane and, if asked for, the node. The node's programs come last although they would wait for the
// API server: they wait with growing pauses, and that doubled the time.
func (s *supervisor) start(ctx context.Context) (*info, error) {
	host, services := "127.0.0.1", netip.MustParsePrefix(defaultServiceCIDR)
	var node *node
	if s.options.Node {
		var err error
		if node, err = s.createNode(); err != nil {
			return nil, err
		}
		host, services = node.endpoint()
	}
	e, err := chooseEndpoints(host, s.options.Port, services)
	if err != nil {
		return nil, err
	}
	ca, err := issueControlPlane(s.folder, e)
	if err != nil {
		return nil, err
	}
	api, err := s.startControlPlane(ctx, e)
	if err != nil {
		return nil, err
	}
	cluster := s.describe(e)
	if node == nil {
		return cluster, nil
	}
	node.describe(cluster)
	if err := grantCoreDNS(ctx, api); err != nil {
		return nil, err
	}
	if err := node.launch(e, ca); err != nil {
		return nil, err
	}
	return cluster, s.await(ctx, "node", nodePatience, func(ctx context.Context) error { return node.ready(ctx, api) })
}

func (s *supervisor) describe(e endpoints) *info {
	cluster := &info{
		Name:        s.options.Name,
		Dir:         s.options.Dir,
		Kubeconfig:  s.folder.kubeconfig("admin"),
		Server:      e.server(),
		CA:          s.folder.pki("ca.crt"),
		Etcd:        e.etcdURL(),
		Logs:        s.folder.path("logs"),
		ServiceCIDR: e.services.String(),
	}
	if s.options.Audit {
		cluster.AuditLog = s.folder.path("audit.log")
	}
	return cluster
}

func (s *supervisor) startControlPlane(ctx context.Context, e endpoints) (*apiClient, error) {
	if err := writeFile(s.folder.path("audit-policy.yaml"), []byte(auditPolicy)); err != nil {
		return nil, err
	}
	api, err := newAPIClient(s.folder, e.server())
	if err != nil {
		return nil, err
	}
	if err := s.startComponent(partEtcd, etcdArgs(s.folder, e)); err != nil {
		return nil, err
	}
	if err := s.startComponent(partAPIServer, apiServerArgs(s.folder, e, s.options)); err != nil {
		return nil, err
	}
	// The others give up on an API server that takes too long, so they start when it serves.
	serves := func(ctx context.Context) error { return api.get(ctx, "/livez/ping", nil) }
	if err := s.await(ctx, "API server", startPatience, serves); err != nil {
		return nil, err
	}
	if err := s.startComponent(partControllerManager, controllerManagerArgs(s.folder, e)); err != nil {
		return nil, err
	}
	if s.options.Node {
		if err := s.startComponent(partScheduler, schedulerArgs(s.folder)); err != nil {
			return nil, err
		}
	}
	return api, s.await(ctx, "control plane", startPatience, func(ctx context.Context) error { return controlPlaneReady(ctx, api) })
}

func (s *supervisor) startComponent(part string, args []string) error {
	_, err := s.startCommand(command{name: part, path: s.parts[part], args: args, log: s.folder.log(part)})
	return err
}

// startCommand starts a component and writes it down.
func (s *supervisor) startCommand(c command) (*child, error) {
	started, err := start(c, s.exited)
	if err != nil {
		return nil, err
	}
	s.children.Go(func() { <-started.done })
	s.commands[c.name] = c
	s.state.Processes = slices.DeleteFunc(s.state.Processes, func(p process) bool { return p.Name == c.name })
	s.state.Processes = append(s.state.Processes, started.process)
	return started, s.save()
}

// await polls until ready holds, a component dies, or patience ends.
func (s *supervisor) await(ctx context.Context, what string, patience time.Duration, ready func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case c := <-s.exited:
			return c.ended()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout:
			return fmt.Errorf("%s not ready after %s: %w; logs are in %s", what, patience, err, s.folder.path("logs"))
		case <-tick.C:
		}
	}
}

// keepRunning starts components again that end, as a kubelet does with those of a real control plane. A node is not: its
// containers, addresses and mounts went with it.
func (s *supervisor) keepRunning(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-s.exited:
			fmt.Fprintln(s.progress, c.ended())
			if c.Name == nodeProcess {
				continue
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(restartPause):
			}
			if _, err := s.startCommand(s.commands[c.Name]); err != nil {
				return err
			}
		}
	}
}

// tearDown stops the processes, last first, and removes what the cluster had outside of its folder, then the folder. It may be
// called any number of times, by the supervisor or after it.
func tearDown(f folder, s *state, keepFolder bool) error {
	var errs []error
	for _, p := range slices.Backward(s.Processes) {
		errs = append(errs, p.kill())
	}
	errs = append(errs, removeNodeTraces(f, s))
	if !keepFolder {
		errs = append(errs, os.RemoveAll(string(f)))
	}
	return errors.Join(errs...)
}

// takeDown removes a cluster from outside: through its supervisor if that lives, and whatever that left.
func takeDown(f folder) error {
	s, err := f.load()
	if errors.Is(err, fs.ErrNotExist) {
		return removeIfEmpty(f)
	}
	if err != nil {
		return err
	}
	s.Supervisor.signal(stopSignal)
	if s.Supervisor.waitGone(15*time.Second) != nil {
		if err := s.Supervisor.kill(); err != nil {
			return err
		}
	}
	if latest, err := f.load(); err == nil { // it may have written down more until it ended
		s = latest
	}
	return tearDown(f, s, false)
}

// removeIfEmpty removes what a start left that ended before it wrote anything down. Anything else in there is not ours.
func removeIfEmpty(f folder) error {
	for _, dir := range []string{f.path("pki"), f.path("logs"), string(f)} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s holds no cluster, so nothing is removed: %w", f, err)
		}
	}
	return nil
}
