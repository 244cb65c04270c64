package meshsync

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/deliver"
	"meshery.io/operator/pkg/telemetry"
)

// Where the objects go.
const (
	OutputBroker = "broker"
	OutputFile   = "file"
)

// DefaultOutputFile is written to when no other file is named.
const DefaultOutputFile = "meshery-cluster-snapshot.yaml"

// debugVerbosity is the least verbosity while DEBUG=true.
const debugVerbosity = 4

// Options of the agent. DefaultOptions are the defaults.
type Options struct {
	// BrokerURL is where to publish to: a server, or several of one cluster, separated by commas. BrokerToken, BrokerUser and
	// BrokerPassword, BrokerCredsFile or BrokerNKeyFile log in, whatever the URL says: in a URL a token with odd characters can be
	// mistaken for something else. BrokerCAFile is the authority of the broker's certificate.
	BrokerURL       string
	BrokerToken     string
	BrokerUser      string
	BrokerPassword  string
	BrokerCredsFile string
	BrokerNKeyFile  string
	BrokerCAFile    string
	// ReconnectWait is the pause between two attempts to reach the broker; 0 is a sensible one.
	ReconnectWait time.Duration

	// Kubeconfig and Context choose the cluster as they do for kubectl; empty means KUBECONFIG, ~/.kube/config or in-cluster.
	Kubeconfig string
	Context    string

	// Namespace and Name of the MeshSync say which watch-list ConfigMap to follow. Without them, or with a file, none is.
	Namespace     string
	Name          string
	WatchListFile string

	Output            string        // OutputBroker or OutputFile
	OutputFile        string        // path
	OutputNamespaces  []string      // only objects of these; objects without a namespace are always included
	OutputResources   []string      // only these kinds, plural or singular
	StopAfter         time.Duration // 0 is never
	HTTPAddr          string        // of /healthz, /readyz and /metrics
	PprofAddr         string        // of Go's profiles; "0" is off
	ClearSecrets      bool          // values of Secrets leave the cluster
	SkipUnchanged     bool          // changes that leave a message as it was, but for its resource version, are not published
	MessagesPerSecond float64       // 0 is no limit
	CompareInterval   time.Duration // between two comparisons of the broker's state stream with what was published
	RepeatWindow      time.Duration // before and after a break of the connection to the broker: what is published then is said once more

	// Identity tells this agent from others of the same MeshSync, of which one publishes.
	Identity string

	misread []error // what of the environment cannot be read
}

// DefaultOptions returns the options of an agent that was told nothing.
func DefaultOptions() Options {
	return Options{Output: OutputBroker, OutputFile: DefaultOutputFile, HTTPAddr: fmt.Sprint(":", meshery.PortAgent), PprofAddr: "0", CompareInterval: deliver.CompareInterval, RepeatWindow: deliver.RepeatWindow}
}

// AddFlags makes the options settable on a command line.
func (o *Options) AddFlags(flags *flag.FlagSet) {
	o.AddBrokerFlags(flags)
	flags.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "kubeconfig file; KUBECONFIG, ~/.kube/config or in-cluster without it")
	flags.StringVar(&o.Context, "context", o.Context, "context in the kubeconfig")
	flags.StringVar(&o.WatchListFile, "watch-list-file", o.WatchListFile, "YAML or JSON file with whitelist and blacklist, instead of a MeshSync's ConfigMap")
	flags.StringVar(&o.Output, "output", o.Output, "broker: publish every change; file: write all objects to a file once and exit")
	flags.StringVar(&o.OutputFile, "outputFile", o.OutputFile, "file to write with --output=file")
	flags.Func("outputNamespaces", "only objects of these namespaces, separated by commas, and those that have none", listOf(&o.OutputNamespaces))
	flags.Func("outputResources", "only these kinds of the watch-list, separated by commas, such as pods,deployments", listOf(&o.OutputResources))
	flags.DurationVar(&o.StopAfter, "stopAfter", o.StopAfter, "stop after this time, such as 30s; 0 is never")
	flags.StringVar(&o.HTTPAddr, "http-addr", o.HTTPAddr, "address of /healthz, /readyz and /metrics")
	flags.StringVar(&o.PprofAddr, "pprof-addr", o.PprofAddr, `address of Go's profiles under /debug/pprof/, such as 127.0.0.1:6060; "0" turns it off`)
	flags.DurationVar(&o.CompareInterval, "compare-interval", o.CompareInterval, "time between two comparisons of the broker's state stream with what was published, such as 5m")
	flags.DurationVar(&o.RepeatWindow, "repeat-window", o.RepeatWindow, "what is published this long before and after a break of the connection to the broker is published once more on the core subject, such as 30s")
	flags.Float64Var(&o.MessagesPerSecond, "max-messages-per-second", o.MessagesPerSecond, "most messages to publish per second; 0 is no limit")
}

