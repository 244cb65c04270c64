package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"meshery.io/operator/test/consumer"
)

// promised is how soon an edit of the watch-list changes the stream.
const promised = 2 * time.Second

// watchListEdit puts a kind on the list and takes it off again, as kubectl edit does, and measures how soon the stream is another.
// The quickest of three counts: the machine has other things to do.
func (c *cluster) watchListEdit(t *testing.T) {
	messages := make(chan *nats.Msg, 10_000)
	if _, err := c.connect(t, "svc/meshery-broker").ChanSubscribe("meshery.meshsync.core", messages); err != nil {
		t.Fatal(err)
	}
	agent := func() string {
		return c.run(t, "get", "pod", "-n", namespace, "-l", "app=meshery-meshsync", "-o",
			"jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount}{end}")
	}
	list := func() string {
		return c.run(t, "get", "meshsync", "-n", namespace, "meshery-meshsync", "-o", "jsonpath={.spec.watch-list.data.whitelist}")
	}
	agentBefore, before := agent(), list()
	with := strings.TrimSuffix(strings.TrimSpace(before), "]") + `,"sa"]` // kubectl's short name
	edit := func(whitelist string) {
		patch, err := json.Marshal(map[string]any{"watch-list": map[string]any{"data": map[string]string{"whitelist": whitelist}}})
		if err != nil {
			t.Fatal(err)
		}
		c.patch(t, "meshsync/meshery-meshsync", string(patch))
	}
	// await returns how long after an edit an event of a ServiceAccount arrives.
	await := func(event string, since time.Time) (took time.Duration) {
		eventually(t, event+" of a ServiceAccount", 30*time.Second, func(ctx context.Context) error {
			for {
				select {
				case message := <-messages:
					decoded, err := consumer.Decode(message.Data)
					if err != nil {
						return err
					}
					if decoded.Object.Kind == "ServiceAccount" && decoded.EventType == event {
						took = time.Since(since)
						return nil
					}
				case <-ctx.Done():
					return fmt.Errorf("it did not arrive: %w", ctx.Err())
				}
			}
		})
		return took
	}

	added, removed := time.Hour, time.Hour
	for i := range 3 {
		start := time.Now()
		edit(with)
		added = min(added, await("ADDED", start))
		if i == 0 {
			message := c.waitCondition(t, "meshsync/meshery-meshsync", "WatchListValid", "True", "NotCanonical")
			if !strings.Contains(message, "(sa): taken as serviceaccounts.v1.") {
				t.Errorf("WatchListValid says %s", message)
			}
		}
		start = time.Now()
		edit(before)
		removed = min(removed, await("DELETED", start))
	}
	t.Logf("from kubectl patch to the stream: a kind added %s, a kind removed %s", added.Round(time.Millisecond), removed.Round(time.Millisecond))
	if added > promised || removed > promised {
		t.Errorf("a kind added after %s, removed after %s; want %s at most", added, removed, promised)
	}
	if now := agent(); now != agentBefore {
		t.Errorf("the agent was restarted: %s is now %s", agentBefore, now)
	}
}
