package faults

import (
	"testing"
	"time"
)

// atRest looks at an operator that has nothing to do.
func atRest(t *testing.T, p *plane) {
	namespace, chance := p.newNamespace(t), chance(t)
	operator := p.startOperator(t, namespace)
	p.createResources(t, namespace)
	p.settle(t, namespace, anEdit(chance, edit{}))

	for range rounds {
		pass(t, time.Second) // the last events of what settled
		window := refusalsLast
		began := time.Now()
		pass(t, window)
		requests := operator.requests(began)
		leases, writes := count(requests, request.lease), count(requests, request.write)
		perMinute := func(n int) float64 { return float64(n) / window.Minutes() }
		t.Logf("at rest: %.0f requests per minute to keep the lease, %.0f others, %d writes", perMinute(leases), perMinute(len(requests)-leases), writes)
		if writes > 0 || len(requests)-leases > 2 {
			t.Errorf("requests at rest: %+v", requests)
		}
	}
}
