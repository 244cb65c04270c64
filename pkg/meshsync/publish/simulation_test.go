package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
	"meshery.io/operator/pkg/meshsync/wire"
)

// TestSimulation lets objects live and die at random, over a broker that fails at random, and that comes and goes. In the end all who
// listen must know exactly what there is, and they must never have heard anything in another order than it happened.
//
// SIMULATION_SEED=n runs that one alone; SIMULATION_SEEDS=n is how many to run.
func TestSimulation(t *testing.T) {
	if text := os.Getenv("SIMULATION_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		simulate(t, seed)
		return
	}
	seeds, err := strconv.ParseUint(cmp.Or(os.Getenv("SIMULATION_SEEDS"), "10000"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	const parts = 8
	for part := range uint64(parts) {
		t.Run(fmt.Sprint("part ", part), func(t *testing.T) {
			t.Parallel()
			for seed := part; seed < seeds && !t.Failed(); seed += parts {
				simulate(t, seed)
			}
		})
	}
}

func simulate(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed)
		w.run(klog.NewContext(t.Context(), klog.New(nil)))
		for _, problem := range w.problems {
			t.Errorf("SIMULATION_SEED=%d: %s", seed, problem)
		}
		if t.Failed() && os.Getenv("SIMULATION_SEED") != "" {
			for _, line := range w.log {
				t.Log(line)
			}
		}
	})
}

// world is a cluster and what watches it, the queue, a broker, and those who listen there.
type world struct {
	queue  *Queue
	began  time.Time
	broker *simBroker

	mu       sync.Mutex // as a watch has one: what is known is always what was offered last
	random   *rand.Rand
	fetching *rand.Rand
	objects  map[string]simObject
	gone     map[string]simObject // that may come back, or be said to be gone once more
	created  int
	versions int
	calm     bool // nothing fails any more

	logs     sync.Mutex
	problems []string
	log      []string
}

// simObject is the state of an object. uids are numbered.
type simObject struct{ uid, version int }

const (
	simNames  = 4
	simBudget = 1500
)

var simKinds = []schema.GroupVersionResource{configMaps, {Version: "v1", Resource: "secrets"}}

func newWorld(seed uint64) *world {
	w := &world{
		began: time.Now(), objects: map[string]simObject{}, gone: map[string]simObject{},
		random: rand.New(rand.NewPCG(seed, 1)), fetching: rand.New(rand.NewPCG(seed, 2)),
	}
	w.broker = newSimBroker(w, rand.New(rand.NewPCG(seed, 3)))
	options := Options{Metrics: prometheus.NewRegistry(), Record: simRecord, Trim: simTrim, MaxPendingBytes: simBudget, Fetch: w.fetch}
	if w.random.IntN(3) == 0 {
		options.Fetch = nil
	}
	if w.random.IntN(3) == 0 {
		options.MessagesPerSecond = 20
	}
	w.queue = NewQueue(options)
	return w
}

func (w *world) note(format string, args ...any) {
	w.logs.Lock()
	defer w.logs.Unlock()
	w.log = append(w.log, fmt.Sprintf("%6d ms  ", time.Since(w.began).Milliseconds())+fmt.Sprintf(format, args...))
}

func (w *world) problem(format string, args ...any) {
	w.note("PROBLEM "+format, args...)
	w.logs.Lock()
	defer w.logs.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *world) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var running, chaos sync.WaitGroup
	running.Go(func() { w.queue.Run(ctx) })
	over := make(chan struct{})
	chaos.Go(func() { w.broker.comeAndGo(over) })
	for range 20 + w.random.IntN(30) {
		w.happen()
		if w.random.IntN(3) > 0 {
			<-time.After(time.Duration(w.random.IntN(400)) * time.Millisecond)
		}
	}
	close(over)
	chaos.Wait()
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	w.broker.recover()
	patience, stop := context.WithTimeout(ctx, 10*time.Minute)
	defer stop()
	if left := w.queue.Drain(patience); left != 0 {
		w.problem("%d objects are never published", left)
	}
	cancel()
	running.Wait()
	w.check()
}

