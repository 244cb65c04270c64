package watchfaults

import (
	"crypto/rand"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"meshery.io/operator/pkg/meshsync"
)

// mishap is a fault that lasts.
type mishap struct {
	begin func() (end func())
	// noticed is how long it may last until the agent must say that it is not ready; 0 for a fault that may pass unnoticed.
	noticed time.Duration
}

// byChance lets up to three faults come at a time, for as long as chance will have it, and lets the agent recover after each round.
func byChance(t *testing.T, s *stage) {
	c, chance := s.newScene(t), chance(t)
	file := filepath.Join(t.TempDir(), "token")
	useToken := func(token string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		c.token.Store(&token)
	}
	useToken("first")
	c.startAgent(func(o *meshsync.Options) { o.Kubeconfig = c.kubeconfig(file) })
	c.begun()

	longest := 4 * time.Second
	if rounds > 1 {
		longest = 100 * time.Second
	}
	kind := func() string { return watched[chance.IntN(len(watched))].Resource }
	nothing := func() {}
	mishaps := map[string]mishap{
		"410 when a watch begins": {begin: func() func() {
			resource := kind()
			off := c.on(watch, resource, 2, expired)
			c.cutNext(resource, whole)
			return off
		}},
		"410 in a stream": {begin: func() func() { c.cutNext("configmaps", expiredInStream); return nothing }},
		"429 to everything": {begin: func() func() {
			var off []func()
			for _, verb := range []string{discovery, list, watch, streamList, "post", "patch"} {
				off = append(off, c.on(verb, "", -1, throttled))
			}
			c.cutNext(kind(), halfEnded)
			return func() {
				for _, end := range off {
					end()
				}
			}
		}},
		"lists break off": {begin: func() func() {
			resource := kind()
			off := c.early(resource, -1, halfBroken)
			c.on(watch, resource, 1, expired)
			c.cutNext(resource, halfBroken)
			return off
		}},
		"plain lists only": {begin: func() func() {
			off := c.on(streamList, "", -1, cannotStream)
			c.cutNext("configmaps", expiredInStream)
			return off
		}},
		"connections are reset":   {begin: func() func() { c.breakConnections((*link).reset); return nothing }},
		"connections end halfway": {begin: func() func() { c.breakConnections((*link).endHalfway); return nothing }},
		"connections are refused": {begin: func() func() { c.refuseConnections(); return c.acceptConnections }, noticed: outagePatience + slack},
		"a kind gets no answer":   {begin: func() func() { return c.noAnswer(kind()) }, noticed: outagePatience + 2*slack},
		"nothing gets through":    {begin: func() func() { c.close(); return c.open }, noticed: deadConnection + outagePatience + 3*slack},
		"another certificate":     {begin: func() func() { c.renewCertificate(); c.breakConnections((*link).reset); return nothing }},
		"another token":           {begin: func() func() { useToken(rand.Text()); return nothing }},
		"another token, and a new start": {begin: func() func() {
			useToken(rand.Text())
			c.breakConnections((*link).reset)
			return nothing
		}},
	}
	for round := range rounds {
		c.churns()
		names := slices.Sorted(maps.Keys(mishaps))
		chance.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		names = names[:1+chance.IntN(3)]
		last := time.Duration(chance.Int64N(int64(longest)))
		t.Logf("round %d: %s, for %s", round+1, strings.Join(names, "; "), last.Round(time.Millisecond))
		c.forget()
		var ends []func()
		mustNotice := false
		for _, name := range names {
			ends = append(ends, mishaps[name].begin())
			mustNotice = mustNotice || mishaps[name].noticed > 0 && last > mishaps[name].noticed
		}
		pass(t, last)
		if err := c.agent.ready(); mustNotice && err == nil {
			t.Errorf("the agent was ready at the end of round %d", round+1)
		}
		for _, end := range ends {
			end()
		}
		c.settle()
		c.agent.waitReady()
		t.Logf("requests: %s", c.counts())
		// An informer asks at once, and then 0.8 to 1.6 s, 1.6 to 3.2 s … later. A request that is throttled is repeated every second.
		most := 10 + 3*int(last/time.Second)
		for of, n := range c.counts() {
			if of.resource != "" && n > most {
				t.Errorf("%d %s %s in round %d, want %d at most", n, of.verb, of.resource, round+1, most)
			}
		}
	}
}

// noAnswer lets neither a list nor a watch of a resource be answered.
func (c *scene) noAnswer(resource string) (end func()) {
	over := make(chan struct{})
	var off []func()
	for _, verb := range []string{watch, streamList, list} {
		off = append(off, c.on(verb, resource, -1, delayUntil(over)))
	}
	c.cutNext(resource, whole)
	return func() {
		for _, end := range off {
			end()
		}
		close(over)
	}
}
