package publish

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"meshery.io/operator/pkg/meshsync/wire"
)

// changes reads "A:a1 D:a2": ADDED of uid a in version 1, then DELETED of uid a in version 2. All are of one name. The version is all that
// the message says, and when it was seen.
func changes(text string) []wire.Change {
	var list []wire.Change
	for field := range strings.FieldsSeq(text) {
		event := map[byte]wire.Event{'A': wire.Added, 'M': wire.Modified, 'D': wire.Deleted}[field[0]]
		version := field[3:]
		list = append(list, wire.Change{Event: event, Name: "x", UID: field[2:3], Message: []byte(version), Seen: time.Unix(int64(version[0]-'0'), 0)})
	}
	return list
}

func text(list []wire.Change) string {
	var fields []string
	for _, change := range list {
		fields = append(fields, fmt.Sprintf("%c:%s%s", change.Event[0], change.UID, change.Message))
	}
	return strings.Join(fields, " ")
}

func TestMerge(t *testing.T) {
	tests := []struct{ name, waiting, next, want string }{
		{"nothing waits", "", "A:a1", "A:a1"},
		{"nothing waits, modified", "", "M:a1", "M:a1"},
		{"nothing waits, deleted", "", "D:a1", "D:a1"},

		{"added then modified is added with the newest body", "A:a1", "M:a2", "A:a2"},
		{"added then added is added with the newest body", "A:a1", "A:a2", "A:a2"},
		{"added then deleted is deleted", "A:a1", "D:a2", "D:a2"},
		{"modified then modified is modified with the newest body", "M:a1", "M:a2", "M:a2"},
		{"modified then added, a resync, is added", "M:a1", "A:a2", "A:a2"},
		{"modified then deleted is deleted with the last body", "M:a1", "D:a2", "D:a2"},
		{"deleted then deleted is deleted", "D:a1", "D:a2", "D:a2"},
		{"deleted then added, the same object is back", "D:a1", "A:a2", "A:a2"},
		{"deleted then modified, the same object is back", "D:a1", "M:a2", "A:a2"},

		{"deleted then added with another uid is both", "D:a1", "A:b2", "D:a1 A:b2"},
		{"deleted then modified with another uid is both", "D:a1", "M:b2", "D:a1 M:b2"},
		{"added then added with another uid: DELETED is not on the watch-list", "A:a1", "A:b2", "A:b2"},
		{"modified then added with another uid: DELETED is not on the watch-list", "M:a1", "A:b2", "A:b2"},
		{"added then deleted with another uid: the name is free", "A:a1", "D:b2", "D:b2"},
		{"deleted then deleted with another uid is both deleted", "D:a1", "D:b2", "D:a1 D:b2"},

		{"successor modified", "D:a1 A:b2", "M:b3", "D:a1 A:b3"},
		{"successor deleted", "D:a1 A:b2", "D:b3", "D:a1 D:b3"},
		{"successor deleted, then a third", "D:a1 D:b3", "A:c4", "D:a1 A:c4"},
		{"a third instead of a successor nobody heard of", "D:a1 A:b2", "A:c3", "D:a1 A:c3"},
		{"the third deleted", "D:a1 A:b2", "D:c3", "D:a1 D:c3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			waiting := changes(test.waiting)
			got := merge(waiting, changes(test.next)[0])
			if text(got) != test.want {
				t.Errorf("got %s, want %s", text(got), test.want)
			}
			if text(waiting) != test.waiting {
				t.Errorf("what waited was changed to %s", text(waiting))
			}
		})
	}
}

// TestMergedChangesCountFromTheFirst: how long a change takes is measured from when there was something to say of its object.
func TestMergedChangesCountFromTheFirst(t *testing.T) {
	for _, test := range []struct {
		waiting, next string
		want          []int64 // when what is to be sent was seen
	}{
		{"", "A:a4", []int64{4}},
		{"A:a1", "M:a4", []int64{1}},
		{"M:a1", "D:a4", []int64{1}},
		{"D:a1", "A:b4", []int64{1, 4}},
		{"D:a1 A:b2", "M:b4", []int64{1, 2}},
		{"D:a1 A:b2", "A:c4", []int64{1, 4}},
	} {
		var seen []int64
		for _, change := range merge(changes(test.waiting), changes(test.next)[0]) {
			seen = append(seen, change.Seen.Unix())
		}
		if fmt.Sprint(seen) != fmt.Sprint(test.want) {
			t.Errorf("%s, then %s: seen at %v, want %v", test.waiting, test.next, seen, test.want)
		}
	}
}

// TestMergedChangesSayTheLastReason: what is back is not withdrawn, and what is withdrawn after all is.
func TestMergedChangesSayTheLastReason(t *testing.T) {
	withdrawn, back := changes("D:a2")[0], changes("A:a3")[0]
	withdrawn.Reason = wire.NotServed
	if got := merge(changes("M:a1"), withdrawn); len(got) != 1 || got[0].Reason != wire.NotServed {
		t.Errorf("withdrawn: %+v", got)
	}
	if got := merge([]wire.Change{withdrawn}, back); len(got) != 1 || got[0].Reason != "" {
		t.Errorf("back: %+v", got)
	}
}

func TestRestorePutsWhatWasTakenBeforeWhatCameSince(t *testing.T) {
	tests := []struct{ name, taken, since, want string }{
		{"nothing came", "M:a1", "", "M:a1"},
		{"a newer body", "A:a1", "M:a2", "A:a2"},
		{"the end", "A:a1", "D:a2", "D:a2"},
		{"a successor", "D:a1", "A:b2", "D:a1 A:b2"},
		{"a successor's successor", "D:a1 A:b2", "D:b3 A:c4", "D:a1 A:c4"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, key := newPending(), Key{Name: "x"}
			for _, change := range changes(test.taken) {
				p.add(key, change)
			}
			p.take(key)
			for _, change := range changes(test.since) {
				p.add(key, change)
			}
			p.restore(key)
			if got := text(p.take(key)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