// happen does something to one object, as a watch or a list tells of it.
func (w *world) happen() {
	room := w.queue.MakeWay()
	w.mu.Lock()
	defer w.mu.Unlock()
	name := fmt.Sprint("x", w.random.IntN(simNames))
	state, there := w.objects[name]
	switch what := w.random.IntN(10); {
	case !there && what == 0 && w.gone[name].uid != 0: // it is watched again
		w.put(wire.Added, name, w.gone[name].uid, true, room)
	case !there:
		w.created++
		w.put(wire.Added, name, w.created, what == 1, room)
	case what < 4:
		w.put(wire.Modified, name, state.uid, false, room)
	case what == 4: // a list tells of everything once more, and of what else had the name
		if old := w.gone[name]; old.uid != 0 && old.uid != state.uid {
			w.offer(wire.Deleted, name, old, true, room)
		}
		w.offer(wire.Added, name, state, true, room)
	case what < 7:
		w.remove(name, false, room)
	case what == 7: // a list does not tell of it
		w.remove(name, true, room)
	default: // it is deleted and made anew
		w.remove(name, what == 8, room)
		w.created++
		w.put(wire.Added, name, w.created, what == 8, room)
	}
}

func (w *world) put(event wire.Event, name string, uid int, bulk, room bool) {
	w.versions++
	w.objects[name] = simObject{uid, w.versions}
	w.offer(event, name, w.objects[name], bulk, room)
}

// remove removes an object. A watch tells of its last state, which is a new version; a list only that it is gone.
func (w *world) remove(name string, bulk, room bool) {
	state := w.objects[name]
	if !bulk {
		w.versions++
		state.version = w.versions
	}
	delete(w.objects, name)
	w.gone[name] = state
	w.offer(wire.Deleted, name, state, bulk, room)
}

func (w *world) offer(event wire.Event, name string, state simObject, bulk, room bool) {
	uid := strconv.Itoa(state.uid)
	change := wire.Change{Event: event, Name: name, UID: uid, ResourceVersion: strconv.Itoa(state.version), Bulk: bulk, Seen: time.Now()}
	switch {
	case event == wire.Deleted && (bulk || !room):
		change.Message = newMessage(name, uid, state.version, 0)
		change.Gone = change.Message
	case room:
		change.Message = newMessage(name, uid, state.version, w.size(state.version))
		if event == wire.Deleted {
			change.Gone = newMessage(name, uid, state.version, 0)
		}
	}
	w.note("offer   %s %s %s %d bulk=%t bytes=%d", event, name, uid, state.version, bulk, len(change.Message))
	w.queue.Offer(simKind(name), change)
}

// size of a message: some are larger than the broker takes.
func (w *world) size(version int) int {
	if version%15 == 0 {
		return 1200
	}
	return 50 * (version % 7)
}

func simKind(name string) schema.GroupVersionResource { return simKinds[int(name[1])%len(simKinds)] }

// fetch lists a kind in pages. What is deleted while it does may still be in it, and is known to be gone.
func (w *world) fetch(_ context.Context, resource schema.GroupVersionResource, wanted func(namespace, name string) bool) error {
	w.mu.Lock()
	names := slices.Sorted(maps.Keys(w.objects))
	w.mu.Unlock()
	w.note("fetch   %s", resource.Resource)
	for _, name := range names {
		<-time.After(time.Duration(w.fetching.IntN(100)) * time.Millisecond)
		room := w.queue.MakeWay()
		w.mu.Lock()
		state, there := w.objects[name]
		if fails := w.fetching.IntN(10) == 0; fails && !w.calm {
			w.mu.Unlock()
			return errors.New("list fails")
		}
		if there && simKind(name) == resource && wanted("", name) {
			w.offer(wire.Modified, name, state, true, room)
		}
		w.mu.Unlock()
	}
	return nil
}

func simRecord(_ Key, change wire.Change) *bus.Record {
	return &bus.Record{Subject: change.Name, Header: map[string][]string{"": {string(change.Event), change.UID, change.ResourceVersion}}}
}

// simTrim leaves out the blanks.
func simTrim(message []byte, limit int) (trimmed []byte, without []string, ok bool) {
	m, err := read(message)
	if err != nil {
		return nil, nil, false
	}
	trimmed = wire.AppendEnd(newMessage(m.name, m.uid, m.version, 0), m.event)
	return trimmed, []string{"blanks"}, len(trimmed) <= limit
}

// check compares what is known with what there is.
func (w *world) check() {
	w.broker.server.flush()
	for name, state := range w.objects {
		w.compare("the consumer", w.broker.consumer.alive, name, state)
		w.compare("the server", w.broker.server.alive, name, state)
		if w.broker.alwaysRecords {
			w.compare("the stream", w.broker.stored(), name, state)
		}
	}
	for who, known := range map[string]map[string]simObject{"the consumer": w.broker.consumer.alive, "the server": w.broker.server.alive, "the stream": w.broker.stored()} {
		for name := range known {
			if _, there := w.objects[name]; !there && (who != "the stream" || w.broker.alwaysRecords) {
				w.problem("%s knows %s, which is gone", who, name)
			}
		}
	}
	p := w.queue.pending
	if p.weight != (weight{}) || len(p.objects) > 0 {
		w.problem("%d objects and %+v are left", len(p.objects), p.weight)
	}
	if in := w.queue.window; in.messages != 0 || in.bytes != 0 || in.batches != 0 {
		w.problem("%d messages of %d bytes in %d batches are in flight", in.messages, in.bytes, in.batches)
	}
}

