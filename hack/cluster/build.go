package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cacheRoot is where everything of this tool lives for the current user: built parts and, by default, running clusters.
func cacheRoot() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(dir, "meshery-operator-cluster"), nil
}

// builder turns parts into binaries, once per version. A folder of the cache is named after its source, the version and a
// hash of everything that decides the result; a file in it is complete, because it got there by a rename.
type builder struct {
	root     string // folder of this module
	cache    string
	progress io.Writer
}

// order is one `go build`: the parts of one source that are missing. One invocation for all of them is quicker than one
// each, since linking, which uses a single core, then overlaps with compiling.
type order struct {
	source  source
	version string
	target  string // folder of the cache
	missing []string
}

// ensure builds what is missing and returns the path of each part.
func (b builder) ensure(ctx context.Context, parts ...string) (map[string]string, error) {
	paths := make(map[string]string, len(parts))
	var orders []order
	for _, s := range sources() {
		o, err := b.plan(s, parts, paths)
		if err != nil {
			return nil, err
		}
		if len(o.missing) > 0 {
			orders = append(orders, o)
		}
	}
	for _, name := range parts {
		if paths[name] == "" {
			return nil, fmt.Errorf("unknown part %q: one of %s", name, strings.Join(allParts(), ", "))
		}
	}
	for i, o := range orders {
		if err := b.carryOut(ctx, o, fmt.Sprintf("(%d of %d)", i+1, len(orders))); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// plan says what of a source is wanted and missing, and notes in paths where every wanted part is or will be.
func (b builder) plan(s source, parts []string, paths map[string]string) (order, error) {
	var wanted []string
	for _, name := range parts {
		if s.packages[name] != "" && !slices.Contains(wanted, name) {
			wanted = append(wanted, name)
		}
	}
	if len(wanted) == 0 {
		return order{}, nil
	}
	version, err := s.version(b.root)
	if err != nil {
		return order{}, err
	}
	key, err := b.key(s, version)
	if err != nil {
		return order{}, err
	}
	o := order{source: s, version: version, target: filepath.Join(b.cache, filepath.Base(s.name())+"-"+version+"-"+key)}
	for _, name := range wanted {
		paths[name] = filepath.Join(o.target, name)
	}
	o.missing = o.stillMissing(wanted)
	return o, nil
}

// name is the short name of a source: that of its folder, or of its only part.
func (s source) name() string {
	if s.folder != "." {
		return s.folder
	}
	return "pause"
}

func (o order) stillMissing(parts []string) []string {
	return slices.DeleteFunc(slices.Clone(parts), func(name string) bool {
		_, err := os.Stat(filepath.Join(o.target, name))
		return err == nil
	})
}

// key hashes the inputs of a build. The Go version is not part of it: a new toolchain alone is no reason to build for minutes.
func (b builder) key(s source, version string) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.GOOS, runtime.GOARCH, s.ldflags(version))
	inputs := s.inputs
	if s.module != "" {
		inputs = []string{filepath.Join(s.folder, "go.mod"), filepath.Join(s.folder, "go.sum")}
	}
	for _, input := range inputs {
		err := filepath.WalkDir(filepath.Join(b.root, input), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			fmt.Fprintln(hash, entry.Name(), len(text))
			hash.Write(text)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

// carryOut builds into a temporary folder and renames, holding a lock so that two callers do not build the same twice.
func (b builder) carryOut(ctx context.Context, o order, count string) error {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("the go command is needed to build %s: install Go 1.26 or newer and put it on PATH", strings.Join(o.missing, ", "))
	}
	if err := os.MkdirAll(o.target, 0o755); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(o.target, ".lock"), func() {
		fmt.Fprintf(b.progress, "waiting for another process that builds %s %s\n", strings.Join(o.missing, ", "), o.version)
	})
	if err != nil {
		return err
	}
	defer unlock()
	if o.missing = o.stillMissing(o.missing); len(o.missing) == 0 {
		return nil
	}
	scratch, err := newScratch(o.target)
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	stop := b.report(fmt.Sprintf("building %s %s %s", strings.Join(o.missing, ", "), o.version, count))
	defer stop()
	if err := b.compile(ctx, goTool, o, scratch); err != nil {
		return fmt.Errorf("build %s %s: %w", strings.Join(o.missing, ", "), o.version, err)
	}
	for _, name := range o.missing {
		if err := os.Rename(filepath.Join(scratch, name), filepath.Join(o.target, name)); err != nil {
			return err
		}
	}
	return nil
}

// newScratch makes a folder to build in, removing those of builds that were killed: the caller holds the lock, so none is in use.
func newScratch(target string) (string, error) {
	const prefix = ".build-"
	stale, err := filepath.Glob(filepath.Join(target, prefix+"*"))
	if err != nil {
		return "", err
	}
	for _, dir := range stale {
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(target, prefix)
}

func (b builder) compile(ctx context.Context, goTool string, o order, scratch string) error {
	if o.missing[0] == partPause {
		return b.packPause(ctx, goTool, scratch)
	}
	var packages []string
	for _, name := range o.missing {
		packages = append(packages, o.source.packages[name])
	}
	output := scratch + string(filepath.Separator)
	if len(packages) == 1 { // go would name it after the package, which for etcd is "server"
		output = filepath.Join(scratch, o.missing[0])
	}
	args := append([]string{"build", "-trimpath", "-ldflags", o.source.ldflags(o.version), "-o", output}, packages...)
	return b.goCommand(ctx, goTool, filepath.Join(b.root, o.source.folder), args...)
}

// packPause builds the one image that a kubelet needs before it can run any pod.
func (b builder) packPause(ctx context.Context, goTool, scratch string) error {
	binary := filepath.Join(scratch, "pause")
	if err := b.goCommand(ctx, goTool, b.root, "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./pause"); err != nil {
		return err
	}
	return b.goCommand(ctx, goTool, filepath.Join(b.root, "..", "image"), "run", ".",
		"-o", filepath.Join(scratch, partPause), "-name", pauseImage, "-entrypoint", "/pause", "-arch", runtime.GOARCH, binary+"=/pause")
}

// goCommand runs the go tool for this machine, whatever the caller's environment builds for, and without its workspace.
func (b builder) goCommand(ctx context.Context, goTool, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, goTool, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // lets go remove its work folder
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	withDeathSignal(cmd.SysProcAttr)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w\n%s", err, lastLines(output.Bytes(), 20))
	}
	return nil
}

// report writes one line that ends in the time a step takes; on a terminal that time counts up.
func (b builder) report(step string) (stop func()) {
	begin := time.Now()
	line := func(end string) {
		fmt.Fprintf(b.progress, "%s … %.0fs%s", step, time.Since(begin).Seconds(), end)
	}
	if !isTerminal(b.progress) {
		fmt.Fprintf(b.progress, "%s …", step)
		return func() { fmt.Fprintf(b.progress, " %.0fs\n", time.Since(begin).Seconds()) }
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			line("\r")
			select {
			case <-tick.C:
			case <-done:
				line("\n")
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// lock takes an exclusive lock on a file, calling waiting first if somebody else has it. The kernel drops it with the process.
func lock(path string, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		waiting()
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}

// lastLines returns the end of a log, for error messages.
func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
