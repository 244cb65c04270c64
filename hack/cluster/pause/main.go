// Command pause is the first process of every pod: it holds the namespaces that the pod's containers share, and does nothing.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// As process 1 it would ignore signals that it does not ask for.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	orphaned := make(chan os.Signal, 16)
	signal.Notify(orphaned, syscall.SIGCHLD) // with a shared PID namespace the pod's orphans end up here
	for {
		select {
		case <-stop:
			return
		case <-orphaned:
			for pid := 1; pid > 0; {
				pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			}
		}
	}
}
