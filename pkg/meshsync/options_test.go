package meshsync_test

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/test/natsserver"
)

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func parse(t *testing.T, args ...string) meshsync.Options {
	t.Helper()
	options := meshsync.DefaultOptions()
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	options.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return options
}

func TestFlagsOfTheExistingAgent(t *testing.T) {
	got := parse(t, "--output=file", "--outputFile", "x.yaml", "--outputNamespaces=a, b,", "--outputResources=pods", "--stopAfter=30s", "--broker-url=nats://b")
	if got.Output != "file" || got.OutputFile != "x.yaml" || !slices.Equal(got.OutputNamespaces, []string{"a", "b"}) ||
		!slices.Equal(got.OutputResources, []string{"pods"}) || got.StopAfter != 30*time.Second || got.BrokerURL != "nats://b" {
		t.Errorf("got %+v", got)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	options := parse(t, "--broker-url=nats://flag")
	options.ReadEnvironment(environment(map[string]string{
		"BROKER_URL": "nats://env", "BROKER_TOKEN": "t/1", "MESHSYNC_NAMESPACE": "ns", "MESHSYNC_NAME": "m", "MESHSYNC_REDACT_SECRETS": "False",
	}))
	address, err := options.Broker()
	if err != nil || address.URL != "nats://env:4222" || address.Token != "t/1" || options.Namespace != "ns" || options.Name != "m" || !options.ClearSecrets {
		t.Errorf("got %+v, %+v, %v", options, address, err)
	}
	for _, value := range []string{"", "true", "no", "nonsense"} {
		options.ReadEnvironment(environment(map[string]string{"MESHSYNC_REDACT_SECRETS": value}))
		if options.ClearSecrets {
			t.Errorf("MESHSYNC_REDACT_SECRETS=%q publishes secrets in clear", value)
		}
	}
}

func TestFlagsOfTheEnvironmentAreTrueOrFalse(t *testing.T) {
	for _, name := range []string{"MESHSYNC_REDACT_SECRETS", "MESHSYNC_BROKER_CONTENT_DEDUP"} {
		for value, valid := range map[string]bool{"": true, "true": true, "False": true, "no": false, "1": false, " false": false} {
			options := parse(t, "--broker-url=nats://host")
			options.ReadEnvironment(environment(map[string]string{name: value}))
			err := options.Validate()
			if valid != (err == nil) || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%s=%q", name, value)) {
				t.Errorf("%s=%q: %v", name, value, err)
			}
		}
	}
}

func TestSkippingWhatIsUnchangedIsAskedFor(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "True": true, "": false, "false": false, "1": false, "nonsense": false} {
		options := parse(t)
		options.ReadEnvironment(environment(map[string]string{"MESHSYNC_BROKER_CONTENT_DEDUP": value}))
		if options.SkipUnchanged != want {
			t.Errorf("MESHSYNC_BROKER_CONTENT_DEDUP=%q: got %v", value, options.SkipUnchanged)
		}
	}
}

func TestTokenOfTheEnvironmentWins(t *testing.T) {
	options := parse(t, "--broker-url=nats://own@host")
	if address, err := options.Broker(); err != nil || address.Token != "own" {
		t.Errorf("the token in the URL is not used: %+v, %v", address, err)
	}
	for _, token := range []string{"plain", "a:b", "a%2Fb", "%", ":", "@", "a/b", "#a", "a?b", "nats://a@b:1", "a@b:c%d/e#f?g"} {
		options.ReadEnvironment(environment(map[string]string{"BROKER_URL": "nats://" + token + "@host:4223", "BROKER_TOKEN": token}))
		address, err := options.Broker()
		if want := (bus.Address{URL: "nats://host:4223", Token: token}); err != nil || address != want {
			t.Errorf("%s: got %#v, %v", token, address, err)
		}
	}
}

func TestUserOfTheEnvironmentWins(t *testing.T) {
	options := parse(t)
	options.ReadEnvironment(environment(map[string]string{"BROKER_URL": "tls://own:pass@host", "BROKER_USER": "a:b", "BROKER_PASSWORD": "c/d@e%"}))
	address, err := options.Broker()
	if want := (bus.Address{URL: "tls://host:4222", User: "a:b", Password: "c/d@e%"}); err != nil || address != want {
		t.Errorf("got %#v, %v", address, err)
	}
	options.ReadEnvironment(environment(map[string]string{"BROKER_URL": "nats://own@host", "BROKER_USER": "a", "BROKER_PASSWORD": "b"}))
	if address, err := options.Broker(); err != nil || address.Token != "" || address.User != "a" {
		t.Errorf("a token of the URL stays beside the user: %#v, %v", address, err)
	}
}

