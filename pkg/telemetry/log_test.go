package telemetry

import (
	"flag"
	"io"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

func TestVerbosityThatShowsSecretsIsRefused(t *testing.T) {
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	AddLogFlags(flags)
	defer func() { _ = flags.Set("v", "0") }()
	for _, value := range []string{"8", "10", "-1", "x", "", "1.5", "99999999999"} {
		err := flags.Parse([]string{"-v=" + value})
		if err == nil || !strings.Contains(err.Error(), `"`+value+`"`) || !strings.Contains(err.Error(), "0 to 7") || !strings.Contains(err.Error(), "Secrets") {
			t.Errorf("-v=%s: got %v", value, err)
		}
		if klog.V(1).Enabled() {
			t.Errorf("-v=%s was set", value)
		}
	}
	if err := flags.Parse([]string{"-v", "7"}); err != nil || !klog.V(7).Enabled() || klog.V(8).Enabled() {
		t.Errorf("-v 7: %v", err)
	}
	if flags.Lookup("vmodule") != nil {
		t.Error("-vmodule would let client-go log Secrets")
	}
}
