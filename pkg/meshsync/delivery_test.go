package meshsync_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"meshery.io/operator/pkg/meshsync"
	"meshery.io/operator/pkg/meshsync/wire"
	"meshery.io/operator/test/consumer"
	"meshery.io/operator/test/natsserver"
)

// keeping is a scene with a broker that keeps what is published.
func keeping(t *testing.T) (*cluster, *natsserver.Server, *consumer.Consumer, jetstream.JetStream) {
	t.Helper()
	server := natsserver.Start(t, natsserver.Options{JetStream: true})
	client, err := nats.Connect(server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	js, err := jetstream.New(client)
	if err != nil {
		t.Fatal(err)
	}
	return newCluster(t), server, consumer.Connect(t, server.URL()), js
}

// stateStream is the only stream of a test's broker.
func stateStream(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	names := js.StreamNames(t.Context())
	var streams []string
	for name := range names.Name() {
		streams = append(streams, name)
	}
	if len(streams) != 1 {
		t.Fatalf("the streams are %v, %v", streams, names.Err())
	}
	stream, err := js.Stream(t.Context(), streams[0])
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// kept is what the state stream holds: the resource version of every object, by the end of its subject.
func kept(t *testing.T, js jetstream.JetStream) map[string]string {
	t.Helper()
	held := map[string]string{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	records, err := stateStream(t, js).OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy})
	if err != nil {
		t.Fatal(err)
	}
	info, err := records.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = js.DeleteConsumer(ctx, info.Stream, records.CachedInfo().Name) }() // there is a limit, and many polls
	for left := info.NumPending; left > 0; {
		record, err := records.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		metadata, err := record.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		left = metadata.NumPending
		message, err := consumer.Decode(record.Data())
		if err != nil {
			t.Errorf("record %s: %v", record.Subject(), err)
		}
		if record.Headers().Get(wire.HeaderEvent) != message.EventType || record.Headers().Get(wire.HeaderResourceVersion) != message.Object.Metadata.ResourceVersion {
			t.Errorf("record %s: headers %v, message %s %s", record.Subject(), record.Headers(), message.EventType, message.Object.Metadata.ResourceVersion)
		}
		if message.EventType != "DELETED" {
			held[message.Object.Kind+"/"+message.Object.Metadata.Name] = message.Object.Metadata.ResourceVersion
		}
	}
	return held
}

// waitKept waits until the state stream holds the ConfigMaps of the test as they are.
func (c *cluster) waitKept(js jetstream.JetStream) {
	c.t.Helper()
	c.eventually("the state stream", func() error {
		want := map[string]string{}
		for _, object := range c.list(configMaps) {
			want["ConfigMap/"+object.GetName()] = object.GetResourceVersion()
		}
		if got := kept(c.t, js); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("holds %v, want %v", got, want)
		}
		return nil
	})
}

func (c *cluster) createConfigMaps(names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.create(configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: "+name+"}, data: {a: b}}")
	}
}

// told is what was told, as EVENT name, in alphabetic order: across objects none is promised.
func told(messages []consumer.Message) []string {
	var lines []string
	for _, message := range messages {
		lines = append(lines, message.EventType+" "+message.Object.Metadata.Name)
	}
	slices.Sort(lines)
	return lines
}

// TestARestartTellsTheDifferenceOnly also asks at the end what is told when there is none.
func TestARestartTellsTheDifferenceOnly(t *testing.T) {
	t.Parallel()
	c, server, got, js := keeping(t)
	c.writeWatchList("{Resource: configmaps.v1.}")
	c.createConfigMaps("same", "changed", "gone", "again")
	agent := startAgent(c, server.URL())
	agent.waitReady("")
	c.waitKept(js)
	agent.stop()
	before := len(got.Messages())

	c.change(configMaps, "changed", "{data: {a: c}}")
	c.delete(configMaps, "gone")
	c.delete(configMaps, "again")
	c.createConfigMaps("new", "again")
	agent = startAgent(c, server.URL())
	agent.waitReady("")
	c.waitKept(js)
	want := []string{"ADDED again", "ADDED again", "ADDED new", "DELETED again", "DELETED gone", "MODIFIED changed"}
	got.WaitFor(t, "the difference", func() bool { return len(got.Messages())-before >= len(want) })
	agent.stop()
	if said := told(got.Messages()[before:]); !slices.Equal(said, want) {
		t.Errorf("told %v, want %v", said, want)
	}

	before = len(got.Messages())
	agent = startAgent(c, server.URL())
	agent.waitReady("")
	c.createConfigMaps("last")
	got.WaitFor(t, "what is new", func() bool { return len(got.Messages()) > before })
	agent.stop()
	if said := told(got.Messages()[before:]); !slices.Equal(said, []string{"ADDED last"}) {
		t.Errorf("told %v", said)
	}
}

