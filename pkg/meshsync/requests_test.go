package meshsync_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/test/consumer"
	"meshery.io/operator/test/natsserver"
)

// populate makes objects of a kind, x0, x1 and so on, several at a time.
func (c *cluster) populate(resource schema.GroupVersionResource, kind string, n int) {
	c.t.Helper()
	const atOnce = 8
	var made atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, atOnce)
	for i := range atOnce {
		wg.Go(func() {
			for {
				next := made.Add(1) - 1
				if next >= int64(n) || errs[i] != nil {
					return
				}
				text := fmt.Sprintf("{apiVersion: v1, kind: %s, metadata: {name: x%d}, data: {a: eA==}}", kind, next)
				_, errs[i] = c.in(resource).Create(c.t.Context(), object(text), createOptions)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		c.t.Fatal(err)
	}
}

// TestThousandsOfObjectsAreRead asks for more of a kind than an API server is asked for at a time: everything comes, once, whole, and read
// page by page.
func TestThousandsOfObjectsAreRead(t *testing.T) {
	t.Parallel()
	const many, few = 1200, 30
	c, server, got := scene(t)
	c.populate(secrets, "Secret", many)
	c.populate(configMaps, "ConfigMap", few)
	c.writeWatchList("{Resource: secrets.v1.}", "{Resource: configmaps.v1.}")
	startAgent(c, server.URL()).waitReady("")
	c.eventually("all objects are told", func() error {
		return errors.Join(difference(c.list(secrets), got.State(), "Secret"), difference(c.list(configMaps), got.State(), "ConfigMap"))
	})
	var want []string
	for _, o := range got.State() {
		want = append(want, o.Key()+o.Metadata.ResourceVersion)
	}
	pages := func() int {
		return c.count(func(r audited) bool {
			return r.Verb == "list" && r.ObjectRef.Resource == "secrets" && strings.Contains(r.RequestURI, "limit=500")
		})
	}
	before := pages()

	got.Request(t, "informer-store", map[string]string{"Reply": consumer.StoreSubject})
	got.WaitFor(t, "the store", func() bool { return len(got.Store()) >= len(want) })
	var have []string
	for _, o := range got.Store() {
		have = append(have, o.Key()+o.Metadata.ResourceVersion)
	}
	if !sameStory(have, want) {
		t.Errorf("the reply has %d objects, or others than the %d that were told", len(have), len(want))
	}
	if n := c.await("pages", pages, before+3); n != before+3 {
		t.Errorf("%d Secrets were read in %d requests, want 3", many, n-before)
	}

	mark := len(got.Messages())
	got.Request(t, "resync-discovery", nil)
	got.WaitFor(t, "everything once more", func() bool { return len(got.Messages()) >= mark+len(want) })
	have = nil
	for _, message := range got.Messages()[mark:] {
		have = append(have, message.Object.Key()+message.Object.Metadata.ResourceVersion)
		if message.EventType != "ADDED" {
			t.Errorf("%s in a resync", line(message))
		}
	}
	if !sameStory(have, want) {
		t.Errorf("the resync has %d objects, or others than the %d that were told", len(have), len(want))
	}
}

// TestRequestsWhileObjectsChange asks for everything again and again while more than a page of objects come, change and go. A reply, and a
// resync, may read an older state than what is told meanwhile; who takes every message and every reply in the order of their arrival must
// end with exactly what is there.
func TestRequestsWhileObjectsChange(t *testing.T) {
	t.Parallel()
	const objects, times = 700, 8
	tests := map[string]struct {
		entity  string
		payload any
		came    func(*consumer.Consumer) int // of what was asked for
	}{
		"informer-store": {"informer-store", map[string]string{"Reply": consumer.StoreSubject}, func(got *consumer.Consumer) int { return len(got.Store()) }},
		"resync":         {"resync-discovery", nil, func(got *consumer.Consumer) int { return len(got.Messages()) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := natsserver.Start(t, natsserver.Options{})
			c, got, heard := newCluster(t), consumer.Connect(t, server.URL()), listen(t, server.URL())
			c.populate(secrets, "Secret", objects)
			c.writeWatchList("{Resource: secrets.v1.}")
			agent := startAgent(c, server.URL())
			agent.waitReady("")

			ctx, stop := context.WithCancel(t.Context())
			var changing sync.WaitGroup
			for seed := range uint64(3) {
				changing.Go(func() { c.stir(ctx, rand.New(rand.NewPCG(seed, 1)), objects) })
			}
			for range times {
				mark := test.came(got)
				got.Request(t, test.entity, test.payload)
				got.WaitFor(t, "what was asked for", func() bool { return test.came(got) >= mark+objects/2 })
			}
			stop()
			changing.Wait()
			c.eventually("the requests are answered", func() error {
				if n := agent.metric(`meshery_meshsync_requests_total{entity="` + test.entity + `",result="answered"}`); n != strconv.Itoa(times) {
					return fmt.Errorf("%q", n)
				}
				return nil
			})
			c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: last}}") // what was replied was sent before
			c.eventually("who listens knows what is there", func() error { return difference(c.list(secrets), heard.state(), "Secret") })
			t.Logf("%d messages, %d objects in replies", len(got.Messages()), len(got.Store()))
		})
	}
}

// stir changes, deletes and makes anew Secrets x0, x1 and so on until ctx ends. It leaves alone what another stirs at the same time.
func (c *cluster) stir(ctx context.Context, random *rand.Rand, n int) {
	client := c.in(secrets)
	for ctx.Err() == nil {
		name := fmt.Sprint("x", random.IntN(n))
		if random.IntN(3) > 0 {
			patch := fmt.Sprintf(`{"metadata":{"labels":{"changed":"%d"}}}`, random.IntN(1000))
			_, _ = client.Patch(ctx, name, types.MergePatchType, []byte(patch), patchOptions)
			continue
		}
		_ = client.Delete(ctx, name, deleteOptions)
		if random.IntN(2) == 0 {
			_, _ = client.Create(ctx, object("{apiVersion: v1, kind: Secret, metadata: {name: "+name+"}}"), createOptions)
		}
	}
}