func (w *world) compare(who string, known map[string]simObject, name string, want simObject) {
	if got := known[name]; got != want {
		w.problem("%s knows %s as %v, it is %v", who, name, got, want)
	}
}

// simBroker is a broker that fails at random.
type simBroker struct {
	world         *world
	failures      int // in 10 batches
	alwaysRecords bool
	neverRecords  bool

	mu       sync.Mutex
	random   *rand.Rand
	open     bool
	inFlight int
	full     bool // the stream is
	calm     bool
	consumer simConsumer
	server   simServer
	records  map[string]told
}

func newSimBroker(w *world, random *rand.Rand) *simBroker {
	b := &simBroker{world: w, random: random, failures: random.IntN(8), records: map[string]told{}}
	b.consumer = simConsumer{world: w, alive: map[string]simObject{}, newest: map[string]simObject{}}
	b.server = simServer{alive: map[string]simObject{}}
	mode := random.IntN(3)
	b.neverRecords, b.alwaysRecords = mode == 0, mode == 1
	return b
}

// outlet is the way to the broker that the queue is given at a time.
type simOutlet struct {
	*simBroker
	keeps bool
}

func (o simOutlet) MaxPayload() int    { return 1000 }
func (o simOutlet) KeepsRecords() bool { return o.keeps }

// comeAndGo opens and pauses the queue, until it is over.
func (b *simBroker) comeAndGo(over <-chan struct{}) {
	for {
		b.openQueue()
		if ended(over, b.chance(3000)) {
			return
		}
		b.mu.Lock()
		b.full = b.random.IntN(2) == 0
		b.mu.Unlock()
		if ended(over, b.chance(2000)) {
			return
		}
		b.world.queue.Pause()
		b.world.note("paused")
		b.mu.Lock()
		if b.open = false; b.inFlight > 0 {
			b.world.problem("%d batches are in flight while it is paused", b.inFlight)
		}
		b.mu.Unlock()
		if ended(over, b.chance(2000)) {
			return
		}
	}
}

func ended(over <-chan struct{}, after time.Duration) bool {
	select {
	case <-over:
		return true
	case <-time.After(after):
		return false
	}
}

func (b *simBroker) chance(milliseconds int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Duration(b.random.IntN(milliseconds)) * time.Millisecond
}

func (b *simBroker) openQueue() {
	b.mu.Lock()
	b.open = true
	records := b.alwaysRecords || !b.neverRecords && b.random.IntN(2) == 0
	b.mu.Unlock()
	b.world.note("open, records %t", records)
	b.world.queue.Open(simOutlet{b, records})
}

// recover lets nothing fail any more.
func (b *simBroker) recover() {
	b.mu.Lock()
	b.calm, b.full = true, false
	b.mu.Unlock()
	b.openQueue()
}

// fate is what becomes of a batch.
type fate int

const (
	fine    fate = iota
	halved       // some of it cannot be written
	lost         // the connection breaks: some of it arrives, nothing is answered
	unheard      // it arrives, some answers do not
	fates
)

func (o simOutlet) Send(_ context.Context, messages ...bus.Message) (bus.Receipt, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open {
		o.world.problem("sent while it is paused")
	}
	what := fine
	if !o.calm && o.random.IntN(10) < o.failures {
		what = 1 + fate(o.random.IntN(int(fates)-1))
	}
	arrive := len(messages)
	if what == halved || what == lost {
		arrive = o.random.IntN(len(messages) + 1)
	}
	errs := o.arrive(messages[:arrive])
	o.world.note("sent    %d messages, %d arrive, fate %d", len(messages), arrive, what)
	switch what {
	case halved:
		return nil, errors.New("cannot be written")
	case lost:
		errs = all(len(messages), bus.ErrNotConfirmed)
	case unheard:
		for i := range errs {
			if o.random.IntN(2) == 0 {
				errs[i] = fmt.Errorf("no answer: %w", bus.ErrNotConfirmed)
			}
		}
	default:
		if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
			errs = nil
		}
	}
	o.inFlight++
	delay := time.Duration(o.random.IntN(50)) * time.Millisecond
	if o.random.IntN(10) == 0 {
		delay = time.Duration(o.random.IntN(3000)) * time.Millisecond
	}
	return simReceipt{o.simBroker, time.Now().Add(delay), errs}, nil
}

