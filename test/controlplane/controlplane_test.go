package controlplane

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestAControlPlaneServesAndLeavesNothing(t *testing.T) {
	kubectl, err := Binary(t.Context(), "kubectl")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(t.Context(), Options{Audit: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() }) // the test checks its error; this is for when it does not get there

	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), kubectl, append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("create", "namespace", "example")
	// The garbage collector and the namespace controller are part of it.
	run("delete", "namespace", "example", "--timeout=30s")

	audit, err := os.ReadFile(c.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(audit), `"verb":"create"`) {
		t.Error("the audit log has no create")
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there", c.Dir)
	}
}

func TestAStartThatFailsSaysWhy(t *testing.T) {
	_, err := Start(t.Context(), Options{APIServerArgs: []string{"no-such-flag=1"}})
	if err == nil || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
		t.Errorf("got %v, want the API server's own words", err)
	}
}

func TestAStartCanBeGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
