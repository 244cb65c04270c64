package main

import (
	"flag"
	"slices"
	"testing"
	"time"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/pkg/meshsync/tail"
)

func TestTailListsOnlyFlagsThatItHeeds(t *testing.T) {
	var names []string
	tailFlags(&meshsync.Options{}, &tail.Options{}).VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	if want := []string{"broker-url", "resync", "stopAfter", "v"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

func TestParse(t *testing.T) {
	t.Setenv("BROKER_URL", "")
	options, tailing := meshsync.DefaultOptions(), tail.Options{}
	command, err := parse([]string{"tail", "--broker-url=nats://b", "--stopAfter=3s", "--resync"}, &options, &tailing)
	if err != nil || command != "tail" || options.BrokerURL != "nats://b" || tailing.StopAfter != 3*time.Second || !tailing.Resync || options.StopAfter != 0 {
		t.Errorf("got %q, %v, %+v, %+v", command, err, options, tailing)
	}
	if command, err := parse([]string{"--stopAfter=3s"}, &options, &tailing); err != nil || command != "" || options.StopAfter != 3*time.Second {
		t.Errorf("got %q, %v, %+v", command, err, options)
	}
	if command, err := parse([]string{"--version"}, &options, &tailing); err != nil || command != "version" {
		t.Errorf("got %q, %v", command, err)
	}
	for _, args := range [][]string{{"tail", "--output=file"}, {"--resync"}, {"-v=8"}, {"tail", "-v=8"}, {"nonsense"}} {
		if _, err := parse(args, &options, &tailing); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
