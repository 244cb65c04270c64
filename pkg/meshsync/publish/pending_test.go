package publish

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"meshery.io/operator/pkg/meshsync/wire"
)

func keyOf(name string) Key { return Key{Resource: configMaps, Name: name} }

func TestWhoReadsFasterThanTheBrokerTakesWaits(t *testing.T) {
	const size, limit = 100, 250
	owe := func(names ...string) *pending {
		p := newPending()
		for _, name := range names {
			p.add(keyOf(name), wire.Change{UID: name, Message: make([]byte, size)})
			p.take(keyOf(name))
		}
		return p
	}
	waited := func(p *pending) time.Duration {
		began := time.Now()
		p.makeWay(limit, time.Second)
		return time.Since(began)
	}
	for name, test := range map[string]struct {
		owed    []string
		confirm time.Duration // one, after that long; 0 for never
		want    time.Duration
	}{
		"not for little":                            {[]string{"a", "b"}, 0, 0},
		"until there is less":                       {[]string{"a", "b", "c"}, 300 * time.Millisecond, 300 * time.Millisecond},
		"but no longer, if that is not enough":      {[]string{"a", "b", "c", "d"}, 300 * time.Millisecond, time.Second},
		"not for a broker that takes nothing":       {[]string{"a", "b", "c"}, 0, time.Second},
		"no more than patience, if that comes late": {[]string{"a", "b", "c"}, 2 * time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := owe(test.owed...)
				if test.confirm > 0 {
					time.AfterFunc(test.confirm, func() { p.confirm(keyOf("a")) })
				}
				if got := waited(p); got != test.want {
					t.Errorf("waited %s, want %s", got, test.want)
				}
				<-time.After(3 * time.Second) // let the timer end
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p := owe("a", "b", "c", "d")
		if got := waited(p); got != time.Second {
			t.Errorf("the first waited %s", got)
		}
		if got := waited(p); got != 0 {
			t.Errorf("the second waited %s, too", got)
		}
		p.confirm(keyOf("a"))
		if got := waited(p); got != time.Second {
			t.Errorf("after a confirmation: waited %s", got)
		}
	})
}

func TestOwedBytesAreThoseOfTheMessages(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	p := newPending()
	for range 20_000 {
		name := strconv.Itoa(random.IntN(5))
		key := keyOf(name)
		switch random.IntN(4) {
		case 0, 1:
			event := []wire.Event{wire.Added, wire.Modified, wire.Deleted}[random.IntN(3)]
			p.add(key, wire.Change{Event: event, UID: strconv.Itoa(random.IntN(3)), Message: make([]byte, random.IntN(100))})
		case 2:
			if len(p.taken[key]) == 0 { // as the queue does
				p.take(key)
			}
		case 3:
			if random.IntN(2) == 0 {
				p.confirm(key)
			} else {
				p.restore(key)
			}
		}
		want := 0
		for _, changes := range p.waiting {
			want += bytesOf(changes)
		}
		for _, changes := range p.taken {
			want += bytesOf(changes)
		}
		if p.bytes != want {
			t.Fatalf("%d bytes are said to be owed, %d are", p.bytes, want)
		}
	}
}
