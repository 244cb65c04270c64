// Package process runs a program for a test, which may kill it, hold it, and see what it takes. A program ends with the test binary
// at the latest, also when that dies without a word.
package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// The shell kills the program as soon as its input ends. It ends with the program, and as that did.
const watched = `exec 3<&0
"$0" "$@" >&2 3<&- </dev/null &
pid=$!
echo $pid
{ read -r _ <&3; kill -9 $pid; } >/dev/null 2>&1 &
wait $pid 2>/dev/null
code=$?
kill $! 2>/dev/null
exit $code`

// Process is a program that was started.
type Process struct {
	pid   int
	stdin io.Closer
	ended chan struct{}
	err   error // once it has ended
}

// Start starts a program, whose output goes to log, if there is one.
func Start(log *os.File, env []string, program string, args ...string) (*Process, error) {
	cmd := exec.Command("/bin/sh", append([]string{"-c", watched, program}, args...)...)
	cmd.Env = env
	if log != nil {
		cmd.Stderr = log
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{stdin: stdin, ended: make(chan struct{})}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		p.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return p, nil
}

// Kill ends the program without warning, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.stdin.Close()
	<-p.ended
}

// Signal sends a signal. SIGSTOP holds the program until SIGCONT.
func (p *Process) Signal(signal syscall.Signal) error {
	select {
	case <-p.ended:
		return os.ErrProcessDone
	default:
		return syscall.Kill(p.pid, signal)
	}
}

// Ended is closed when the program has ended. Err then says how: nil for status 0.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err is how the program ended, once it has.
func (p *Process) Err() error { return p.err }

// Memory reads VmRSS, what is resident now, or VmHWM, the most that ever was, in bytes. It needs Linux.
func (p *Process) Memory(name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if number, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(number, "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", text, name)
}
