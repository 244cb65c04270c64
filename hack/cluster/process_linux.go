package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// withDeathSignal makes the kernel kill the child when we die, however that happens. The kernel ties this to the OS thread that
// started the child, not to the process: main keeps the main goroutine, which starts all of them, on the main thread.
func withDeathSignal(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// startTime reads when a process started, in clock ticks since boot, and whether it runs (a zombie does not).
func startTime(pid int) (start string, running bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	// The second field is the program's name in parentheses and may itself contain spaces and parentheses.
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	fields := strings.Fields(rest)
	const state, starttime = 0, 19 // fields 3 and 22 of proc(5), counted from the one after the name
	if len(fields) <= starttime {
		return "", false
	}
	return fields[starttime], fields[state] != "Z" && fields[state] != "X"
}
