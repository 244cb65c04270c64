package delivery

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"meshery.io/operator/test/consumer"
)

// stream is the state stream of one agent: the last message about each object, under a subject of the object's own.
type stream struct {
	js     jetstream.JetStream
	name   string
	prefix string // of its subjects
}

// streamOf is where to find the stream of an agent: a MeshSync's, in a cluster.
func streamOf(js jetstream.JetStream, cluster, meshSync string) stream {
	of := namespaces[0] + "_" + meshSync
	return stream{js: js, name: "meshsync-" + cluster + "-" + of, prefix: "meshery.meshsync.state." + cluster + "." + of + "."}
}

// snapshot is what a new consumer reads: the last record of every object, but those that are deleted.
func (s stream) snapshot(ctx context.Context) (states, error) {
	known := states{}
	err := s.read(ctx, func(record jetstream.Msg) error {
		uid, of, err := s.decode(record)
		if err == nil && of != nil {
			known[uid] = *of
		}
		return err
	})
	return known, err
}

// read hands out the last record of every object.
func (s stream) read(ctx context.Context, visit func(jetstream.Msg) error) error {
	from, err := s.js.OrderedConsumer(ctx, s.name, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{s.prefix + ">"}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", s.name, err)
	}
	info, err := from.Info(ctx)
	if err != nil {
		return err
	}
	for left := int(info.NumPending); left > 0; {
		records, err := from.Fetch(left, jetstream.FetchMaxWait(requestPatience))
		if err != nil {
			return err
		}
		before := left
		for record := range records.Messages() {
			left--
			if err := visit(record); err != nil {
				return fmt.Errorf("record on %s: %w", record.Subject(), err)
			}
		}
		if left == before {
			return fmt.Errorf("%d records do not come: %w", left, records.Error())
		}
	}
	return nil
}

// decode holds a record against its contract. The state is nil for an object that is deleted.
func (s stream) decode(record jetstream.Msg) (uid string, of *state, err error) {
	header := record.Headers()
	uid, version := header.Get("Meshery-Uid"), header.Get("Meshery-Resource-Version")
	tokens := strings.Split(strings.TrimPrefix(record.Subject(), s.prefix), ".")
	if uid == "" || version == "" || len(tokens) != 5 {
		return uid, nil, fmt.Errorf("headers are %v", header)
	}
	if header.Get("Meshery-Event") == "DELETED" {
		return uid, nil, nil
	}
	message, err := consumer.Decode(record.Data())
	if err != nil {
		return uid, nil, err
	}
	object := message.Object
	is := stateOf(object)
	if object.Metadata.UID != uid || is.Version != version || header.Get("Meshery-Event") != message.EventType {
		return uid, nil, fmt.Errorf("the body is about version %s of %s, the headers are %v", is.Version, object.Metadata.UID, header)
	}
	if want := [...]string{token(is.Namespace), token(is.Name)}; tokens[3] != want[0] || tokens[4] != want[1] {
		return uid, nil, fmt.Errorf("the subject should end in %v", want)
	}
	return uid, &is, nil
}

// token is how a name stands in a subject.
func token(name string) string {
	if name == "" {
		return "_"
	}
	return strings.NewReplacer("%", "%25", ".", "%2E", "*", "%2A", ">", "%3E", " ", "%20").Replace(name)
}
