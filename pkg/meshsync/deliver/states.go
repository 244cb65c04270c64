package deliver

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/publish"
	"meshery.io/operator/pkg/meshsync/watch"
	"meshery.io/operator/pkg/meshsync/wire"
)

const (
	// headStart is how long a stream may take to be opened before messages go without it.
	headStart = 2 * time.Second
	// brokerPatience is how long the watches wait for a lease and a broker.
	brokerPatience = 5 * time.Second
	// What differs can only be told at the start, if the broker says what it holds. It has coldPatience for that; the settings that come
	// with the watch-list, which say whether it is to hold anything, have settingsPatience.
	coldPatience     = 20 * time.Second
	settingsPatience = 5 * time.Second
	// repairPatience is how long it is tried to offer again what can be listed in no time, unless its kind cannot be listed at all.
	repairPatience = 30 * time.Second
	// streamRetry is how often it is tried to open a stream that there should be.
	streamRetry = 5 * time.Second
	// lostPause keeps two who both believe that the stream is theirs from taking it from each other all the time.
	lostPause = time.Second
	// holderInterval is how often an agent that has lost its lease looks whether another has it.
	holderInterval = time.Second
	// askPatience is how long it may take to ask a successor to publish everything again.
	askPatience = 5 * time.Second
)

// state is what a Delivery is doing. It returns the next one; nil is the end.
//
//	                leads             connected          opened or not
//	standBy ──────────────▶ connect ────────────▶ open ──────────────▶ takeStock ────▶ publish
//	   ▲                     ▲  │                  ▲                       ▲             │ │ │ │
//	   │                     │  │                  └──── stream lost, ─────┼─────────────┘ │ │ │
//	   │                     │  │                        other settings    └─ time to look ┘ │ │
//	   │                     └──┼─────────────── disconnected ───────────────────────────────┘ │
//	   └──── resign ◀───────────┴─────────── does not lead any more ───────────────────────────┘
//
// The queue is open in publish only.
type state func(ctx context.Context) state

// Run delivers until ctx ends.
func (d *Delivery) Run(ctx context.Context) {
	var meanwhile sync.WaitGroup
	defer meanwhile.Wait()
	meanwhile.Go(func() { d.beginWithoutBroker(ctx) })
	for next := d.standBy; next != nil; {
		next = next(ctx)
	}
}

// standBy waits until this agent leads. The watches begin meanwhile if another one does: then they are warm at the take-over.
func (d *Delivery) standBy(ctx context.Context) state {
	waiting, stop := context.WithCancel(ctx)
	var meanwhile sync.WaitGroup
	meanwhile.Go(func() { d.beginWhenStandby(waiting) })
	meanwhile.Go(func() { d.forgetWhenReplaced(waiting) })
	term, err := d.options.Leader.Wait(ctx)
	stop()
	meanwhile.Wait()
	if err != nil {
		return nil
	}
	d.term = term
	d.leads()
	if !term.Continued && !d.untold.Load() { // another one knows what consumers have been told; or nobody does
		d.queue.Clear()
		d.resend = true
	}
	return d.connect
}

// beginWhenStandby lets the watches begin while another agent publishes.
func (d *Delivery) beginWhenStandby(ctx context.Context) {
	select {
	case <-d.options.Leader.Standby():
		d.begin()
	case <-ctx.Done():
	}
}

// beginWithoutBroker lets the watches begin when there is no broker to learn from. The queue takes what they see.
func (d *Delivery) beginWithoutBroker(ctx context.Context) {
	select {
	case <-d.reached:
	case <-time.After(brokerPatience):
		if !d.options.Leader.Replaced() {
			d.untold.Store(true)
			d.leading.Store(true)
		}
		d.begin()
	case <-ctx.Done():
	}
}

// forgetWhenReplaced ends what this agent would have to say once another one says it.
func (d *Delivery) forgetWhenReplaced(ctx context.Context) {
	for !d.options.Leader.Replaced() {
		select {
		case <-time.After(holderInterval):
		case <-ctx.Done():
			return
		}
	}
	d.leading.Store(false)
	d.untold.Store(false)
	d.queue.Clear()
	d.resend = true
}