// AddBrokerFlags makes settable where the broker is, and nothing else.
func (o *Options) AddBrokerFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.BrokerURL, "broker-url", o.BrokerURL, "URL of the broker, such as nats://token@host:4222; "+meshery.EnvBrokerURL+" wins over it")
}

func listOf(into *[]string) func(string) error {
	return func(text string) error {
		*into = nil
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*into = append(*into, item)
			}
		}
		return nil
	}
}

// ReadEnvironment takes over what the operator and Meshery Server set in the agent's environment.
func (o *Options) ReadEnvironment(getenv func(string) string) {
	if url := getenv(meshery.EnvBrokerURL); url != "" {
		o.BrokerURL = url
	}
	o.BrokerToken = getenv(meshery.EnvBrokerToken)
	o.BrokerUser = getenv(meshery.EnvBrokerUser)
	o.BrokerPassword = getenv(meshery.EnvBrokerPassword)
	o.BrokerCredsFile = getenv(meshery.EnvBrokerCredsFile)
	o.BrokerNKeyFile = getenv(meshery.EnvBrokerNKeyFile)
	o.BrokerCAFile = getenv(meshery.EnvBrokerCAFile)
	o.Namespace = getenv(meshery.EnvNamespace)
	o.Name = getenv(meshery.EnvName)
	o.Identity = getenv(meshery.EnvIdentity)
	o.SkipUnchanged = o.readFlag(getenv, meshery.EnvContentDedup, false)
	o.ClearSecrets = !o.readFlag(getenv, meshery.EnvRedactSecrets, true)
}

// readFlag reads true or false. Anything else is remembered for Validate, and meanwhile as if nothing were there.
func (o *Options) readFlag(getenv func(string) string, name string, otherwise bool) bool {
	switch text := getenv(name); {
	case text == "":
		return otherwise
	case strings.EqualFold(text, "true"):
		return true
	case strings.EqualFold(text, "false"):
		return false
	default:
		o.misread = append(o.misread, fmt.Errorf("%s=%q: want true or false", name, text))
		return otherwise
	}
}

// Verbosity is the verbosity of the log that the environment asks for.
func Verbosity(getenv func(string) string) (int, error) {
	verbosity := 0
	if text := getenv(meshery.EnvVerbosity); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil || number < 0 || number > telemetry.MaxVerbosity {
			return 0, fmt.Errorf("%s=%q: %w", meshery.EnvVerbosity, text, telemetry.ErrVerbosity)
		}
		verbosity = number
	}
	if text := getenv(meshery.EnvDebug); text != "" {
		debug, err := strconv.ParseBool(text)
		if err != nil {
			return 0, fmt.Errorf("%s=%q: want true or false", meshery.EnvDebug, text)
		}
		if debug {
			verbosity = max(verbosity, debugVerbosity)
		}
	}
	return verbosity, nil
}

