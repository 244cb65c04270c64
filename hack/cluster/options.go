package main

import (
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
)

// options say what cluster to run. `up` hands them to its supervisor as they are.
type options struct {
	Name          string   `json:"name"`
	Dir           string   `json:"dir"`
	Node          bool     `json:"node,omitempty"`
	Audit         bool     `json:"audit,omitempty"`
	Port          int      `json:"port,omitempty"` // of the API server; 0 takes a free one
	APIServerArgs []string `json:"apiServerArgs,omitempty"`
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (o options) validate() error {
	if !validName.MatchString(o.Name) {
		return fmt.Errorf("name %q: want lower case letters, digits and dashes, at most 32", o.Name)
	}
	for _, arg := range o.APIServerArgs {
		if name, _, found := strings.Cut(arg, "="); !found || name == "" {
			return fmt.Errorf("--apiserver-arg %q: want name=value", arg)
		}
	}
	return nil
}

// target is how to name the cluster to `cluster down`.
func (o options) target() string {
	if root, err := runRoot(); err == nil && o.Dir == filepath.Join(root, o.Name) {
		return "--name " + o.Name
	}
	return "--dir " + o.Dir
}

// parseOptions reads the flags of up and run.
func parseOptions(command, defaultName string, args []string) (options, error) {
	var o options
	flags := newFlagSet(command, &o, defaultName)
	flags.BoolVar(&o.Node, "node", false, "")
	flags.BoolVar(&o.Audit, "audit", false, "")
	flags.IntVar(&o.Port, "port", 0, "")
	flags.Func("apiserver-arg", "", func(arg string) error {
		o.APIServerArgs = append(o.APIServerArgs, arg)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; see `cluster help`", flags.Arg(0))
	}
	if err := o.validate(); err != nil {
		return o, err
	}
	return o, o.locate()
}

// parseTarget reads the flags of commands about an existing cluster. rest receives further arguments; without it there are none.
func parseTarget(command string, args []string, rest *[]string) (options, error) {
	var o options
	flags := newFlagSet(command, &o, "local")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if rest != nil {
		*rest = flags.Args()
	} else if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; see `cluster help`", flags.Arg(0))
	}
	if err := o.validate(); err != nil {
		return o, err
	}
	if err := o.locate(); err != nil {
		return o, err
	}
	if s, err := folder(o.Dir).load(); err == nil {
		o.Name = s.Options.Name // for messages, when only the folder was named
	}
	return o, nil
}

func newFlagSet(command string, o *options, defaultName string) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error, once
	flags.StringVar(&o.Name, "name", defaultName, "")
	flags.StringVar(&o.Dir, "dir", "", "")
	return flags
}

// locate fills in the folder.
func (o *options) locate() error {
	if o.Dir == "" {
		root, err := runRoot()
		if err != nil {
			return err
		}
		o.Dir = filepath.Join(root, o.Name)
	}
	var err error
	o.Dir, err = filepath.Abs(o.Dir)
	return err
}