// connect waits for the broker.
func (d *Delivery) connect(context.Context) state {
	connection, err := d.options.Conn.Connected(d.term.Context())
	if err != nil {
		return d.resign
	}
	d.conn, d.restored = connection, time.Now()
	if d.connected.IsZero() {
		d.connected = d.restored
		close(d.reached)
		d.await(d.told, settingsPatience)
		d.settled() // they are known now
	}
	return d.open
}

// open takes the state stream over, if the broker offers one.
func (d *Delivery) open(ctx context.Context) state {
	patience, cancel := context.WithTimeout(d.conn, headStart)
	defer cancel()
	d.openStream(ctx, patience)
	return d.takeStock
}

// openStream leaves no stream where there is none, and says why if there should be.
func (d *Delivery) openStream(ctx, patience context.Context) {
	settings, logger := d.current(), klog.FromContext(ctx)
	name := wire.StateStream(d.options.Cluster, d.options.MeshSync)
	stream, err := d.options.Conn.OpenStream(patience, bus.StreamOptions{
		Name:        name,
		Description: "The state of a cluster: the last message about every object.",
		Stored:      wire.StatePrefix(d.options.Cluster, d.options.MeshSync),
		Published:   func(epoch uint64) string { return wire.PublishPrefix(epoch, d.options.Cluster, d.options.MeshSync) },
		Replicas:    settings.StreamReplicas,
		MaxBytes:    settings.StreamMaxBytes,
	})
	d.stream = stream
	switch {
	case err == nil:
		d.epoch.Store(new(stream.Epoch()))
	case errors.Is(err, bus.ErrNoStreams) && settings.StreamReplicas == 0:
		logger.Info("The broker has no JetStream: what is deleted while no agent runs cannot be known")
		d.setMode(Mode{})
	default:
		d.trouble(ctx, err)
	}
}

// keeps notes that messages are kept.
func (d *Delivery) keeps(ctx context.Context) {
	name := wire.StateStream(d.options.Cluster, d.options.MeshSync)
	if d.Mode().Stream != name {
		klog.FromContext(ctx).Info("Messages are kept in the state stream", "stream", name)
	}
	d.setMode(Mode{Stream: name})
}

// trouble goes on without a stream.
func (d *Delivery) trouble(ctx context.Context, err error) {
	d.stream = nil
	if before := d.Mode().Trouble; d.conn.Err() == nil && (before == nil || before.Error() != err.Error()) {
		klog.FromContext(ctx).Info("The state stream cannot be used, messages go without it", "reason", err.Error())
	}
	d.setMode(Mode{Trouble: err})
}

// takeStock finds out what is missing at the broker.
//
//nolint:contextcheck // what is read ends with the connection
func (d *Delivery) takeStock(ctx context.Context) state {
	d.leading.Store(true) // from here on: what is seen before is compared, and what is seen later is owed
	switch untold := d.untold.Swap(false); {
	case untold && d.stream != nil:
		d.queue.Clear() // the stream may have most of it
	case untold:
		d.resend = false
	}
	var found *watch.Difference
	var err error
	switch {
	case d.stream == nil:
	case !d.hasBegun():
		err = d.inherit(d.conn)
		d.resend = d.resend && err != nil
	default:
		found, err = d.compare(d.conn)
		d.resend = d.resend && err != nil
	}
	switch {
	case err != nil:
		d.unreadable++
		d.trouble(ctx, err)
	case d.stream != nil:
		d.unreadable = 0
		d.keeps(ctx)
	}
	if !d.hasBegun() && d.Mode().Trouble != nil && time.Since(d.connected) < coldPatience {
		d.await(nil, lostPause)
		if d.conn.Err() != nil {
			return d.connect
		}
		return d.open
	}
	if !d.hasBegun() { // what is not known to be there will be seen, and offered
		d.resend = false
		d.begin()
	}
	return func(ctx context.Context) state { return d.publish(ctx, found) }
}

func (d *Delivery) hasBegun() bool { return isClosed(d.begun) }

