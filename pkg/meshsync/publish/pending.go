package publish

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Key names an object of a kind.
type Key struct {
	Resource        schema.GroupVersionResource
	Namespace, Name string
}

// pending holds what the broker has not confirmed yet.
type pending struct {
	mu      sync.Mutex
	waiting map[Key][]Change
	taken   map[Key][]Change
	emptied chan struct{} // closed when nothing is owed; nil while nobody asks
}

func newPending() *pending {
	return &pending{waiting: map[Key][]Change{}, taken: map[Key][]Change{}}
}

func (p *pending) add(key Key, change Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[key] = merge(p.waiting[key], change)
}

// take hands out what waits under a key. It is owed until confirm, and waits again after restore.
func (p *pending) take(key Key) []Change {
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
	delete(p.taken, key)
	p.tell()
}

// restore puts what was taken before what came since.
func (p *pending) restore(key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changes := p.taken[key]
	delete(p.taken, key)
	for _, newer := range p.waiting[key] {
		changes = merge(changes, newer)
	}
	if len(changes) > 0 {
		p.waiting[key] = changes
	}
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
