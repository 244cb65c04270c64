package publish

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"meshery.io/operator/pkg/meshsync/wire"
)

// changes reads "A:a1 D:a2": ADDED of uid a in version 1, then DELETED of uid a in version 2. All are of one name. The version is all that
// the message says, and when it was seen. In small letters, "a:a1", it comes of a list. What follows is one of
//
//	! it is in flight    t only the record is missing    r it is to be sent once more    - it lacks its message
func changes(text string) []owed {
	var list []owed
	for field := range strings.FieldsSeq(text) {
		event := map[string]wire.Event{"A": wire.Added, "M": wire.Modified, "D": wire.Deleted}[strings.ToUpper(field[:1])]
		version := field[3:4]
		change := newOwed(wire.Change{
			Event: event, Name: "x", UID: field[2:3], Message: []byte(version), Bulk: strings.ToLower(field[:1]) == field[:1], Seen: seenAt(version),
		})
		switch field[4:] {
		case "!":
			change.inFlight = true
		case "t":
			change.told = true
		case "r":
			change.repeat = seenAt("9")
		case "-":
			change.Message = nil
		}
		list = append(list, change)
	}
	return list
}

func seenAt(version string) time.Time { return time.Unix(int64(version[0]-'0'), 0) }

func text(list []owed) string {
	var fields []string
	for _, change := range list {
		event := string(change.Event[:1])
		if change.Bulk {
			event = strings.ToLower(event)
		}
		fields = append(fields, fmt.Sprintf("%s:%s%s%s", event, change.UID, change.Message, flags(change)))
	}
	return strings.Join(fields, " ")
}

func flags(change owed) string {
	switch {
	case change.inFlight:
		return "!"
	case change.told:
		return "t"
	case !change.repeat.IsZero():
		return "r"
	case change.Message == nil:
		return "-"
	default:
		return ""
	}
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
		{"a third instead of a successor nobody heard of", "D:a1 A:b2", "A:c3", "D:a1 A:c3"},
		{"the third deleted", "D:a1 A:b2", "D:c3", "D:a1 D:c3"},
		{"deleted once more, as a list says of all that had the name", "D:a1 A:b2", "D:a1", "D:a1 A:b2"},

		{"in flight then modified is both", "A:a1!", "M:a2", "A:a1! M:a2"},
		{"in flight then modified twice is the newest", "A:a1! M:a2", "M:a3", "A:a1! M:a3"},
		{"in flight then deleted is both", "A:a1!", "D:a2", "A:a1! D:a2"},
		{"in flight, deleted, then a successor", "A:a1! D:a2", "A:b3", "A:a1! D:a2 A:b3"},
		{"deleted in flight, then deleted once more", "D:a1! A:b2", "D:a1", "D:a1! A:b2"},
		{"deleted in flight, then a successor", "D:a1!", "A:b2", "D:a1! A:b2"},
		{"deleted in flight, then the successor deleted", "D:a1! A:b2", "D:b3", "D:a1! D:b3"},

		{"told then modified is added: the record is missing", "A:a1t", "M:a2", "A:a2"},
		{"told then deleted", "M:a1t", "D:a2", "D:a2"},
		{"told that it is gone, then a successor, whose record takes the place", "D:a1t", "A:b2", "A:b2"},
		{"told that it is gone, then it is back", "D:a1t", "A:a2", "A:a2"},

		{"to be repeated then modified is modified", "A:a1r", "M:a2", "M:a2"},
		{"to be repeated then deleted is deleted", "A:a1r", "D:a2", "D:a2"},
		{"to be repeated then added is added", "M:a1r", "A:a2", "A:a2"},

		{"modified without a message: it is the newest all the same", "A:a1", "M:a2-", "A:a-"},
		{"the message is there", "A:a1-", "M:a2", "A:a2"},
		{"deleted without having been fetched", "A:a1-", "D:a2", "D:a2"},
		{"a successor without a message", "D:a1", "A:b2-", "D:a1 A:b-"},

		{"of a list, then it happens", "a:a1", "M:a2", "A:a2"},
		{"it happens, then of a list", "M:a1", "a:a2", "A:a2"},
		{"of a list twice", "m:a1", "a:a2", "a:a2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := text(merge(changes(test.waiting), changes(test.next)[0])); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestWhatMayHaveBeenHeardOfIsSaidToBeGone: while one name is used by one object after the other, those that were created and deleted while
// nothing could be sent are dropped. Any other is reported.
func TestWhatMayHaveBeenHeardOfIsSaidToBeGone(t *testing.T) {
	tests := []struct{ name, happens, want string }{
		{"created and deleted while an older one waits", "D:a1 A:b2 D:b3 A:c4", "D:a1 A:c4"},
		{"again and again", "D:a1 A:b2 D:b3 A:c4 D:c5 A:d6 M:d7 D:d8 A:e9", "D:a1 A:e9"},
		{"all the same while the older one is in flight", "D:a1! A:b2 D:b3 A:c4", "D:a1! A:c4"},
		{"nothing waits before it: who ran earlier may have told", "A:a1 D:a2 A:b3", "D:a2 A:b3"},
		{"it was there before what waits", "D:a1 M:b2 D:b3 A:c4", "D:a1 D:b3 A:c4"},
		{"it comes of a list: it may have been there for long", "D:a1 a:b2 D:b3 A:c4", "D:a1 D:b3 A:c4"},
		{"it is in flight", "A:b2! D:b3 A:c4", "A:b2! D:b3 A:c4"},
		{"it is in flight, and those after it are not", "A:b2! D:b3 A:c4 D:c5 A:d6", "A:b2! D:b3 A:d6"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var waiting []owed
			for _, next := range changes(test.happens) {
				waiting = merge(waiting, next)
			}
			if got := text(waiting); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestWhatWasInFlightMergesWithWhatHasComeSince, once it is not any more.
func TestWhatWasInFlightMergesWithWhatHasComeSince(t *testing.T) {
	tests := []struct{ name, landed, want string }{
		{"nothing came", "M:a1", "M:a1"},
		{"a newer body", "A:a1 M:a2", "A:a2"},
		{"the end", "A:a1 D:a2", "D:a2"},
		{"the end and a successor", "A:a1 D:a2 A:b3", "D:a2 A:b3"},
		{"a successor", "D:a1 A:b2", "D:a1 A:b2"},
		{"a successor, while the record is missing", "D:a1t A:b2", "A:b2"},
		{"a newer body, while the record is missing", "A:a1t M:a2", "A:a2"},
		{"a newer body that has to be fetched", "A:a1 M:a2-", "A:a-"},
		{"a newer one instead of the repetition", "A:a1r M:a2", "M:a2"},
		{"only the repetition", "A:a1r", "A:a1r"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			landed := changes(test.landed)
			if got := text(mergeAll(landed)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if rest := landed[len(strings.Fields(test.want)):]; slices.ContainsFunc(rest, func(c owed) bool { return c.Message != nil }) {
				t.Errorf("%s is held in memory", text(rest))
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
		{"A:a1r", "M:a4", []int64{4}},
	} {
		var seen []int64
		for _, change := range merge(changes(test.waiting), changes(test.next)[0]) {
			seen = append(seen, change.Seen.Unix())
		}
		if !slices.Equal(seen, test.want) {
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
	if got := merge([]owed{withdrawn}, back); len(got) != 1 || got[0].Reason != "" {
		t.Errorf("back: %+v", got)
	}
}
