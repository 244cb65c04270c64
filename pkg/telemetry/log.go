package telemetry

import (
	"flag"

	"k8s.io/klog/v2"
)

// AddLogFlags adds those of klog's flags that make sense for a process that logs to standard error: -v and -vmodule.
func AddLogFlags(flags *flag.FlagSet) {
	all := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(all)
	for _, name := range []string{"v", "vmodule"} {
		flags.Var(all.Lookup(name).Value, name, all.Lookup(name).Usage)
	}
}
