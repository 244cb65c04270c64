package faults

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

const apiServer = "kube-apiserver"

// An API server that dies loses every watch and refuses connections for some seconds. The operator lives through it.
func TestAnAPIServerThatDiesIsAwaitedWithBackOff(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.install(t)
	namespace, chance := p.newNamespace(t), chance(t)
	operator := p.startOperator(t, namespace)
	p.createResources(t, namespace)
	last := anEdit(chance, edit{})
	p.settle(t, namespace, last)

	for range rounds {
		last = anEdit(chance, last)
		if err := last.apply(t.Context(), p, namespace); err != nil {
			t.Fatal(err)
		}
		down := time.Now()
		if err := p.Signal(apiServer, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		last = anEdit(chance, last)
		p.settle(t, namespace, last)
		operator.running(t)

		refused, until := 0, down
		for _, r := range operator.requests(down) {
			if r.status == "" {
				refused, until = refused+1, r.at
			}
		}
		away := until.Sub(down)
		t.Logf("API server away for %s: %d requests without an answer, %d error lines, right again %s after it died",
			away.Round(time.Millisecond), refused, len(operator.errorLines(down)), time.Since(down).Round(time.Millisecond))
		for _, text := range operator.errorLines(down) { t.Log(text) }
		if most := 20 + int(away.Seconds()*20); refused > most {
			t.Errorf("%d requests to an API server that was away for %s: want %d at most", refused, away, most)
		}
	}
}

// An API server that hangs accepts connections and answers nothing, here for longer than a lease lasts without being renewed. The
// operator must not go on then: another one may lead.
func TestAnAPIServerThatHangsEndsTheLeadAndTheNextOperatorRecovers(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.install(t)
	namespace, chance := p.newNamespace(t), chance(t)
	operator := p.startOperator(t, namespace)
	p.createResources(t, namespace)
	last := anEdit(chance, edit{})
	p.settle(t, namespace, last)

	for range rounds {
		last = anEdit(chance, last)
		if err := last.apply(t.Context(), p, namespace); err != nil {
			t.Fatal(err)
		}
		hangs := time.Now()
		if err := p.Signal(apiServer, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		// The lease's renew deadline is 10 s.
		if words := operator.awaitEnd(t, 20*time.Second); !strings.Contains(words, "lost the leader-election lease") {
			t.Errorf("last words: %s", words)
		}
		t.Logf("ended %s after the API server began to hang, %d error lines", time.Since(hangs).Round(time.Millisecond), len(operator.errorLines(hangs)))
		next := operator.again(t)
		if err := p.Signal(apiServer, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		operator, last = next, anEdit(chance, last)
		p.settle(t, namespace, last)
		operator.running(t)
		t.Logf("right again %s after the API server went on", time.Since(back).Round(time.Millisecond))
	}
}
