package operator

import (
	"strings"
	"testing"
)

func TestTheSchemaOfBrokersRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	for name, test := range map[string]struct {
		plural, text string
		want         string // in the error; empty: accepted
	}{
		"a port that is none":              {"brokers", broker("b30", "{service: {externalEndpointOverride: 'h:99999'}}"), "must be 1 to 65535"},
		"port 0":                           {"brokers", broker("b31", "{service: {externalEndpointOverride: 'h:0'}}"), "must be 1 to 65535"},
		"an IPv6 address without brackets": {"brokers", broker("b32", "{service: {externalEndpointOverride: '::1:4222'}}"), "an IPv6 address in brackets"},
		"an override without a port":       {"brokers", broker("b33", "{service: {externalEndpointOverride: h}}"), "must be host:port"},
		"an IPv6 override":                 {"brokers", broker("b34", "{service: {externalEndpointOverride: '[2001:db8::1]:4222'}}"), ""},
		"an empty override":                {"brokers", broker("b35", "{service: {externalEndpointOverride: ''}}"), ""},
		"more storage than there is":       {"brokers", broker("b36", "{jetstream: {maxStorage: 100E}}"), "maxStorage must be at most 1Pi"},
		"a volume that nobody has":         {"brokers", broker("b37", "{jetstream: {storage: {size: 100Ei}}}"), "size must be at most 1Pi"},
		"a petabyte":                       {"brokers", broker("b38", "{jetstream: {maxStorage: 1Pi, storage: {size: 1Pi}}}"), ""},
		"a class without a name":           {"brokers", broker("b39", "{service: {loadBalancerClass: ''}}"), "loadBalancerClass"},
		"a range that is none":             {"brokers", broker("b40", `{service: {loadBalancerSourceRanges: ["10.0.0.0/8", "nonsense"]}}`), "CIDR notation"},
		"an address for a range":           {"brokers", broker("b41", `{service: {loadBalancerSourceRanges: ["10.0.0.1"]}}`), "CIDR notation"},
		"ranges":                           {"brokers", broker("b42", `{service: {loadBalancerSourceRanges: ["10.0.0.0/8", "2001:db8::/32"]}}`), ""},
		"a pull Secret twice":              {"brokers", broker("b43", `{imagePullSecrets: [{name: a}, {name: b}, {name: a}]}`), "imagePullSecrets"},
		"a pull Secret twice for agents":   {"meshsyncs", meshSync("m43", `{imagePullSecrets: [{name: a}, {name: a}]}`), "imagePullSecrets"},
		"the token of meshery-broker":      {"brokers", broker("meshery", "{}"), "meshery-nats-auth"},
		"the headless Service of another":  {"brokers", broker("b-headless", "{}"), "must not end in -headless"},
		"a name that is close to it":       {"brokers", broker("headless", "{}"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := create(t, "v1alpha1", test.plural, namespace, test.text)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
