package main

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestTheAPIServerIsToldWhatWasAskedFor(t *testing.T) {
	e := endpoints{host: "10.200.0.1", port: 6443, etcd: 2379, services: netip.MustParsePrefix("10.200.128.0/18")}
	for name, test := range map[string]struct {
		options      options
		want, refuse []string // whole arguments, or their beginning
	}{
		"always": {options{},
			[]string{"--authorization-mode=Node,RBAC", "--bind-address=10.200.0.1", "--secure-port=6443", "--service-cluster-ip-range=10.200.128.0/18"},
			[]string{"--audit-", "--kubelet-"}},
		"with a node":    {options{Node: true}, []string{"--kubelet-client-certificate="}, []string{"--endpoint-reconciler-type"}},
		"with audit":     {options{Audit: true}, []string{"--audit-log-path=/c/audit.log"}, nil},
		"with more args": {options{APIServerArgs: []string{"feature-gates=A=true"}}, []string{"--feature-gates=A=true"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			args := apiServerArgs("/c", e, test.options)
			has := func(prefix string) bool {
				return slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, prefix) })
			}
			for _, want := range test.want {
				if !has(want) {
					t.Errorf("%s is missing", want)
				}
			}
			for _, refused := range test.refuse {
				if has(refused) {
					t.Errorf("%s is there", refused)
				}
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for args, want := range map[string]string{
		"--name Local":              `name "Local"`,
		"--apiserver-arg v":         "want name=value",
		"--no-such-flag":            "not defined: -no-such-flag",
		"more":                      `unexpected argument "more"`,
		"--apiserver-arg a=b --dir": "needs an argument",
	} {
		if _, err := parseOptions("up", "local", strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("up %s: got %v, want %q", args, err, want)
		}
	}
}

func TestStateSurvivesBeingWrittenDown(t *testing.T) {
	f := folder(filepath.Join(t.TempDir(), "cluster"))
	if _, err := f.load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: got %v", err)
	}
	if err := f.create(); err != nil {
		t.Fatal(err)
	}
	want := &state{
		Options:    options{Name: "local", Dir: string(f), Node: true},
		Supervisor: identify("supervisor", os.Getpid()),
		Processes:  []process{{Name: partEtcd, PID: 7, Start: "1"}},
		Link:       "cluster200",
		Subnet:     200,
		Ready:      &info{Name: "local"},
	}
	if err := f.save(want); err != nil {
		t.Fatal(err)
	}
	got, err := f.load()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !got.Supervisor.alive() {
		t.Error("this very process is not recognised")
	}
	if recycled := (process{PID: os.Getpid(), Start: "1"}); recycled.alive() {
		t.Error("a process with our id but another start is taken for us")
	}
	if err := f.create(); err == nil {
		t.Error("a folder with something in it is taken for a new cluster")
	}
}

func TestEveryPartCanBeBuiltAndHasAVersion(t *testing.T) {
	b := builder{root: ".", cache: t.TempDir()}
	paths := make(map[string]string)
	for _, s := range sources() {
		o, err := b.plan(s, allParts(), paths)
		if err != nil {
			t.Fatal(err)
		}
		again, err := b.plan(s, allParts(), paths)
		if err != nil {
			t.Fatal(err)
		}
		if o.target != again.target {
			t.Errorf("%s is built anew each time: %s, then %s", s.folder, o.target, again.target)
		}
	}
	for _, name := range allParts() {
		if paths[name] == "" {
			t.Errorf("nothing builds %s", name)
		}
	}
	if _, err := b.ensure(t.Context(), "no-such-part"); err == nil || !strings.Contains(err.Error(), "one of etcd, kube-apiserver") {
		t.Errorf("unknown part: got %v", err)
	}
}

func TestADownOfAFolderThatIsNotOursTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := takeDown(folder(dir)); err == nil || !strings.Contains(err.Error(), "nothing is removed") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}
