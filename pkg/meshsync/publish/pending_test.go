package publish

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"meshery.io/operator/pkg/meshsync/wire"
)

func TestWhoReadsFasterThanTheBrokerTakesWaits(t *testing.T) {
	const size, limit = 100, 250
	owe := func(names ...string) *pending {
		p := newPending(0)
		for _, name := range names {
			p.add(keyOf(name), wire.Change{UID: name, Message: make([]byte, size)})
			p.take(keyOf(name), time.Now(), false)
		}
		return p
	}
	waited := func(p *pending) time.Duration {
		began := time.Now()
		p.makeWay(limit, time.Second)
		return time.Since(began)
	}
	confirm := func(p *pending) { p.settle(keyOf("a"), confirmed, time.Now()) }
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
					time.AfterFunc(test.confirm, func() { confirm(p) })
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
		confirm(p)
		if got := waited(p); got != time.Second {
			t.Errorf("after a confirmation: waited %s", got)
		}
	})
}

// TestWhatIsOwedIsCounted, whatever comes and whatever is answered.
func TestWhatIsOwedIsCounted(t *testing.T) {
	random, now := rand.New(rand.NewPCG(1, 2)), time.Now()
	p := newPending(400)
	for range 20_000 {
		key := keyOf(strconv.Itoa(random.IntN(5)))
		o := p.objects[key]
		now = now.Add(time.Duration(random.IntN(100)) * time.Millisecond)
		switch random.IntN(4) {
		case 0, 1:
			change := wire.Change{Event: []wire.Event{wire.Added, wire.Modified, wire.Deleted}[random.IntN(3)], UID: strconv.Itoa(random.IntN(3))}
			if change.Event == wire.Deleted || random.IntN(3) > 0 {
				change.Message = make([]byte, 1+random.IntN(100))
			}
			if change.Event == wire.Deleted {
				change.Gone = make([]byte, random.IntN(10))
			}
			p.add(key, change)
		case 2:
			p.take(key, now, random.IntN(2) == 0)
		case 3:
			if o != nil && o.changes[0].inFlight {
				p.settle(key, answer(random.IntN(3)), now)
			} else if p.startFetch(configMaps) {
				p.endFetch(configMaps)
			}
		}
		var want weight
		for key, o := range p.objects {
			if len(o.changes) == 0 {
				t.Fatalf("%v is kept without a change", key)
			}
			want.bytes += o.weight().bytes
			want.told += o.weight().told
		}
		if p.weight != want {
			t.Fatalf("%+v is said to be owed, %+v is", p.weight, want)
		}
	}
}

func TestDeletesAreRememberedForASecond(t *testing.T) {
	var d deletes
	at := func(milliseconds int) time.Time {
		return time.Unix(0, 0).Add(time.Duration(milliseconds) * time.Millisecond)
	}
	d.note(keyOf("a"), at(0))
	d.note(keyOf("b"), at(300))
	d.note(keyOf("a"), at(500)) // once more
	for _, test := range []struct {
		name string
		at   int
		want bool
	}{
		{"a", 600, true}, {"b", 600, true}, {"c", 600, false}, {"a", 1000, true}, {"b", 1299, true}, {"b", 1300, false}, {"a", 1499, true}, {"a", 1500, false},
	} {
		if got := d.justNow(keyOf(test.name), at(test.at)); got != test.want {
			t.Errorf("%s after %d ms: %t, want %t", test.name, test.at, got, test.want)
		}
	}
	if d.last != nil || d.order != nil {
		t.Errorf("%d and %d entries are left", len(d.last), len(d.order))
	}
}