type simReceipt struct {
	broker *simBroker
	at     time.Time
	errs   []error
}

func (r simReceipt) Wait(context.Context) []error {
	<-time.After(time.Until(r.at))
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	r.broker.inFlight--
	return r.errs
}

// arrive is what the broker does with messages. The lock is held.
func (o simOutlet) arrive(messages []bus.Message) []error {
	errs := make([]error, len(messages))
	for i, message := range messages {
		m, err := read(message.Body)
		switch {
		case err != nil:
			o.world.problem("%v: %s", err, message.Body)
			continue
		case len(message.Body) > o.MaxPayload():
			o.world.problem("%s has %d bytes", m, len(message.Body))
		case (message.Record != nil) != o.keeps, message.Told && !o.keeps:
			o.world.problem("%s comes with the record %v", m, message.Record)
			continue
		}
		if !message.Told {
			o.consumer.hear(m)
			o.server.hear(m)
		}
		if message.Record != nil {
			errs[i] = o.store(message, m)
		}
	}
	return errs
}

func (o simOutlet) store(message bus.Message, m told) error {
	if o.full && o.random.IntN(2) == 0 {
		o.world.note("refused %s", m)
		return fmt.Errorf("full: %w", bus.ErrRefused)
	}
	o.world.note("stored  %s", m)
	body := message.Record.Body
	if body != nil && m.event != wire.Deleted {
		o.world.problem("%s has a record with a body of its own", m)
	}
	if body != nil {
		if small, err := read(body); err != nil || small != m || len(body) > 100 {
			o.world.problem("%s has the record %s", m, body)
		}
	}
	if header := message.Record.Header[""]; !slices.Equal(header, []string{string(m.event), m.uid, strconv.Itoa(m.version)}) {
		o.world.problem("%s has the record %v", m, header)
	}
	before, there := o.records[m.name]
	if there && older(simObject{number(m.uid), m.version}, simObject{number(before.uid), before.version}) && m.event != wire.Deleted {
		o.world.problem("the stream has %s after %s", m, before)
	}
	o.records[m.name] = m
	return nil
}

// stored is what the stream says to be there.
func (b *simBroker) stored() map[string]simObject {
	alive := map[string]simObject{}
	for name, m := range b.records {
		if m.event != wire.Deleted {
			alive[name] = simObject{number(m.uid), m.version}
		}
	}
	return alive
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

func older(a, b simObject) bool { return a.uid < b.uid || a.uid == b.uid && a.version < b.version }

// simConsumer tells objects apart by uid, and takes everything literally.
type simConsumer struct {
	world  *world
	alive  map[string]simObject
	newest map[string]simObject // that was heard of
}

func (c *simConsumer) hear(m told) {
	c.world.note("heard   %s", m)
	now, known := simObject{number(m.uid), m.version}, c.alive[m.name]
	if m.event == wire.Deleted {
		if known.uid == now.uid {
			delete(c.alive, m.name)
		}
		if older(c.newest[m.name], now) {
			c.newest[m.name] = now
		}
		return
	}
	switch {
	case older(now, c.newest[m.name]):
		c.world.problem("heard %s after %v", m, c.newest[m.name])
	case known.uid != 0 && known.uid != now.uid:
		c.world.problem("heard %s while %v is there", m, known)
	case known.uid == 0 && now == c.newest[m.name]:
		c.world.problem("heard %s, which is gone", m)
	case known.uid == 0 && m.event != wire.Added:
		c.world.problem("heard %s without ADDED", m)
	}
	c.alive[m.name], c.newest[m.name] = now, now
}

// simServer collects what it hears for half a second and applies deletes last, by name.
type simServer struct {
	alive   map[string]simObject
	waiting []told
	since   time.Time
}

func (s *simServer) hear(m told) {
	const batch = 500 * time.Millisecond
	if len(s.waiting) > 0 && time.Since(s.since) >= batch {
		s.flush()
	}
	if len(s.waiting) == 0 {
		s.since = time.Now()
	}
	s.waiting = append(s.waiting, m)
}

func (s *simServer) flush() {
	for _, m := range s.waiting {
		if m.event != wire.Deleted {
			s.alive[m.name] = simObject{number(m.uid), m.version}
		}
	}
	for _, m := range s.waiting {
		if m.event == wire.Deleted {
			delete(s.alive, m.name)
		}
	}
	s.waiting = nil
}
