package operator

import "testing"

// Two operators are never the same holder of a lease, also not on the same host.
func TestLeaseIdentitiesDiffer(t *testing.T) {
	one, err := leaseIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if two, _ := leaseIdentity(); one == two {
		t.Errorf("both are %s", one)
	}
}