// publish lets messages out, and offers again what was found missing.
//
//nolint:contextcheck // what it begins ends with the connection
func (d *Delivery) publish(ctx context.Context, found *watch.Difference) state {
	// Reading a stream holds up what is published: one that cannot be read is left alone for longer and longer.
	outlet, lost, interval := publish.Outlet(d.options.Conn), (<-chan struct{})(nil), min(streamRetry<<min(d.unreadable, 10), d.options.CompareInterval)
	if d.stream != nil {
		outlet, lost, interval = d.stream, d.stream.Lost(), d.options.CompareInterval
	}
	d.queue.Open(leaders{outlet, d.term})
	defer d.queue.Pause()
	repaired, stop := d.inBackground(func(ctx context.Context) { d.repair(ctx, found) })
	defer stop()
	_, stopRepeating := d.inBackground(d.repeatWhenDue)
	defer stopRepeating()
	_, stopListening := d.inBackground(d.watchListeners)
	defer stopListening()
	look := time.NewTicker(interval)
	defer look.Stop()
	for {
		select {
		case <-d.term.Context().Done():
			return d.resign
		case <-d.conn.Done():
			if d.term.Context().Err() != nil {
				return d.resign
			}
			stopRepeating()
			d.breaks(time.Now())
			return d.connect
		case <-d.changed:
			return d.open
		case <-lost:
			klog.FromContext(ctx).Info("The state stream is gone, opening it again")
			d.await(nil, lostPause)
			return d.open
		case <-look.C:
			switch {
			case d.stream == nil && d.Mode().Trouble != nil:
				d.openStream(ctx, d.conn)
			case !isClosed(repaired):
				continue // it is known already
			}
			if d.stream != nil {
				return d.takeStock
			}
		}
	}
}

// repair offers what is missing.
func (d *Delivery) repair(ctx context.Context, found *watch.Difference) {
	switch {
	case found != nil && !found.None():
		patience, cancel := context.WithTimeout(ctx, repairPatience)
		defer cancel()
		_ = d.watcher.Repair(patience, found) // what it could not offer is found again
	case d.resend:
		klog.FromContext(ctx).Info("It is not known what consumers have: publishing everything again")
		_ = d.repeat(ctx, time.Now().Add(-d.options.RepeatWindow)) // what was deleted while nobody led
		d.resend = d.watcher.Resync(ctx) != nil
	}
}

// inBackground does something that ends with stop, or with the connection, at the latest.
func (d *Delivery) inBackground(do func(ctx context.Context)) (done <-chan struct{}, stop func()) {
	finished := make(chan struct{})
	doing, cancel := context.WithCancel(d.conn)
	go func() {
		defer close(finished)
		do(doing)
	}()
	return finished, func() {
		cancel()
		<-finished
	}
}

// resign is what remains to be done when this agent does not lead any more.
//
//nolint:contextcheck // the term is not a part of ctx
func (d *Delivery) resign(ctx context.Context) state {
	d.stream = nil
	d.setMode(Mode{})
	d.leads()
	if ctx.Err() != nil {
		return nil
	}
	klog.FromContext(ctx).Info("This agent does not lead any more, nothing is published", "reason", context.Cause(d.term.Context()).Error())
	if !d.options.Leader.Replaced() {
		return d.standBy
	}
	// What it sent last may have come after what its successor sent first, on the core subject at least.
	asking, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	if request, err := wire.EncodeRequest(wire.EntityResync); err == nil {
		_ = d.options.Conn.Deliver(asking, bus.Message{Subject: wire.SubjectRequest, Body: request})
	}
	return d.standBy
}

// await waits for something, no longer than its time and not longer than the connection lasts.
func (d *Delivery) await(something <-chan struct{}, patience time.Duration) {
	select {
	case <-something:
	case <-time.After(patience):
	case <-d.conn.Done():
	}
}

// settled forgets that the settings have changed: they are about to be used.
func (d *Delivery) settled() {
	select {
	case <-d.changed:
	default:
	}
}

func isClosed(channel <-chan struct{}) bool {
	select {
	case <-channel:
		return true
	default:
		return false
	}
}

// term says whether this agent leads.
type term interface{ Valid() bool }

// leaders is an outlet for who leads. A program may have stood still for minutes, and not know yet what it has missed.
type leaders struct {
	publish.Outlet
	term term
}

var errNotLeading = errors.New("this agent may not lead any more")

// Send sends nothing when another agent may lead.
func (l leaders) Send(ctx context.Context, messages ...bus.Message) (bus.Receipt, error) {
	if !l.term.Valid() {
		return nil, errNotLeading
	}
	return l.Outlet.Send(ctx, messages...)
}
