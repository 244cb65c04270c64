package faults

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	apiServer = "kube-apiserver"
	// away is how long the API server is kept from answering. A lease may go 10 s without being renewed.
	away = 5 * time.Second
)

// An API server that dies loses every watch and refuses connections for some seconds. The operator lives through it. Without a lease
// here: on a busy machine the API server may take longer to come back than one lasts.
func TestAnAPIServerThatDiesIsAwaitedWithBackOff(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.install(t)
	namespace, chance := p.newNamespace(t), chance(t)
	operator := p.startOperator(t, namespace, "--enable-leader-election=false")
	p.createResources(t, namespace)
	last := anEdit(chance, edit{})
	p.settle(t, namespace, last)

	for range rounds {
		last = anEdit(chance, last)
		if err := last.apply(t.Context(), p, namespace); err != nil {
			t.Fatal(err)
		}
		down := time.Now()
		p.keepDown(t, away)
		last = anEdit(chance, last)
		p.settle(t, namespace, last)
		operator.running(t)

		took := time.Since(down)
		refused := count(operator.requests(down), func(r request) bool { return r.status == "" })
		t.Logf("API server away for %s: %d requests without an answer, %d error lines, right again %s after it died",
			away, refused, len(operator.errorLines(down)), took.Round(time.Millisecond))
		// Every watch finds out once, and backs off from there.
		if most := 60 + int(took.Seconds()*15); refused > most {
			t.Errorf("%d requests in %s to an API server that came and went: want %d at most", refused, took, most)
		}
	}
}

// keepDown kills the API server each time that it comes up.
func (p *plane) keepDown(t *testing.T, d time.Duration) {
	t.Helper()
	killed := 0
	for end := time.Now().Add(d); time.Now().Before(end); pass(t, 100*time.Millisecond) {
		if p.Signal(apiServer, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if killed == 0 {
		t.Fatal("the API server was never killed")
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