func TestLoginFilesOfTheEnvironmentWin(t *testing.T) {
	user := natsserver.NewUser(t)
	for env, test := range map[string]struct {
		text []byte
		want func(file string) bus.Address
	}{
		"BROKER_NKEY_FILE":  {user.Seed, func(file string) bus.Address { return bus.Address{URL: "nats://host:4222", NKeyFile: file} }},
		"BROKER_CREDS_FILE": {natsserver.NewAccount(t).Creds(t, user), func(file string) bus.Address { return bus.Address{URL: "nats://host:4222", CredsFile: file} }},
	} {
		file := filepath.Join(t.TempDir(), "login")
		if err := os.WriteFile(file, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, url := range []string{"nats://host", "nats://own@host", "nats://own:pass@host"} {
			options := parse(t)
			options.ReadEnvironment(environment(map[string]string{"BROKER_URL": url, env: file}))
			if address, err := options.Broker(); err != nil || address != test.want(file) {
				t.Errorf("%s: got %#v, %v", env, address, err)
			}
		}
	}
}

func TestWhatIsWrongWithTheLoginIsSaidByVariable(t *testing.T) {
	nonsense := filepath.Join(t.TempDir(), "nonsense")
	if err := os.WriteFile(nonsense, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		values map[string]string
		want   string
	}{
		{map[string]string{"BROKER_USER": "me"}, "BROKER_USER and BROKER_PASSWORD: set both or none"},
		{map[string]string{"BROKER_PASSWORD": "s3cret"}, "BROKER_USER and BROKER_PASSWORD: set both or none"},
		{map[string]string{"BROKER_TOKEN": "s3cret", "BROKER_USER": "me", "BROKER_PASSWORD": "s3cret"}, "BROKER_TOKEN and BROKER_USER are set: want the one"},
		{map[string]string{"BROKER_TOKEN": "s3cret", "BROKER_CREDS_FILE": "a", "BROKER_NKEY_FILE": "b"}, "BROKER_TOKEN and BROKER_CREDS_FILE and BROKER_NKEY_FILE are set: want the one"},
		{map[string]string{"BROKER_CREDS_FILE": "/does/not/exist"}, "BROKER_CREDS_FILE: open /does/not/exist: no such file"},
		{map[string]string{"BROKER_CREDS_FILE": nonsense}, "BROKER_CREDS_FILE: " + nonsense + " holds no user's JWT"},
		{map[string]string{"BROKER_NKEY_FILE": "/does/not/exist"}, "BROKER_NKEY_FILE: open /does/not/exist: no such file"},
		{map[string]string{"BROKER_NKEY_FILE": nonsense}, "BROKER_NKEY_FILE: " + nonsense + " holds no seed"},
		{map[string]string{"BROKER_CA_FILE": "/does/not/exist"}, "BROKER_CA_FILE: open /does/not/exist: no such file"},
		{map[string]string{"BROKER_CA_FILE": nonsense}, "BROKER_CA_FILE: " + nonsense + " holds no certificate"},
	} {
		options := parse(t)
		options.ReadEnvironment(environment(test.values))
		options.BrokerURL = "nats://host"
		err := options.Validate()
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v: got %v, want %s", test.values, err, test.want)
		}
	}
}

func TestVerbosity(t *testing.T) {
	tests := []struct {
		verbosity, debug string
		want             int
		problem          string
	}{
		{"", "", 0, ""}, {"2", "", 2, ""}, {"", "true", 4, ""}, {"2", "true", 4, ""}, {"6", "true", 6, ""}, {"2", "false", 2, ""},
		{"7", "", 7, ""}, {"8", "", 0, `MESHSYNC_VERBOSITY="8": want a number from 0 to 7; above, the log would show Secrets`},
		{"x", "", 0, `MESHSYNC_VERBOSITY="x"`}, {"-1", "", 0, `MESHSYNC_VERBOSITY="-1"`}, {"", "maybe", 0, `DEBUG="maybe"`},
	}
	for _, test := range tests {
		got, err := meshsync.Verbosity(environment(map[string]string{"MESHSYNC_VERBOSITY": test.verbosity, "DEBUG": test.debug}))
		if test.problem == "" && (err != nil || got != test.want) || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("%+v: got %d, %v", test, got, err)
		}
	}
}

func TestValidateNamesEverythingThatIsWrong(t *testing.T) {
	options := parse(t, "--output=broker", "--stopAfter=-1s", "--outputNamespaces=A_b", "--outputResources=a/b", "--max-messages-per-second=-1",
		"--watch-list-file=/does/not/exist", "--http-addr=", "--broker-url=http://s3cret@host")
	options.Name = "only-a-name"
	err := options.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"--stopAfter=-1s: want", `"A_b" cannot be the name of a namespace`, `"a/b": want plural or singular`, "--max-messages-per-second=-1: want",
		"/does/not/exist", "--http-addr: want", "broker URL host: unknown scheme", `MESHSYNC_NAME="only-a-name": set both or none`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("shows the token: %v", err)
	}
	if err := (&meshsync.Options{Output: "nowhere"}).Validate(); err == nil || !strings.Contains(err.Error(), `--output="nowhere": want broker or file`) {
		t.Errorf("got %v", err)
	}
}
