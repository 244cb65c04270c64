package operator

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"meshery.io/operator/pkg/apis/meshery"
)

// Images that a Broker and a MeshSync run unless the operator's flags say otherwise. A custom resource's spec.version replaces
// the tag.
const (
	DefaultBrokerImage   = "nats:2.15.2-alpine"
	DefaultMeshSyncImage = "meshery/meshsync:2.0.0-dev"
)

// Options are the operator's settings. DefaultOptions gives the zero-configuration ones.
type Options struct {
	// Namespace holds the leader-election lease and the first resources, and is the only namespace served unless
	// WatchNamespaces says otherwise.
	Namespace string
	// WatchNamespaces are the namespaces whose Brokers and MeshSyncs are served; "*" alone means all.
	WatchNamespaces []string

	// MetricsAddr serves /metrics, HealthAddr serves /healthz and /readyz. "0" turns one off.
	MetricsAddr string
	HealthAddr  string
	// SecureMetricsAddr serves /metrics over TLS, to accounts of the cluster that may read it. The certificate stands in
	// SecureMetricsCertDir, or is made up without one. "0" turns it off.
	SecureMetricsAddr    string
	SecureMetricsCertDir string
	// PprofAddr serves Go's profiles. "0" turns it off.
	PprofAddr string

	// LeaderElect makes several operators take turns. Without it, only one may run.
	LeaderElect bool
	// Workers is how many resources of one kind are synced at a time.
	Workers int

	// BrokerImage and MeshSyncImage are run when a custom resource names no version.
	BrokerImage   string
	MeshSyncImage string
	// ClusterDomain ends the DNS names of Services.
	ClusterDomain string
	// MeshSyncClusterRole is the ceiling: the ClusterRole that bounds what any agent may read. The installer owns it.
	MeshSyncClusterRole string
}

// DefaultOptions are the settings of an operator that is told nothing.
func DefaultOptions() Options {
	return Options{
		Namespace:           meshery.Namespace,
		MetricsAddr:         "127.0.0.1:8080",
		HealthAddr:          ":8081",
		SecureMetricsAddr:   "0",
		PprofAddr:           "0",
		Workers:             4,
		BrokerImage:         DefaultBrokerImage,
		MeshSyncImage:       DefaultMeshSyncImage,
		ClusterDomain:       "cluster.local",
		MeshSyncClusterRole: meshery.MeshSyncName,
	}
}

// AddFlags makes every option settable, with its present value as the default.
func (o *Options) AddFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.Namespace, "namespace", o.Namespace, "namespace of the operator: its lease lives there, and by default it serves no other")
	flags.Func("watch-namespaces", `namespaces whose Brokers and MeshSyncs are served, separated by commas, or "*" for all (default: the one of --namespace)`, func(text string) error {
		o.WatchNamespaces = strings.Split(text, ",")
		return nil
	})
	flags.StringVar(&o.MetricsAddr, "metrics-addr", o.MetricsAddr, `address that serves /metrics; "0" turns it off`)
	flags.StringVar(&o.HealthAddr, "health-probe-bind-address", o.HealthAddr, `address that serves /healthz and /readyz; "0" turns it off`)
	flags.StringVar(&o.SecureMetricsAddr, "secure-metrics-addr", o.SecureMetricsAddr, `address that serves /metrics over TLS to accounts that may get the nonResourceURL /metrics; "0" turns it off`)
	flags.StringVar(&o.SecureMetricsCertDir, "secure-metrics-cert-dir", o.SecureMetricsCertDir, "folder with tls.crt and tls.key for --secure-metrics-addr, loaded anew when they change (default: a self-signed certificate)")
	flags.StringVar(&o.PprofAddr, "pprof-addr", o.PprofAddr, `address that serves Go's profiles under /debug/pprof/, such as 127.0.0.1:6060; "0" turns it off`)
	flags.BoolVar(&o.LeaderElect, "enable-leader-election", o.LeaderElect, "take turns with other operators of the same namespace, by a Lease")
	flags.IntVar(&o.Workers, "workers", o.Workers, "how many resources of one kind are synced at a time")
	flags.StringVar(&o.BrokerImage, "broker-image", o.BrokerImage, "NATS image; spec.version of a Broker replaces the tag")
	flags.StringVar(&o.MeshSyncImage, "meshsync-image", o.MeshSyncImage, "MeshSync image; spec.version of a MeshSync replaces the tag")
	flags.StringVar(&o.ClusterDomain, "cluster-domain", o.ClusterDomain, "the cluster's DNS domain")
	flags.StringVar(&o.MeshSyncClusterRole, "meshsync-cluster-role", o.MeshSyncClusterRole, "ClusterRole that bounds what agents may read")
}

