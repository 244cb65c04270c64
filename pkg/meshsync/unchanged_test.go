package meshsync_test

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/test/consumer"
)

// TestUnchangedMessagesAreSkipped writes an object again and again without changing anything that is told of it. Others see a newer
// resource version, and an agent that was not asked to skip that tells it.
func TestUnchangedMessagesAreSkipped(t *testing.T) {
	t.Parallel()
	for _, skip := range []bool{false, true} {
		t.Run(fmt.Sprint("skip=", skip), func(t *testing.T) {
			t.Parallel()
			c, server, got := scene(t)
			c.writeWatchList("{Resource: secrets.v1.}")
			const text = "{apiVersion: v1, kind: Secret, metadata: {name: x, labels: {a: b}}, data: {p: eA==}}"
			c.create(secrets, text)
			startAgent(c, server.URL(), func(o *meshsync.Options) { o.SkipUnchanged = skip }).waitReady("")
			about := func() []consumer.Message { return got.About("Secret", c.namespace, "x") }
			marks := 0
			mark := func() { // what comes last of all that has happened to the kind
				t.Helper()
				marks++
				name := fmt.Sprint("mark-", marks)
				c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: "+name+"}}")
				got.WaitFor(t, name, func() bool { return len(got.About("Secret", c.namespace, name)) > 0 })
			}
			expect := func(what string, want ...string) {
				t.Helper()
				mark()
				if have := events(about()); !slices.Equal(have, want) {
					t.Errorf("%s: told %v, want %v", what, have, want)
				}
			}
			// touch lets another manager apply what is there already: managedFields change, and the resource version.
			touch := func(manager string) {
				t.Helper()
				options := patchOptions
				options.FieldManager, options.Force = manager, new(true)
				before := c.get(secrets, "x")
				touched, err := c.in(secrets).Patch(t.Context(), "x", types.ApplyPatchType, []byte(inJSON(text)), options)
				if err != nil {
					t.Fatal(err)
				}
				if touched.GetResourceVersion() == before.GetResourceVersion() {
					t.Fatal("the object has the resource version that it had")
				}
			}
			expect("at the start", "ADDED")

			touch("one")
			if !skip {
				expect("touched", "ADDED", "MODIFIED")
				return
			}
			expect("touched", "ADDED")
			touch("two")
			expect("touched again", "ADDED")
			c.change(secrets, "x", "{metadata: {labels: {a: c}}}")
			expect("changed", "ADDED", "MODIFIED")
			c.change(secrets, "x", "{metadata: {labels: {a: b}}}")
			expect("changed back", "ADDED", "MODIFIED", "MODIFIED")
			touch("three")
			expect("touched after a change", "ADDED", "MODIFIED", "MODIFIED")

			got.Request(t, "informer-store", map[string]string{"Reply": consumer.StoreSubject})
			version := c.get(secrets, "x").GetResourceVersion()
			got.WaitFor(t, "its newest version in the reply", func() bool {
				return slices.ContainsFunc(got.Store(), func(o consumer.Object) bool { return o.Metadata.Name == "x" && o.Metadata.ResourceVersion == version })
			})
			got.Request(t, "resync-discovery", nil)
			got.WaitFor(t, "a resync", func() bool { return len(about()) == 4 })
			if last := about()[3]; last.EventType != "ADDED" || last.Object.Metadata.ResourceVersion != version {
				t.Errorf("the resync says %s of version %s, want %s", last.EventType, last.Object.Metadata.ResourceVersion, version)
			}
			touch("four")
			expect("touched after the resync", "ADDED", "MODIFIED", "MODIFIED", "ADDED")
			c.delete(secrets, "x")
			c.create(secrets, text)
			got.WaitFor(t, "the object that was made anew", func() bool { return len(about()) >= 6 })
			if last := about()[len(about())-1]; last.EventType != "ADDED" || last.Object.Metadata.UID != string(c.get(secrets, "x").GetUID()) {
				t.Errorf("made anew: told %v", events(about()))
			}
		})
	}
}
