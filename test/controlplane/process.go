package controlplane

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Signal sends a signal to a component such as kube-apiserver. SIGSTOP makes it hang until SIGCONT; one that is killed is started
// again after a second.
func (c *ControlPlane) Signal(component string, signal syscall.Signal) error {
	text, err := os.ReadFile(filepath.Join(c.Dir, "state.json"))
	if err != nil {
		return err
	}
	var state struct {
		Processes []struct {
			Name string
			PID  int
		}
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return err
	}
	for _, process := range state.Processes {
		if process.Name == component {
			if err := syscall.Kill(process.PID, signal); err != nil {
				return fmt.Errorf("signal %s (process %d): %w", component, process.PID, err)
			}
			return nil
		}
	}
	return fmt.Errorf("no component %s in %s", component, text)
}