// Validate reports everything that is wrong, each with the value and what would be right.
func (o *Options) Validate() error {
	var errs []error
	label := func(flag, value string) {
		if problems := validation.IsDNS1123Label(value); len(problems) > 0 {
			errs = append(errs, fmt.Errorf("--%s=%q: %s", flag, value, strings.Join(problems, "; ")))
		}
	}
	label("namespace", o.Namespace)
	for _, namespace := range o.WatchNamespaces {
		switch {
		case namespace != "*":
			label("watch-namespaces", namespace)
		case len(o.WatchNamespaces) > 1:
			errs = append(errs, fmt.Errorf(`--watch-namespaces=%q: "*" already means all; name it alone`, strings.Join(o.WatchNamespaces, ",")))
		}
	}
	if o.SecureMetricsCertDir != "" && !isOn(o.SecureMetricsAddr) {
		errs = append(errs, fmt.Errorf("--secure-metrics-cert-dir=%q: set --secure-metrics-addr too, such as :8443", o.SecureMetricsCertDir))
	}
	if o.Workers < 1 {
		errs = append(errs, fmt.Errorf("--workers=%d: want at least 1", o.Workers))
	}
	for _, required := range []struct{ flag, value string }{
		{"broker-image", o.BrokerImage},
		{"meshsync-image", o.MeshSyncImage},
		{"cluster-domain", o.ClusterDomain},
		{"meshsync-cluster-role", o.MeshSyncClusterRole},
	} {
		if required.value == "" {
			errs = append(errs, fmt.Errorf("--%s is empty", required.flag))
		}
	}
	for _, image := range []struct{ flag, value string }{{"broker-image", o.BrokerImage}, {"meshsync-image", o.MeshSyncImage}} {
		if image.value != "" && !imageReference.MatchString(image.value) {
			errs = append(errs, fmt.Errorf("--%s=%q: want an image such as %s or registry.example.com:5000/%s", image.flag, image.value, DefaultBrokerImage, DefaultMeshSyncImage))
		}
	}
	if problems := validation.IsDNS1123Subdomain(o.ClusterDomain); o.ClusterDomain != "" && len(problems) > 0 {
		errs = append(errs, fmt.Errorf("--cluster-domain=%q: want a DNS name such as cluster.local: %s", o.ClusterDomain, strings.Join(problems, "; ")))
	}
	return errors.Join(errs...)
}

// imageReference is [host[:port]/]path[:tag][@digest]; the host may be anything that a registry's address can be.
var imageReference = func() *regexp.Regexp {
	const (
		host = `(?:[a-zA-Z0-9][a-zA-Z0-9.-]*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/`
		part = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`
		tag  = `:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}`
		hash = `@[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}`
	)
	return regexp.MustCompile(`^(?:` + host + `)?` + part + `(?:/` + part + `)*(?:` + tag + `)?(?:` + hash + `)?$`)
}()

// isOn tells an address to serve on from none.
func isOn(addr string) bool { return addr != "" && addr != "0" }

// servedNamespaces are the namespaces to watch, metav1.NamespaceAll standing for every one.
func (o *Options) servedNamespaces() []string {
	switch {
	case len(o.WatchNamespaces) == 0:
		return []string{o.Namespace}
	case o.WatchNamespaces[0] == "*":
		return []string{metav1.NamespaceAll}
	default:
		return slices.Compact(slices.Sorted(slices.Values(o.WatchNamespaces)))
	}
}

// describeNamespaces is for a person.
func (o *Options) describeNamespaces() string {
	return cmp.Or(strings.Join(o.servedNamespaces(), ","), "*")
}

// imageWithTag replaces the tag, or the digest, of an image; no tag leaves it as it is.
func imageWithTag(image, tag string) string {
	if tag == "" {
		return image
	}
	repository, _, _ := strings.Cut(image, "@")
	if colon := strings.LastIndexByte(repository, ':'); colon > strings.LastIndexByte(repository, '/') {
		repository = repository[:colon]
	}
	return repository + ":" + tag
}

// pullPolicy pulls a tag that moves each time, and any other once.
func pullPolicy(image string) corev1.PullPolicy {
	if strings.HasSuffix(image, ":latest") || strings.HasSuffix(image, "-latest") {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}
