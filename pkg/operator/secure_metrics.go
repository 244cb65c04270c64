package operator

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	"meshery.io/operator/pkg/telemetry"
	"meshery.io/operator/pkg/telemetry/protect"
)

// metricsService is the Service of manifests/ in front of --secure-metrics-addr.
const metricsService = "meshery-operator-metrics"

// Rate of questions to the API server about who wants to read metrics. They have a limit of their own: whoever reaches the port with
// made-up tokens must not be able to slow the controllers down, nor those down who may read.
const (
	reviewQPS   = 5
	reviewBurst = 20
)

// secureMetrics is /metrics for those accounts of the cluster that may read it, and the TLS to serve it with.
func secureMetrics(ctx context.Context, config *rest.Config, options *Options, gatherer prometheus.Gatherer) (http.Handler, *tls.Config, error) {
	client, err := kubernetes.NewForConfig(withRate(config, -1, 0))
	if err != nil {
		return nil, nil, fmt.Errorf("set up API client: %w", err)
	}
	service := metricsService + "." + options.Namespace + ".svc"
	serverTLS, err := telemetry.ServerTLS(ctx, options.SecureMetricsCertDir, service, service+"."+options.ClusterDomain)
	if err != nil {
		return nil, nil, fmt.Errorf("--secure-metrics-cert-dir=%q: %w", options.SecureMetricsCertDir, err)
	}
	strangers := flowcontrol.NewTokenBucketPassiveRateLimiter(reviewQPS, reviewBurst)
	return protect.Handler(telemetry.MetricsHandler(gatherer), client, strangers), serverTLS, nil
}
