package operator

import (
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

func TestImagesAreReferences(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for image, good := range map[string]bool{
		DefaultBrokerImage:    true,
		DefaultMeshSyncImage:  true,
		"nats":                true,
		"localhost:5000/nats": true,
		"registry.example.com:5000/a/b-c/d__e:v1.0": true,
		"[fd00::1]:5000/nats:2":                     true,
		"nats" + digest:                             true,
		"nats:2" + digest:                           true,
		"Registry.example.com/nats":                 true,
		"NATS":                                      false,
		"nats:":                                     false,
		"nats: 2":                                   false,
		"nats:2 ":                                   false,
		"nats@sha256:abc":                           false,
		"https://registry.example.com/nats":         false,
		"/nats":                                     false,
		"a//b":                                      false,
		"nats:2:3":                                  false,
		"nats\n":                                    false,
	} {
		options := DefaultOptions()
		options.BrokerImage, options.MeshSyncImage = image, image
		err := options.Validate()
		if good && err != nil {
			t.Errorf("%q: %v", image, err)
		}
		if !good && (err == nil || !strings.Contains(err.Error(), "--broker-image=") || !strings.Contains(err.Error(), "--meshsync-image=")) {
			t.Errorf("%q: got %v, want both flags refused", image, err)
		}
	}
}

func TestTheClusterDomainIsADNSName(t *testing.T) {
	for domain, good := range map[string]bool{
		"cluster.local": true, "example": true,
		"cluster.local.": false, ".cluster.local": false, "cluster_local": false, "http://cluster.local": false, "a b": false,
	} {
		options := DefaultOptions()
		options.ClusterDomain = domain
		err := options.Validate()
		if good && err != nil || !good && (err == nil || !strings.Contains(err.Error(), "--cluster-domain=")) {
			t.Errorf("%q: %v", domain, err)
		}
	}
}

// An address that cannot be listened on is said with its flag.
func TestErrorsOfListeningNameTheFlag(t *testing.T) {
	t.Parallel()
	for flag, set := range map[string]func(*Options){
		"--metrics-addr=8080: ":              func(o *Options) { o.MetricsAddr = "8080" },
		"--health-probe-bind-address=8080: ": func(o *Options) { o.HealthAddr = "8080" },
		"--secure-metrics-addr=8080: ":       func(o *Options) { o.SecureMetricsAddr = "8080" },
		"--pprof-addr=8080: ":                func(o *Options) { o.PprofAddr = "8080" },
	} {
		options := DefaultOptions()
		options.MetricsAddr, options.HealthAddr = "0", "0"
		set(&options)
		if err := Run(t.Context(), &rest.Config{Host: "http://" + freeAddr(t)}, options); err == nil || !strings.HasPrefix(err.Error(), flag) {
			t.Errorf("got %v, want %s", err, flag)
		}
	}
}
