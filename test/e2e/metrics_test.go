package e2e

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
)

// secureMetrics reads the operator's metrics as docs/metrics.md says, with an account that may and with one that may not.
func (c *cluster) secureMetrics(t *testing.T) {
	c.run(t, "create", "serviceaccount", "-n", namespace, "metrics")
	c.run(t, "create", "clusterrolebinding", "metrics", "--clusterrole=meshery-operator-metrics-reader", "--serviceaccount="+namespace+":metrics")
	defer c.run(t, "delete", "clusterrolebinding", "metrics")
	defer c.run(t, "delete", "serviceaccount", "-n", namespace, "metrics")
	url := "https://" + c.forward(t, "svc/meshery-operator-metrics", 8443) + "/metrics"
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // made up by the operator
	defer client.CloseIdleConnections()
	for account, want := range map[string]struct {
		code int
		body string
	}{
		"metrics": {http.StatusOK, "meshery_operator_leader 1"},
		"default": {http.StatusForbidden, "system:serviceaccount:meshery:default may not get /metrics"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+c.run(t, "create", "token", "-n", namespace, account))
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != want.code || !strings.Contains(string(body), want.body) {
			t.Errorf("%s: %d %.200s, %v; want %d and %q", account, response.StatusCode, body, err, want.code, want.body)
		}
	}
}
