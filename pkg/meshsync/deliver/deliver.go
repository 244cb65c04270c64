package deliver

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/lead"
	"meshery.io/operator/pkg/meshsync/publish"
	"meshery.io/operator/pkg/meshsync/watch"
	"meshery.io/operator/pkg/meshsync/wire"
)

// RepeatWindow is how long before and after a break of the connection what is published is said once more to those who listen, unless the
// options say otherwise.
const RepeatWindow = 30 * time.Second

// CompareInterval is how often the state stream is compared with what was offered, unless the options say otherwise.
const CompareInterval = 5 * time.Minute

// Options of a Delivery.
type Options struct {
	Conn     *bus.Conn
	Leader   *lead.Leader
	Cluster  string // uid of the namespace kube-system
	MeshSync string // as wire.MeshSyncToken names it
	Metrics  prometheus.Registerer

	CompareInterval time.Duration // 0 is CompareInterval
	// RepeatWindow is how long before and after a break of the connection what is published is said once more. 0 is RepeatWindow.
	RepeatWindow time.Duration
	// MessagesPerSecond is the most to publish while the settings name no limit. 0 is none.
	MessagesPerSecond float64
}

// Delivery brings to the broker what is seen. It is the watches' sink.
type Delivery struct {
	options Options
	metrics *metrics
	watcher *watch.Watcher
	queue   *publish.Queue

	leading atomic.Bool            // what is offered is to be published
	untold  atomic.Bool            // the queue owes all that was seen, because nobody could be told of it yet
	reached chan struct{}          // closed when this agent leads, and has reached the broker
	begun   chan struct{}          // closed when the watches may begin
	begin   func()                 // closes begun
	epoch   atomic.Pointer[string] // of the stream
	trimmed trimmed
	recent  *publish.Recent

	mu       sync.Mutex
	settings meshery.Delivery
	changed  chan struct{} // holds one element when the settings have changed
	told     chan struct{} // closed when there are any
	tell     func()        // closes told
	mode     Mode
	led      time.Time // when this agent led last, as far as was noted

	// The rest is the state machine's.
	term       *lead.Term
	connected  time.Time      // for the first time
	restored   time.Time      // for the last time
	listeners  *bus.Listeners // of the broker at monitor
	monitor    string
	unreadable int             // times in a row that the stream could not be read
	broken     time.Time       // when the connection broke, if it is still to be said what was published around that; else zero
	conn       context.Context // ends with the connection
	stream     *bus.Stream     // nil: there is none
	resend     bool            // it is not known what consumers have: everything is to be sent again
}

// Mode is how messages go to the broker.
type Mode struct {
	Stream  string // that keeps them; empty for none
	Trouble error  // why there is none, although there should be
}

// New makes a delivery. Give it to the watches as their sink, and its Record to the queue; then give both to it.
func New(o Options) *Delivery {
	o.CompareInterval = cmp.Or(o.CompareInterval, CompareInterval)
	o.RepeatWindow = cmp.Or(o.RepeatWindow, RepeatWindow)
	d := &Delivery{options: o, metrics: newMetrics(o.Metrics), reached: make(chan struct{}), begun: make(chan struct{}), changed: make(chan struct{}, 1), told: make(chan struct{}), resend: true}
	d.recent = publish.NewRecent(time.Now(), o.RepeatWindow+listenersInterval, publish.DefaultMostRecent)
	d.begin = sync.OnceFunc(func() { close(d.begun) })
	d.tell = sync.OnceFunc(func() { close(d.told) })
	d.epoch.Store(new(""))
	return d
}

// Between says whose changes go into which queue. Call it before anything else.
func (d *Delivery) Between(watcher *watch.Watcher, queue *publish.Queue) {
	d.watcher, d.queue = watcher, queue
}

// Configure changes how messages are delivered, while they are. Nil is what was said before, or the defaults.
func (d *Delivery) Configure(given *meshery.Delivery) {
	defer d.tell()
	if given == nil {
		return
	}
	settings := *given
	d.queue.SetRate(cmp.Or(settings.MessagesPerSecond, d.options.MessagesPerSecond), settings.BytesPerSecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.settings
	d.settings = settings
	if settings.StreamReplicas == before.StreamReplicas && settings.StreamMaxBytes == before.StreamMaxBytes && settings.Monitor == before.Monitor {
		return
	}
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// Begun is closed when the watches may begin: it is known then what the broker holds, or that another agent publishes, or that either
// cannot be known for now.
func (d *Delivery) Begun() <-chan struct{} { return d.begun }

// Offer implements watch.Sink. While another agent leads there is nothing to do: what is missing is found out at the take-over.
func (d *Delivery) Offer(resource schema.GroupVersionResource, change wire.Change) {
	switch {
	case d.leading.Load():
		d.queue.Offer(resource, change)
	case change.Event == wire.Deleted: // without a stream nobody else would know of it, if the leader ends before it has said so
		d.recent.Note(publish.Key{Resource: resource, Namespace: change.Namespace, Name: change.Name}, time.Now(), &change)
	}
}

// MakeWay implements watch.Sink.
func (d *Delivery) MakeWay() (room bool) { return d.leading.Load() && d.queue.MakeWay() }

// Trimmed is told of every message that is published without a part.
func (d *Delivery) Trimmed(key publish.Key, without []string) { d.trimmed.put(key, without) }

// Confirmed is told of every change that the core subject has had.
func (d *Delivery) Confirmed(key publish.Key, change wire.Change, at time.Time) {
	if !change.CoreOnly {
		d.recent.Note(key, at, &change)
	}
	if change.Event == wire.Deleted || len(change.Message)+wire.EndRoom <= d.options.Conn.MaxPayload()-bus.RecordRoom {
		d.trimmed.drop(key)
	}
}

// Mode is how messages go to the broker at the moment.
func (d *Delivery) Mode() Mode {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mode
}

func (d *Delivery) setMode(mode Mode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mode = mode
	d.metrics.setStream(mode.Stream != "")
}

// Ready returns nil while what is seen reaches the broker, or would if no other agent led; and otherwise why it does not.
func (d *Delivery) Ready() error {
	err := d.options.Conn.Ready()
	switch {
	case d.options.Leader.Replaced():
		return err
	case !d.options.Leader.Leading() && time.Since(d.lastLed()) >= nobodyPatience:
		return errors.Join(err, errNobodyLeads)
	case d.options.Leader.Leading():
		d.leads()
	}
	return errors.Join(err, d.queue.Ready())
}

// nobodyPatience is how long no agent may lead before that counts: for as long the API server may be away.
const nobodyPatience = 30 * time.Second

// lastLed is when this agent led last; zero for never.
func (d *Delivery) lastLed() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.led
}

// leads notes that this agent leads, or did up to now.
func (d *Delivery) leads() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.led = time.Now()
}

var errNobodyLeads = errors.New("no agent holds the lease, so none publishes")

func (d *Delivery) current() meshery.Delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settings
}
