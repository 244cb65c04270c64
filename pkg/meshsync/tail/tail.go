// Package tail prints what the agent publishes, one line per message, for people.
//
// What flows in: messages on the core subject. What flows out: time, event, kind, namespace/name and size of each. It connects
// under a name of its own, so that Meshery Server does not take it for the agent, and comes back when the broker does.
package tail

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

const (
	clientName = wire.ClientName + "-tail"
	// patience is how long the broker may be away before that is mentioned.
	patience = time.Second
)

// Options of Run.
type Options struct {
	Address bus.Address
	Resync  bool      // ask the agent to publish everything again, to begin with
	Out     io.Writer // a line per message
	Notes   io.Writer // that the broker went away or came back

	StopAfter time.Duration // 0 is never
}

// AddFlags makes what a user may choose settable on a command line.
func (o *Options) AddFlags(flags *flag.FlagSet) {
	flags.DurationVar(&o.StopAfter, "stopAfter", o.StopAfter, "stop after this time, such as 30s; 0 is never")
	flags.BoolVar(&o.Resync, "resync", o.Resync, "have everything published again, to begin with; every listener gets it")
}

// Run prints until ctx ends or the time is up.
func Run(ctx context.Context, o Options) error {
	if o.StopAfter < 0 {
		return fmt.Errorf("--stopAfter=%s: want a duration of 0 or more, such as 30s", o.StopAfter)
	}
	if o.StopAfter > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.StopAfter)
		defer cancel()
	}
	quiet := klog.NewContext(ctx, klog.FromContext(ctx).V(2)) // the notes say what matters
	conn, err := bus.Connect(quiet, bus.Options{Address: o.Address, Name: clientName, Metrics: prometheus.NewRegistry()})
	if err != nil {
		return err
	}
	defer conn.Close()
	failed := make(chan error, 1)
	stop, err := conn.Subscribe(wire.SubjectCore, "", func(body []byte) {
		if _, err := io.WriteString(o.Out, line(time.Now(), body)); err != nil {
			select {
			case failed <- err: // the reader is gone
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	if o.Resync {
		if err := requestResync(ctx, conn); err != nil {
			return err
		}
	}

	check := time.NewTicker(patience)
	defer check.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-check.C:
			err := conn.Ready()
			switch {
			case err != nil && !away:
				fmt.Fprintf(o.Notes, "%v; will keep trying\n", err)
			case err == nil && away:
				fmt.Fprintf(o.Notes, "connected to broker %s\n", o.Address)
			}
			away = err != nil
		}
	}
}

// requestResync comes after the subscription on the same connection, so nothing of what it brings is missed.
func requestResync(ctx context.Context, conn *bus.Conn) error {
	request, err := wire.EncodeRequest(wire.EntityResync)
	if err != nil {
		return err
	}
	if err := conn.WaitConnected(ctx); err != nil {
		return nil //nolint:nilerr // told to end before there was a broker
	}
	if err := conn.Deliver(ctx, bus.Message{Subject: wire.SubjectRequest, Body: request}); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// line describes a message. Columns are wide enough for most names; a longer one moves what follows.
func line(now time.Time, body []byte) string {
	var message struct {
		EventType string
		Object    struct {
			Kind     string
			Metadata struct{ Namespace, Name string }
		}
	}
	if err := json.Unmarshal(body, &message); err != nil {
		message.EventType, message.Object.Kind = "?", "no JSON object"
	}
	name := message.Object.Metadata.Name
	if namespace := message.Object.Metadata.Namespace; namespace != "" {
		name = namespace + "/" + name
	}
	return fmt.Sprintf("%s  %-8s  %-24s  %-48s  %7d\n", now.Format("15:04:05.000"), message.EventType, message.Object.Kind, name, len(body))
}
