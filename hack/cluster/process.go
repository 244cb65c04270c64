package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process identifies one process for good: an id alone may have been given to somebody else since.
type process struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start string `json:"start"` // as the kernel tells it; compared, never interpreted
}

// identify notes a process that is running now.
func identify(name string, pid int) process {
	start, _ := startTime(pid) // gone already: the empty time never compares equal
	return process{Name: name, PID: pid, Start: start}
}

// alive tells whether this very process still runs; a zombie does not.
func (p process) alive() bool {
	if p.PID <= 0 || p.Start == "" {
		return false
	}
	start, running := startTime(p.PID)
	return running && start == p.Start
}

// signal sends to the process alone, and only if it is still the same one.
func (p process) signal(s syscall.Signal) {
	if p.alive() {
		_ = syscall.Kill(p.PID, s) // it may have ended since: nothing to do about that
	}
}

// kill ends the process with its group and waits until it is gone. State is thrown away with the cluster, so nothing is lost by
// not asking politely, and the kernel takes everything inside a node's PID namespace along.
func (p process) kill() error {
	if !p.alive() {
		return nil
	}
	_ = syscall.Kill(-p.PID, syscall.SIGKILL)
	_ = syscall.Kill(p.PID, syscall.SIGKILL) // in case it leads no group
	return p.waitGone(10 * time.Second)
}

func (p process) waitGone(patience time.Duration) error {
	return poll(patience, func() error {
		if p.alive() {
			return fmt.Errorf("%s (process %d) does not end", p.Name, p.PID)
		}
		return nil
	})
}

// poll tries every few milliseconds until there is no error, or returns the last one when patience ends.
func poll(patience time.Duration, try func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-timeout:
			return err
		}
	}
}

// command is a component to start.
type command struct {
	name string
	path string
	args []string
	log  string // file that its output is appended to

	stdin *os.File // nil for none
	attr  *syscall.SysProcAttr
}

// child is a component we started. done is closed when it has ended, and err says how.
type child struct {
	process
	log  string
	done chan struct{}
	err  error
}

// start runs a component in a process group of its own, so that a Ctrl-C meant for us does not reach it before we take things down
// in order. exited receives the child when it ends. Callers stay on one OS thread: see withDeathSignal.
func start(c command, exited chan<- *child) (*child, error) {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(c.path, c.args...)
	cmd.Stdout, cmd.Stderr = log, log
	if c.stdin != nil {
		cmd.Stdin = c.stdin
	}
	cmd.SysProcAttr = c.attr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	withDeathSignal(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	started := &child{process: identify(c.name, cmd.Process.Pid), log: c.log, done: make(chan struct{})}
	go func() {
		started.err = cmd.Wait()
		close(started.done)
		exited <- started
	}()
	return started, nil
}

// ended is the error for a component that stopped by itself: how, where its log is, and the end of it.
func (c *child) ended() error {
	how := "exit status 0"
	if c.err != nil {
		how = c.err.Error()
	}
	return fmt.Errorf("%s ended: %s%s", c.Name, how, logTail(c.log))
}

// logTail quotes the end of a log, for the end of an error message.
func logTail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil || len(text) == 0 {
		return fmt.Sprintf("; its log %s is empty", path)
	}
	return fmt.Sprintf("; last lines of %s:\n%s", path, lastLines(text, 10))
}
