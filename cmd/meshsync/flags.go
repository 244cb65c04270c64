package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"

	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync"
)

// parse reads the command line and the environment into the options and says what to do: "", "tail" or "version".
func parse(args []string, options *meshsync.Options) (command string, err error) {
	if len(args) > 0 && args[0] == "tail" {
		command, args = "tail", args[1:]
	}
	flags := flag.NewFlagSet("meshsync "+command, flag.ContinueOnError)
	version := flags.Bool("version", false, "print the version and exit")
	options.AddFlags(flags)
	addLogFlags(flags)
	flags.SetOutput(io.Discard) // an error is printed once, without all the flags
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(os.Stdout)
			flags.PrintDefaults()
		}
		return "", err
	}
	if flags.NArg() > 0 {
		return "", fmt.Errorf("unexpected %q: the only command is tail, and flags start with --", flags.Arg(0))
	}
	if *version {
		return "version", nil
	}
	options.ReadEnvironment(os.Getenv)
	return command, setVerbosity(flags)
}

// addLogFlags takes those of klog's flags that make sense for a process that logs to stderr.
func addLogFlags(flags *flag.FlagSet) {
	all := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(all)
	for _, name := range []string{"v", "vmodule"} {
		flags.Var(all.Lookup(name).Value, name, all.Lookup(name).Usage)
	}
}

// setVerbosity takes the verbosity from the environment unless there was a flag.
func setVerbosity(flags *flag.FlagSet) error {
	verbosity, err := meshsync.Verbosity(os.Getenv)
	if err != nil {
		return err
	}
	given := false
	flags.Visit(func(f *flag.Flag) { given = given || f.Name == "v" })
	if given {
		return nil
	}
	return flags.Set("v", strconv.Itoa(verbosity))
}
