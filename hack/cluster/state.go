package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// info is what a caller needs to use a cluster: the line that `cluster run` prints.
type info struct {
	Name        string `json:"name"`
	Dir         string `json:"dir"`
	Kubeconfig  string `json:"kubeconfig"`
	Server      string `json:"server"`
	CA          string `json:"ca"`
	Etcd        string `json:"etcd"` // asks for a client certificate: pki/etcd-client.{crt,key}, signed by pki/etcd-ca.crt
	Logs        string `json:"logs"` // one file per component
	ServiceCIDR string `json:"serviceCIDR"`
	AuditLog    string `json:"auditLog,omitempty"`

	NodeName   string `json:"nodeName,omitempty"`
	NodeIP     string `json:"nodeIP,omitempty"` // NodePorts answer here
	HostIP     string `json:"hostIP,omitempty"` // how pods reach the machine that runs the cluster
	PodCIDR    string `json:"podCIDR,omitempty"`
	ClusterDNS string `json:"clusterDNS,omitempty"`
}

// state is what has to be known to remove a cluster, written down before the thing itself exists: whoever is killed half-way
// leaves enough behind for `cluster down`.
type state struct {
	Options    options   `json:"options"`
	Supervisor process   `json:"supervisor"`
	Processes  []process `json:"processes,omitempty"`
	Link       string    `json:"link,omitempty"`   // host's end of the node's veth pair, if it carries our mark
	Subnet     subnet    `json:"subnet,omitempty"` // ours for certain, with its cgroups and route
	Ready      *info     `json:"ready,omitempty"`
}

// folder is a cluster's place in the file system.
type folder string

func (f folder) path(elem ...string) string {
	return filepath.Join(append([]string{string(f)}, elem...)...)
}
func (f folder) pki(file string) string        { return f.path("pki", file) }
func (f folder) log(component string) string   { return f.path("logs", component+".log") }
func (f folder) kubeconfig(user string) string { return f.path(user + ".kubeconfig") }
func (f folder) stateFile() string             { return f.path("state.json") }

// runRoot is where clusters live unless told otherwise.
func runRoot() (string, error) {
	root, err := cacheRoot()
	return filepath.Join(root, "run"), err
}

// create makes the folder. One that holds anything is refused: `down` would remove that too.
func (f folder) create() error {
	entries, err := os.ReadDir(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("folder %s is not empty", f)
	}
	for _, dir := range []string{"pki", "logs"} {
		if err := os.MkdirAll(f.path(dir), 0o700); err != nil {
			return err
		}
	}
	return os.Chmod(string(f), 0o700) // it holds keys
}

// load reads the state; a folder without one is not ours and yields fs.ErrNotExist.
func (f folder) load() (*state, error) {
	text, err := os.ReadFile(f.stateFile())
	if err != nil {
		return nil, err
	}
	s := new(state)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.stateFile(), err)
	}
	return s, nil
}

// save replaces the state in one step, so that nobody ever reads half of it.
func (f folder) save(s *state) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(f.stateFile(), append(text, '\n'))
}

// writeFile writes a file of the owner's own, complete or not at all.
func writeFile(path string, text []byte) error {
	next := path + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
