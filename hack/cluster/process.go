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
	for deadline := time.Now().Add(patience); p.alive(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s (process %d) does not end", p.Name, p.PID)
		}
	}
	return nil
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
	text, err := os.ReadFile(c.log)
	if err != nil {
		return fmt.Errorf("%s ended: %s", c.Name, how)
	}
	return fmt.Errorf("%s ended: %s; last lines of %s:\n%s", c.Name, how, c.log, lastLines(text, 10))
}
