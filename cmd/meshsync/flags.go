package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/pkg/meshsync/tail"
	"meshery.io/operator/pkg/telemetry"
)

// parse reads the command line and the environment into the options and says what to do: "", "tail" or "version".
func parse(args []string, options *meshsync.Options, tailing *tail.Options) (command string, err error) {
	version := false
	flags := agentFlags(options, &version)
	if len(args) > 0 && args[0] == "tail" {
		command, args, flags = "tail", args[1:], tailFlags(options, tailing)
	}
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
	if version {
		return "version", nil
	}
	options.ReadEnvironment(os.Getenv)
	return command, setVerbosity(flags)
}

func agentFlags(options *meshsync.Options, version *bool) *flag.FlagSet {
	flags := flag.NewFlagSet("meshsync", flag.ContinueOnError)
	options.AddFlags(flags)
	flags.BoolVar(version, "version", false, "print the version and exit")
	telemetry.AddLogFlags(flags)
	return flags
}

// tailFlags are tail's own and the agent's that say where the broker is.
func tailFlags(options *meshsync.Options, tailing *tail.Options) *flag.FlagSet {
	flags := flag.NewFlagSet("meshsync tail", flag.ContinueOnError)
	options.AddBrokerFlags(flags)
	tailing.AddFlags(flags)
	telemetry.AddLogFlags(flags)
	return flags
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
