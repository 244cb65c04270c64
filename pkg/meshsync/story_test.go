package meshsync_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/pkg/watchlist"
	"meshery.io/operator/test/consumer"
)

// story follows what a consumer is told while the watch-list is edited. Secrets of the test's namespace are always on the list: when one
// that is made now has arrived, nothing else is on its way to the agent.
type story struct {
	*cluster
	agent  *agent
	got    *consumer.Consumer
	edited time.Time // when the last edit began
	read   int       // messages that were expected already
	marks  int
}

// startStory runs an agent with a watch-list.
func startStory(t *testing.T, c *cluster, brokerURL string, got *consumer.Consumer, list watchList, change ...func(*meshsync.Options)) *story {
	t.Helper()
	s := &story{cluster: c, got: got}
	s.edit(list)
	s.agent = startAgent(c, brokerURL, change...)
	s.agent.waitReady("")
	return s
}

// watchList is what stands under its keys, and who wrote it.
type watchList struct {
	white       []string // entries such as {Resource: pods.v1., Events: [ADDED]}
	discovery   string   // such as {depth: inventory}
	annotations map[string]string
}

func (s *story) edit(list watchList) {
	s.t.Helper()
	s.edited = time.Now()
	white := append([]string{fmt.Sprintf("{Resource: secrets.v1., namespaces: [%s]}", s.namespace)}, list.white...)
	s.writeConfigMap(map[string]string{"whitelist": inJSON("[" + strings.Join(white, ", ") + "]"), "discovery": inJSON(cmp.Or(list.discovery, "{}"))}, list.annotations)
}

// list edits only the whitelist.
func (s *story) list(entries ...string) {
	s.t.Helper()
	s.edit(watchList{white: entries})
}

// expect waits for these messages, each such as "ADDED Widget a" or "DELETED Widget a (NotServed)", in any order, and fails the test
// if there are others. It returns how long after the last edit the first came.
func (s *story) expect(what string, want ...string) time.Duration {
	s.t.Helper()
	var first time.Duration
	s.got.WaitFor(s.t, what, func() bool {
		n := len(lines(s.got.Messages(), s.read))
		if n > 0 && first == 0 {
			first = time.Since(s.edited)
		}
		return n >= len(want)
	})
	if have := s.told(); !sameStory(have, want) {
		s.t.Errorf("%s:\nhave %s\nwant %s", what, strings.Join(have, ", "), strings.Join(want, ", "))
	}
	return first
}

// told returns what has come since it was asked last, up to now.
func (s *story) told() []string {
	s.t.Helper()
	s.marks++
	name := fmt.Sprint("mark-", s.marks)
	s.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: "+name+"}}")
	s.got.WaitFor(s.t, "what comes last", func() bool { return len(s.got.About("Secret", s.namespace, name)) > 0 })
	s.agent.waitIdle()
	s.got.CatchUp(s.t)
	messages := s.got.Messages()
	told := lines(messages, s.read)
	s.read = len(messages)
	return told
}

// lines puts messages from one on into words, but those about Secrets, and what is told once more after a DELETED: who applies that last
// must hear of the object again.
func lines(messages []consumer.Message, from int) []string {
	var list []string
	deleted, told := map[string]bool{}, map[string]string{} // versions
	for i, message := range messages {
		key, version := message.Object.Key(), message.Object.Metadata.ResourceVersion
		switch {
		case message.Object.Kind == "Secret":
			continue
		case message.EventType == "DELETED":
			deleted[key] = true
			delete(told, key)
		case deleted[key] && told[key] == version:
			continue
		default:
			told[key] = version
		}
		if i >= from {
			list = append(list, line(message))
		}
	}
	return list
}

func line(message consumer.Message) string {
	text := message.EventType + " " + message.Object.Kind + " " + message.Object.Metadata.Name
	if message.Reason != "" {
		text += " (" + message.Reason + ")"
	}
	return text
}

func sameStory(have, want []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(want)))
}

// add makes an object of a custom kind, from its metadata and what else it has, such as "name: a" and "spec: {size: 1}".
func (c *cluster) add(resource schema.GroupVersionResource, kind, metadata string, rest ...string) {
	c.t.Helper()
	c.create(resource, fmt.Sprintf("{apiVersion: %s/%s, kind: %s, metadata: {%s}, %s}",
		resource.Group, resource.Version, kind, metadata, strings.Join(rest, ", ")))
}

// entry is how a custom kind stands on a whitelist, with options such as "Events: [ADDED]".
func entry(resource schema.GroupVersionResource, options ...string) string {
	return "{" + strings.Join(append([]string{"Resource: " + watchlist.Format(resource)}, options...), ", ") + "}"
}
