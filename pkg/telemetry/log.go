package telemetry

import (
	"flag"
	"fmt"
	"strconv"

	"k8s.io/klog/v2"
)

// MaxVerbosity is the highest verbosity of the log. From 8 on client-go logs what the API server answers, Secrets in clear too.
const MaxVerbosity = 7

// ErrVerbosity says which verbosity is right, and why no other is.
var ErrVerbosity = fmt.Errorf("want a number from 0 to %d; above, the log would show Secrets in clear", MaxVerbosity)

// AddLogFlags adds the one of klog's flags that makes sense for a process that logs to standard error: -v, up to MaxVerbosity.
// There is no -vmodule, which would let single files of client-go log more than that.
func AddLogFlags(flags *flag.FlagSet) {
	flags.Func("v", fmt.Sprintf("`verbosity` of the log, 0 to %d", MaxVerbosity), func(text string) error {
		verbosity, err := strconv.Atoi(text)
		if err != nil || verbosity < 0 || verbosity > MaxVerbosity {
			return ErrVerbosity
		}
		return new(klog.Level).Set(text)
	})
}
