package natsserver

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const patience = 20 * time.Second

func connect(t *testing.T, urls ...string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

func eventually(t *testing.T, what string, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for err := try(ctx); err != nil; err = try(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestAServerKeepsWhatItHasUntilItIsWiped(t *testing.T) {
	server := Start(t, Options{JetStream: true})
	_, js := connect(t, server.URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "kept", Subjects: []string{"kept"}}); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	server.Restart(t)
	eventually(t, "the stream is there", func(ctx context.Context) error {
		_, err := js.Stream(ctx, "kept")
		return err
	})
	server.Kill()
	server.Wipe(t)
	server.Restart(t)
	eventually(t, "no stream is there", func(ctx context.Context) error {
		info, err := js.AccountInfo(ctx)
		if err == nil && info.Streams != 0 {
			t.Fatalf("%d streams", info.Streams)
		}
		return err
	})
}

func TestAFullServerRefuses(t *testing.T) {
	server := Start(t, Options{JetStream: true, MaxFileStore: 4 << 20})
	_, js := connect(t, server.URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "full", Subjects: []string{"full"}}); err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		if _, err := js.Publish(t.Context(), "full", make([]byte, 1<<19)); err != nil {
			t.Logf("refused after %d messages: %v", n, err)
			return
		}
	}
	t.Error("nothing was refused")
}

func TestAPausedServerAnswersLater(t *testing.T) {
	server := Start(t, Options{})
	conn, _ := connect(t, server.URL())
	server.Pause(t)
	if err := conn.FlushTimeout(200 * time.Millisecond); err == nil {
		t.Error("it answered while it was paused")
	}
	server.Resume(t)
	if err := conn.FlushTimeout(patience); err != nil {
		t.Error(err)
	}
}

func TestAClusterSurvivesOneOfItsServers(t *testing.T) {
	cluster := StartCluster(t, 3, Options{JetStream: true})
	_, js := connect(t, cluster[0].URL(), cluster[1].URL(), cluster[2].URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "kept", Subjects: []string{"kept"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	cluster[0].Kill()
	eventually(t, "two go on", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := js.Publish(ctx, "kept", nil)
		return err
	})
	cluster.Restart(t)
}