// TestAKindThatIsNotOnTheListAnyMoreIsWithdrawn is about an edit of the list while no agent runs.
func TestAKindThatIsNotOnTheListAnyMoreIsWithdrawn(t *testing.T) {
	t.Parallel()
	c, server, got, js := keeping(t)
	c.writeWatchList("{Resource: configmaps.v1.}", "{Resource: secrets.v1.}")
	c.create(secrets, "{apiVersion: v1, kind: Secret, metadata: {name: secret}}")
	agent := startAgent(c, server.URL())
	agent.waitReady("")
	got.WaitFor(t, "the secret", func() bool { return len(got.About("Secret", c.namespace, "secret")) == 1 })
	agent.stop()
	c.writeWatchList("{Resource: configmaps.v1.}")
	startAgent(c, server.URL())
	got.WaitFor(t, "that it is gone", func() bool { return len(got.About("Secret", c.namespace, "secret")) == 2 })
	c.waitKept(js)
}

// TestWhatTheStreamLosesIsRepaired is also about a stream that is not there any more, and one of which only a part is.
func TestWhatTheStreamLosesIsRepaired(t *testing.T) {
	t.Parallel()
	c, server, _, js := keeping(t)
	c.writeWatchList("{Resource: configmaps.v1.}")
	c.createConfigMaps("a", "b", "c")
	agent := startAgent(c, server.URL(), func(o *meshsync.Options) { o.CompareInterval = 500 * time.Millisecond })
	agent.waitReady("")
	c.waitKept(js)
	name := stateStream(t, js).CachedInfo().Config.Name

	if err := stateStream(t, js).Purge(t.Context(), jetstream.WithPurgeSubject("meshery.meshsync.state.*.*.configmaps.v1._."+c.namespace+".b")); err != nil {
		t.Fatal(err)
	}
	c.waitKept(js)
	if err := stateStream(t, js).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.waitKept(js)
	if err := js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	c.createConfigMaps("d")
	c.eventually("the stream is there again", func() error {
		_, err := js.Stream(t.Context(), name)
		return err
	})
	c.waitKept(js)
	server.Kill()
	server.Wipe(t)
	c.delete(configMaps, "a")
	server.Restart(t)
	c.eventually("the stream is there again", func() error {
		_, err := js.Stream(t.Context(), name)
		return err
	})
	c.waitKept(js)
}

// TestAStandbyTakesOver tells what was missed, once.
func TestAStandbyTakesOver(t *testing.T) {
	t.Parallel()
	c, server, got, js := keeping(t)
	c.writeWatchList("{Resource: configmaps.v1.}")
	c.createConfigMaps("a", "b")
	identity := func(name string) func(*meshsync.Options) {
		return func(o *meshsync.Options) { o.Identity = name }
	}
	leader := startAgent(c, server.URL(), identity("first"))
	leader.waitReady("")
	c.waitKept(js)
	standby := startAgent(c, server.URL(), identity("second"))
	standby.waitReady("")
	c.createConfigMaps("c")
	c.waitKept(js)
	before := len(got.Messages())
	leader.stop()
	c.change(configMaps, "b", "{data: {a: c}}")
	c.delete(configMaps, "a")
	c.waitKept(js)
	standby.stop()
	if said := told(got.Messages()[before:]); !slices.Equal(said, []string{"DELETED a", "MODIFIED b"}) {
		t.Errorf("told %v", said)
	}
	if n := len(got.About("ConfigMap", c.namespace, "c")); n != 1 {
		t.Errorf("c was told %d times", n)
	}
}

// TestWhoWasAwayWithTheBrokerMissesNothing has a listener that comes back later than the agent, which publishes without it.
func TestWhoWasAwayWithTheBrokerMissesNothing(t *testing.T) {
	t.Parallel()
	c, server := newCluster(t), natsserver.Start(t, natsserver.Options{})
	gate := natsserver.NewGate(t, server)
	got := consumer.Connect(t, gate.URL())
	c.writeWatchList("{Resource: configmaps.v1.}")
	c.createConfigMaps("changed", "gone", "again")
	agent := startAgent(c, server.URL(), func(o *meshsync.Options) { o.RepeatWindow = 3 * time.Second })
	agent.waitReady("")
	got.WaitFor(t, "all", func() bool { return len(got.State()) == 5 })

	server.Kill()
	gate.Close()
	agent.waitReady("not connected")
	c.change(configMaps, "changed", "{data: {a: c}}")
	c.delete(configMaps, "gone")
	c.delete(configMaps, "again")
	c.createConfigMaps("again")
	server.Restart(t)
	agent.waitReady("")
	agent.waitIdle()
	before := len(got.Messages())
	gate.Open()
	got.WaitConnected(t)
	got.WaitFor(t, "what was missed", func() bool { return len(got.Messages())-before >= 4 })
	agent.waitIdle()
	got.CatchUp(t)
	if err := sameState(c, got); err != nil {
		t.Error(err)
	}
}

// sameState compares what a consumer has with the ConfigMaps of the test.
func sameState(c *cluster, got *consumer.Consumer) error {
	want, have := map[string]string{}, map[string]string{}
	for _, object := range c.list(configMaps) {
		want[object.GetName()] = string(object.GetUID()) + "/" + object.GetResourceVersion()
	}
	for _, object := range got.State() {
		have[object.Metadata.Name] = object.Metadata.UID + "/" + object.Metadata.ResourceVersion
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		return fmt.Errorf("the consumer has %v, want %v", have, want)
	}
	return nil
}