// Broker says where the broker is and how to log in.
func (o *Options) Broker() (bus.Address, error) {
	address, err := bus.ParseAddress(o.BrokerURL)
	if err != nil {
		return address, fmt.Errorf("set %s or --broker-url: %w", meshery.EnvBrokerURL, err)
	}
	if (o.BrokerUser == "") != (o.BrokerPassword == "") {
		return address, fmt.Errorf("%s and %s: set both or none", meshery.EnvBrokerUser, meshery.EnvBrokerPassword)
	}
	switch logins := o.logins(); len(logins) {
	case 0: // what the URL says
	case 1:
		address.Token, address.User, address.Password = o.BrokerToken, o.BrokerUser, o.BrokerPassword
		address.CredsFile, address.NKeyFile = o.BrokerCredsFile, o.BrokerNKeyFile
	default:
		return address, fmt.Errorf("%s are set: want the one that the broker asks for", strings.Join(logins, " and "))
	}
	address.CAFile = o.BrokerCAFile
	for _, file := range []struct {
		env   string
		check func() error
	}{
		{meshery.EnvBrokerCredsFile, address.CheckCreds},
		{meshery.EnvBrokerNKeyFile, address.CheckNKey},
		{meshery.EnvBrokerCAFile, address.CheckAuthority},
	} {
		if err := file.check(); err != nil {
			return address, fmt.Errorf("%s: %w", file.env, err)
		}
	}
	return address, nil
}

// logins are the variables in the environment that say how to log in.
func (o *Options) logins() []string {
	var set []string
	for _, login := range []struct{ env, value string }{
		{meshery.EnvBrokerToken, o.BrokerToken},
		{meshery.EnvBrokerUser, o.BrokerUser},
		{meshery.EnvBrokerCredsFile, o.BrokerCredsFile},
		{meshery.EnvBrokerNKeyFile, o.BrokerNKeyFile},
	} {
		if login.value != "" {
			set = append(set, login.env)
		}
	}
	return set
}

// Validate returns everything that is wrong with the options.
func (o *Options) Validate() error {
	problems := slices.Clone(o.misread)
	rule := func(holds bool, format string, args ...any) {
		if !holds {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	rule(o.Output == OutputBroker || o.Output == OutputFile, "--output=%q: want %s or %s", o.Output, OutputBroker, OutputFile)
	rule(o.StopAfter >= 0, "--stopAfter=%s: want a duration of 0 or more, such as 30s", o.StopAfter)
	rule(o.MessagesPerSecond >= 0, "--max-messages-per-second=%v: want 0 for no limit, or more", o.MessagesPerSecond)
	rule(o.CompareInterval > 0, "--compare-interval=%s: want a duration above 0, such as 5m", o.CompareInterval)
	rule(o.RepeatWindow > 0, "--repeat-window=%s: want a duration above 0, such as 30s", o.RepeatWindow)
	rule((o.Namespace == "") == (o.Name == ""), "%s=%q and %s=%q: set both or none", meshery.EnvNamespace, o.Namespace, meshery.EnvName, o.Name)
	for _, namespace := range o.OutputNamespaces {
		rule(len(validation.IsDNS1123Label(namespace)) == 0, "--outputNamespaces: %q cannot be the name of a namespace", namespace)
	}
	for _, resource := range o.OutputResources {
		rule(len(validation.IsDNS1035Label(strings.ToLower(resource))) == 0, "--outputResources: %q: want plural or singular names such as pods,deployments", resource)
	}
	if o.WatchListFile != "" {
		_, err := os.Stat(o.WatchListFile)
		rule(err == nil, "--watch-list-file: %w", err)
	}
	switch o.Output {
	case OutputBroker:
		_, err := o.Broker()
		rule(err == nil, "%w", err)
		rule(o.HTTPAddr != "", "--http-addr: want an address such as :%d", meshery.PortAgent)
	case OutputFile:
		rule(o.OutputFile != "", "--outputFile: want the name of a file")
	}
	return errors.Join(problems...)
}
