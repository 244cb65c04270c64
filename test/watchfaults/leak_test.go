package watchfaults

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// noGoroutineIsLeft starts and stops watches by editing the watch-list, and ends the agent. Nothing else may run meanwhile.
func noGoroutineIsLeft(t *testing.T, s *stage) {
	const edits = 20
	c := s.newScene(t)
	ended := goleak.IgnoreCurrent()
	c.watchList(watched[0].entry)
	c.startAgent().waitReady()
	one := goleak.IgnoreCurrent()
	for edit := range edits {
		want := 1 + (edit+1)%2*(len(watched)-1) // all, one, all, one…
		var entries []string
		for _, kind := range watched[:want] {
			entries = append(entries, kind.entry)
		}
		c.watchList(entries...)
		eventually(t, fmt.Sprintf("%d kinds are watched", want), func() error {
			if n := int(c.agent.metric(`meshery_meshsync_watched_kinds{state="Synced"}`)); n != want {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
	}
	eventually(t, "no watch has left a goroutine", func() error { return goleak.Find(one) })
	began := time.Now()
	c.agent.stop()
	eventually(t, "the agent has left no goroutine", func() error { return goleak.Find(ended) })
	t.Logf("all is gone %s after the end", time.Since(began).Round(time.Millisecond))
}
