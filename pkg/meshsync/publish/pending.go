package publish

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshery.io/operator/pkg/meshsync/wire"
)

// Key names an object of a kind.
type Key struct {
	Resource        schema.GroupVersionResource
	Namespace, Name string
}

// pending holds what the broker has not confirmed yet.
type pending struct {
	mu      sync.Mutex
	waiting map[Key][]wire.Change
	taken   map[Key][]wire.Change
	bytes   int           // of all messages
	emptied chan struct{} // closed when nothing is owed; nil while nobody asks
	fewer   chan struct{} // closed when something is confirmed; nil while nobody asks
	stalled bool          // nothing was confirmed for as long as somebody waited for it
}

func newPending() *pending {
	return &pending{waiting: map[Key][]wire.Change{}, taken: map[Key][]wire.Change{}}
}

func bytesOf(changes []wire.Change) int {
	sum := 0
	for _, change := range changes {
		sum += len(change.Message)
	}
	return sum
}

func (p *pending) add(key Key, change wire.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.waiting[key]
	after := merge(before, change)
	p.bytes += bytesOf(after) - bytesOf(before)
	p.waiting[key] = after
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
	if p.bytes <= bytes || p.stalled {
		return nil
	}
	if p.fewer == nil {
		p.fewer = make(chan struct{})
	}
	return p.fewer
}

// take hands out what waits under a key. It is owed until confirm, and waits again after restore.
func (p *pending) take(key Key) []wire.Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	changes, ok := p.waiting[key]
	if ok {
		delete(p.waiting, key)
		p.taken[key] = changes
	}
	return changes
}

func (p *pending) confirm(key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes -= bytesOf(p.taken[key])
	delete(p.taken, key)
	p.stalled = false
	if p.fewer != nil {
		close(p.fewer)
		p.fewer = nil
	}
	p.tell()
}

// restore puts what was taken before what came since.
func (p *pending) restore(key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changes := p.taken[key]
	delete(p.taken, key)
	before := bytesOf(changes) + bytesOf(p.waiting[key])
	for _, newer := range p.waiting[key] {
		changes = merge(changes, newer)
	}
	if len(changes) > 0 {
		p.waiting[key] = changes
	}
	p.bytes += bytesOf(changes) - before
}

// empty returns a channel that is closed when nothing is owed.
func (p *pending) empty() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.emptied == nil {
		p.emptied = make(chan struct{})
	}
	emptied := p.emptied
	p.tell()
	return emptied
}

func (p *pending) tell() {
	if p.emptied != nil && len(p.waiting) == 0 && len(p.taken) == 0 {
		close(p.emptied)
		p.emptied = nil
	}
}

// len is the number of objects of which something is owed.
func (p *pending) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting) + len(p.taken)
}

// size is the bytes of all messages.
func (p *pending) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}
