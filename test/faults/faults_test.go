package faults

import "testing"

// TestFaults tries what does not touch other namespaces, each fault in a namespace of its own with an operator of its own.
func TestFaults(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.install(t)
	for name, fault := range map[string]func(*testing.T, *plane){
		"a lost lease":         aLostLease,
		"other writers":        otherWriters,
		"throttling":           throttling,
		"a webhook that hangs": aWebhookThatHangs,
		"a quota without pods": aQuotaWithoutPods,
		"at rest":              atRest,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fault(t, p)
		})
	}
}
