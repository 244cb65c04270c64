package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Names of the programs, as asked for by `cluster path`.
const (
	partEtcd              = "etcd"
	partAPIServer         = "kube-apiserver"
	partControllerManager = "kube-controller-manager"
	partScheduler         = "kube-scheduler"
	partKubelet           = "kubelet"
	partProxy             = "kube-proxy"
	partCoreDNS           = "coredns"
	partPause             = "pause.tar"
	partKubectl           = "kubectl"
	partNATS              = "nats-server"
)

var (
	controlPlaneParts = []string{partEtcd, partAPIServer, partControllerManager}
	nodeParts         = []string{partScheduler, partKubelet, partProxy, partCoreDNS, partPause}
	clientParts       = []string{partKubectl, partNATS}
)

// source is a Go module that yields one or more parts. Each upstream has a module of its own below parts/, because they want
// different versions of the modules they share.
type source struct {
	folder   string            // where go.mod is, relative to this module
	module   string            // the required module whose version is the version of the parts; "" for our own code
	packages map[string]string // part name -> package
	inputs   []string          // further files or folders that the result depends on
}

func sources() []source {
	const kubernetes = "k8s.io/kubernetes/cmd/"
	return []source{
		{
			folder: "parts/etcd", module: "go.etcd.io/etcd/server/v3",
			packages: map[string]string{partEtcd: "go.etcd.io/etcd/server/v3"},
		},
		{
			folder: "parts/kubernetes", module: "k8s.io/kubernetes",
			packages: map[string]string{
				partAPIServer:         kubernetes + partAPIServer,
				partControllerManager: kubernetes + partControllerManager,
				partScheduler:         kubernetes + partScheduler,
				partKubelet:           kubernetes + partKubelet,
				partProxy:             kubernetes + partProxy,
				partKubectl:           kubernetes + partKubectl,
			},
		},
		{
			folder: "parts/coredns", module: "github.com/coredns/coredns",
			packages: map[string]string{partCoreDNS: "github.com/coredns/coredns"},
		},
		{
			folder: "parts/nats", module: "github.com/nats-io/nats-server/v2",
			packages: map[string]string{partNATS: "github.com/nats-io/nats-server/v2"},
		},
		{
			folder:   ".",
			packages: map[string]string{partPause: "./pause"},
			inputs:   []string{"pause", "../image"},
		},
	}
}

// allParts returns the name of everything that can be built.
func allParts() []string {
	return slices.Concat(controlPlaneParts, nodeParts, clientParts)
}

// partsFor returns what a cluster needs.
func partsFor(node bool) []string {
	if node {
		return slices.Concat(controlPlaneParts, nodeParts)
	}
	return controlPlaneParts
}

// sourceRoot finds the folder of this module: where it was compiled, else above the working directory.
func sourceRoot() (string, error) {
	isRoot := func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "parts", "kubernetes", "go.mod"))
		return err == nil
	}
	if _, file, _, ok := runtime.Caller(0); ok && isRoot(filepath.Dir(file)) {
		return filepath.Dir(file), nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		for _, candidate := range []string{dir, filepath.Join(dir, "hack", "cluster")} {
			if isRoot(candidate) {
				return candidate, nil
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("hack/cluster/parts not found: run this from inside the repository")
		}
		dir = parent
	}
}

// version reads the version of a source from its go.mod, the only place it is written down.
func (s source) version(root string) (string, error) {
	if s.module == "" {
		return "local", nil
	}
	file := filepath.Join(root, s.folder, "go.mod")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	require := regexp.MustCompile(`(?m)^\s*(?:require\s+)?` + regexp.QuoteMeta(s.module) + `\s+(v\S+)`)
	match := require.FindSubmatch(text)
	if match == nil {
		return "", fmt.Errorf("%s requires no %s", file, s.module)
	}
	return string(match[1]), nil
}

// ldflags strips the programs and tells Kubernetes its version: unset, clients would see v0.0.0 and refuse to skew that far.
func (s source) ldflags(version string) string {
	const strip = "-s -w"
	if s.module != "k8s.io/kubernetes" {
		return strip
	}
	number := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	const set = " -X k8s.io/component-base/version."
	return strip + set + "gitVersion=" + version + set + "gitMajor=" + number[0] + set + "gitMinor=" + number[1]
}
