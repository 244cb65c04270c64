//go:build !linux

package main

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// withDeathSignal has no counterpart elsewhere: what a killed supervisor leaves behind is found in its state file.
func withDeathSignal(*syscall.SysProcAttr) {}

// startTime asks ps when a process started, and whether it runs (a zombie does not).
func startTime(pid int) (start string, running bool) {
	out, err := exec.Command("ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	stat, start, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || stat == "" {
		return "", false
	}
	return strings.TrimSpace(start), !strings.HasPrefix(stat, "Z")
}
