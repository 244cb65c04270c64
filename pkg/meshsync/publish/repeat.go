package publish

import "time"

// repeatAfter is how long after its confirmation the new object under a name is sent once more. Meshery Server collects what it is told
// for half a second and applies deletes last: an object that is made anew within that time is gone there.
const repeatAfter = time.Second

// deletes remembers what was said to be gone for as long as that matters: one entry per DELETED of the last second.
type deletes struct {
	last  map[Key]time.Time
	order []gone // oldest first
}

type gone struct {
	key Key
	at  time.Time
}

func (d *deletes) note(key Key, now time.Time) {
	d.forget(now)
	if d.last == nil {
		d.last = map[Key]time.Time{}
	}
	d.last[key] = now
	d.order = append(d.order, gone{key, now})
}

// justNow reports whether what is sent now may be applied before a DELETED of the same key.
func (d *deletes) justNow(key Key, now time.Time) bool {
	d.forget(now)
	_, deleted := d.last[key]
	return deleted
}

func (d *deletes) forget(now time.Time) {
	i := 0
	for ; i < len(d.order) && now.Sub(d.order[i].at) >= repeatAfter; i++ {
		if old := d.order[i]; d.last[old.key].Equal(old.at) {
			delete(d.last, old.key)
		}
	}
	if d.order = d.order[i:]; len(d.order) == 0 { // neither shrinks on its own
		d.last, d.order = nil, nil
	}
}
