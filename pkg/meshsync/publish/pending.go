package publish

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/wire"
)

// pending holds what the broker has not confirmed yet.
type pending struct {
	budget int // bytes past which bodies are not kept; 0 is no limit

	mu      sync.Mutex
	objects map[Key]*object
	weight  weight
	deletes deletes
	lacking map[schema.GroupVersionResource]bool // kinds of which messages have to be fetched
	round   uint32                               // of fetching
	emptied chan struct{}                        // closed when nothing is owed; nil while nobody asks
	halved  chan struct{}                        // closed when no more than half of the budget is owed; nil while nobody asks
	fewer   chan struct{}                        // closed when something is confirmed; nil while nobody asks
	stalled bool                                 // nothing was confirmed for as long as somebody waited for it
}

func newPending(budget int) *pending {
	return &pending{budget: budget, objects: map[Key]*object{}, lacking: map[schema.GroupVersionResource]bool{}}
}

// add takes a change. It reports whether there is something to send now, and whether it is the first of its kind that lacks its message.
func (p *pending) add(key Key, change wire.Change) (ready, lacking bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.hasRoom() {
		change = withoutBody(change)
	}
	next := newOwed(change)
	next.round = p.round
	o := p.objects[key]
	if o == nil {
		o = &object{}
		o.changes = o.room[:0]
		p.objects[key] = o
	}
	before := o.weight()
	o.changes = merge(o.changes, next)
	p.changed(key, o, before)
	if o.lacksMessage() && !p.lacking[key.Resource] {
		p.lacking[key.Resource], lacking = true, true
	}
	return o.ready(), lacking
}

// take hands out what is to be sent next under a key, which is in flight until settle. If that is to be sent later, it says when.
func (p *pending) take(key Key, now time.Time, records bool) (change owed, later time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.objects[key]
	if o != nil && o.changes[0].told && !records { // nothing is owed of it any more
		before := o.weight()
		o.changes = slices.Delete(o.changes, 0, 1)
		p.changed(key, o, before)
	}
	if o == nil || len(o.changes) == 0 || o.changes[0].inFlight || o.changes[0].Message == nil {
		return owed{}, 0, false
	}
	first := &o.changes[0]
	if later = first.repeat.Sub(now); later > 0 {
		return owed{}, later, false
	}
	first.inFlight = true
	first.again = first.Event != wire.Deleted && p.deletes.justNow(key, now)
	return *first, 0, true
}

// clear forgets everything. Nothing may be in flight.
func (p *pending) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.objects)
	p.weight, p.deletes = weight{}, deletes{}
	p.progress()
	p.tell()
}

// answer is what the broker says to a message.
type answer int

const (
	confirmed answer = iota
	refused          // the core subject has had it, the state stream does not take its record
	unknown          // the broker may or may not have it
)

// turn is when something is to be sent under a key.
type turn int

const (
	whenAsked turn = iota // unless something else comes
	atOnce
	backedOff
)

// settle takes the answer to what is in flight under a key, and says when its turn comes again. What was refused or is unknown is owed.
func (p *pending) settle(key Key, a answer, now time.Time) turn {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.objects[key]
	before, first := o.weight(), &o.changes[0]
	first.inFlight = false
	if first.Event == wire.Deleted {
		p.deletes.note(key, now) // also if that is unknown
	}
	switch {
	case a == unknown:
	case first.again:
		first.again, first.repeat = false, now.Add(repeatAfter)
	case a == refused:
		first.told = true
	default:
		o.changes = slices.Delete(o.changes, 0, 1)
	}
	o.changes = mergeAll(o.changes) // with what has come since
	p.changed(key, o, before)
	if a != unknown {
		p.progress()
	}
	return o.turn(a)
}

// changed is called with what an object weighed before its changes were changed.
func (p *pending) changed(key Key, o *object, before weight) {
	after := o.weight()
	p.weight.bytes += after.bytes - before.bytes
	p.weight.told += after.told - before.told
	if len(o.changes) == 0 {
		delete(p.objects, key)
	}
	p.tell()
}

