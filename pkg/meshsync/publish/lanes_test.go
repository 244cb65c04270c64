package publish

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

func keyOf(name string) Key { return Key{Resource: configMaps, Name: name} }

func TestWhatIsUrgentGoesFirstAndTheRestMovesOn(t *testing.T) {
	l := newLanes(func(key Key) class { return map[byte]class{'d': deletion, 'e': event, 'l': listed}[key.Name[0]] })
	for i := range 12 {
		for _, letter := range []string{"l", "e", "d"} {
			l.Push(keyOf(letter + strconv.Itoa(i)))
		}
	}
	var got []string
	for l.Len() > 0 {
		got = append(got, l.Pop().Name)
	}
	want := []string{
		"d0", "d1", "d2", "d3", "d4", "d5", "d6", "l0", "d7", "d8", "d9", "d10", "d11", "e0", "e1", "l1",
		"e2", "e3", "e4", "e5", "e6", "e7", "e8", "l2", "e9", "e10", "e11", "l3", "l4", "l5", "l6", "l7", "l8", "l9", "l10", "l11",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestWhatBecomesUrgentMovesUp(t *testing.T) {
	classes := map[Key]class{}
	l := newLanes(func(key Key) class { return classes[key] })
	push := func(name string, c class) {
		classes[keyOf(name)] = c
		l.Push(keyOf(name))
	}
	touch := func(name string, c class) {
		classes[keyOf(name)] = c
		l.Touch(keyOf(name))
	}
	push("a", listed)
	push("b", listed)
	push("c", event)
	push("d", event)
	touch("b", event)    // behind those that are as urgent
	touch("d", listed)   // it stays where it is
	touch("a", deletion) // before all
	touch("a", deletion)
	if l.Len() != 4 {
		t.Errorf("%d keys, want 4", l.Len())
	}
	var got []string
	for l.Len() > 1 {
		got = append(got, l.Pop().Name)
	}
	push("a", listed) // once more, behind the place that it has left
	got = append(got, l.Pop().Name, l.Pop().Name)
	if want := []string{"a", "c", "d", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if l.Len() != 0 {
		t.Errorf("%d keys are left", l.Len())
	}
}

func TestALaneThatIsNeverEmptyDoesNotGrow(t *testing.T) {
	l := newLanes(func(Key) class { return event })
	l.Push(keyOf("first"))
	for i := range 10_000 {
		l.Push(keyOf(strconv.Itoa(i)))
		l.Pop()
	}
	if room := cap(l.lanes[event].tickets); room > 10 {
		t.Errorf("there is room for %d", room)
	}
}

// TestEveryKeyHasOnePlace, whatever happens: the workqueue would hand one out twice at a time.
func TestEveryKeyHasOnePlace(t *testing.T) {
	random, queued := rand.New(rand.NewPCG(1, 2)), map[Key]bool{}
	l := newLanes(func(Key) class { return class(random.IntN(int(classes))) })
	for i := range 50_000 {
		key := keyOf(strconv.Itoa(random.IntN(40)))
		switch {
		case len(queued) > 0 && random.IntN(2) == 0:
			popped := l.Pop()
			if !queued[popped] {
				t.Fatalf("step %d: %v is not in the queue", i, popped)
			}
			delete(queued, popped)
		case queued[key]:
			l.Touch(key)
		default:
			l.Push(key)
			queued[key] = true
		}
		if l.Len() != len(queued) {
			t.Fatalf("step %d: %d keys, want %d", i, l.Len(), len(queued))
		}
	}
}