// tell wakes up who waits for nothing to be owed, or for less.
func (p *pending) tell() {
	if p.emptied != nil && len(p.objects) == 0 {
		close(p.emptied)
		p.emptied = nil
	}
	if p.halved != nil && p.weight.bytes <= p.budget/2 {
		close(p.halved)
		p.halved = nil
	}
}

// progress tells those who wait for less to be owed.
func (p *pending) progress() {
	p.stalled = false
	if p.fewer != nil {
		close(p.fewer)
		p.fewer = nil
	}
}

// makeWay waits while more than so many bytes are owed, but no longer than patience; and not at all once nothing was confirmed for that
// long, until something is.
func (p *pending) makeWay(bytes int, patience time.Duration) {
	fewer := p.tooMuch(bytes)
	if fewer == nil {
		return
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for confirmed := false; fewer != nil; fewer = p.tooMuch(bytes) {
		select {
		case <-fewer:
			confirmed = true
		case <-timeout.C:
			p.mu.Lock()
			p.stalled = !confirmed && p.fewer != nil
			p.mu.Unlock()
			return
		}
	}
}

// tooMuch returns what is closed when something is confirmed; nil if there is nothing to wait for.
func (p *pending) tooMuch(bytes int) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.weight.bytes <= bytes || p.stalled {
		return nil
	}
	return p.await(&p.fewer)
}

// room reports whether bodies are kept.
func (p *pending) room() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hasRoom()
}

func (p *pending) hasRoom() bool { return p.budget <= 0 || p.weight.bytes < p.budget }

// startFetch begins another round, and reports whether a kind still has changes that lack their message.
func (p *pending) startFetch(resource schema.GroupVersionResource) (needed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.round++
	for key, o := range p.objects {
		if key.Resource == resource && o.lacksMessage() {
			return true
		}
	}
	delete(p.lacking, resource)
	return false
}

// wants reports whether a fetch should bring an object. While there is no room for it, it has to wait for the next one.
func (p *pending) wants(key Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.objects[key]
	if o == nil || !o.lacksMessage() {
		return false
	}
	if !p.hasRoom() {
		o.changes[len(o.changes)-1].round = p.round
		return false
	}
	return true
}

// endFetch gives up the changes of a kind that have lacked their message since before the fetch, which has brought all there is. It
// reports whether others do.
func (p *pending) endFetch(resource schema.GroupVersionResource) (needed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, o := range p.objects {
		switch last := len(o.changes) - 1; {
		case key.Resource != resource || !o.lacksMessage():
		case o.changes[last].round == p.round:
			needed = true
		default:
			before := o.weight()
			o.changes = slices.Delete(o.changes, last, last+1)
			p.changed(key, o, before)
		}
	}
	if !needed {
		delete(p.lacking, resource)
	}
	return needed
}

// empty returns a channel that is closed when nothing is owed.
func (p *pending) empty() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.await(&p.emptied)
}

// half returns a channel that is closed when no more than half of the budget is owed.
func (p *pending) half() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.await(&p.halved)
}

func (p *pending) await(closed *chan struct{}) <-chan struct{} {
	if *closed == nil {
		*closed = make(chan struct{})
	}
	awaited := *closed
	p.tell()
	return awaited
}

func (p *pending) owes(key Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.objects[key] != nil
}

// len is the number of keys under which something is owed.
func (p *pending) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.objects)
}

func (p *pending) weighs() weight {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.weight
}

// lag is for how long the oldest change has waited.
func (p *pending) lag(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	oldest := now
	for _, o := range p.objects {
		if first := &o.changes[0]; first.repeat.IsZero() && first.Seen.Before(oldest) {
			oldest = first.Seen
		}
	}
	return now.Sub(oldest)
}

// classOf is how urgent it is what is to be sent next under a key.
func (p *pending) classOf(key Key) class {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.objects[key]; o != nil {
		return classOf(&o.changes[0])
	}
	return event
}
