package raw

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
)

// taker is a Handler that remembers what it got. It can read objects with a name.
type taker struct {
	mu    sync.Mutex
	got   []string
	ended error // what End returns
}

func (h *taker) add(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, text)
}

func (h *taker) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.got)
}

func (h *taker) Begin() { h.add("begin") }

func (h *taker) Take(event apiwatch.EventType, object []byte) *Object {
	h.add(fmt.Sprintf("%s %s", event, object))
	var known struct {
		Metadata struct{ Name, ResourceVersion string }
	}
	if err := json.Unmarshal(object, &known); err != nil || known.Metadata.Name == "" {
		return nil
	}
	return NewObject(nil, []byte(known.Metadata.Name), nil, []byte(known.Metadata.ResourceVersion))
}

func (h *taker) End(resourceVersion string) error {
	h.add("end " + resourceVersion)
	return h.ended
}

// pieces is a body that is read in pieces of certain sizes, over and over.
type pieces struct {
	rest  []byte
	sizes []int
	turn  int
}

func (p *pieces) Read(into []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	size := max(1, p.sizes[p.turn%len(p.sizes)])
	p.turn++
	n := copy(into[:min(size, len(into))], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pieces) Close() error { return nil }

// heard runs a watch over a body to its end, and returns what the informer and the handler got.
func heard(body io.ReadCloser, lists bool, to *taker) (events []string) {
	s := newStream(body, &pool{}, func() {}, to, func(event apiwatch.Event) apiwatch.Event { return event }, lists)
	defer s.Stop()
	for event := range s.ResultChan() {
		switch object := event.Object.(type) {
		case *Object:
			events = append(events, fmt.Sprintf("%s %s %s", event.Type, object.Key, object.ResourceVersion))
		case *metav1.Status:
			events = append(events, fmt.Sprintf("%s %d %s", event.Type, object.Code, object.Reason))
		}
	}
	return events
}

func TestAWatchIsCutIntoItsEvents(t *testing.T) {
	const (
		x      = `{"metadata":{"name":"x","resourceVersion":"1"}}`
		y      = `{"metadata":{"name":"y","resourceVersion":"2"}}`
		addedX = `{"type":"ADDED","object":` + x + "}\n"
		goneY  = `{"type":"DELETED","object":` + y + "}\n"
	)
	tests := map[string]struct {
		body   string
		taken  []string // by the handler
		events []string // of the informer
	}{
		"nothing":                     {body: ""},
		"one event":                   {addedX, []string{"ADDED " + x}, []string{"ADDED x 1"}},
		"two":                         {addedX + goneY, []string{"ADDED " + x, "DELETED " + y}, []string{"ADDED x 1", "DELETED y 2"}},
		"empty lines":                 {"\n\r\n" + addedX + " \t\n\n" + goneY + "\n", []string{"ADDED " + x, "DELETED " + y}, []string{"ADDED x 1", "DELETED y 2"}},
		"lines that end as elsewhere": {strings.ReplaceAll(addedX+goneY, "\n", "\r\n"), []string{"ADDED " + x, "DELETED " + y}, []string{"ADDED x 1", "DELETED y 2"}},
		"its members the other way round": {
			`{"object":` + x + `,"type":"MODIFIED"}` + "\n" + addedX, []string{"MODIFIED " + x, "ADDED " + x}, []string{"MODIFIED x 1", "ADDED x 1"},
		},
		"white space, and members that nobody knows": {
			` { "more" : [ 1, { } ] , "type" : "ADDED" , "object" : ` + x + " } \n" + goneY, []string{"ADDED " + x, "DELETED " + y}, []string{"ADDED x 1", "DELETED y 2"},
		},
		"a type with an escape": {`{"type":"\u0041DDED","object":` + x + "}\n", []string{"ADDED " + x}, []string{"ADDED x 1"}},
		"on several lines": {
			"{\n  \"type\": \"ADDED\",\n  \"object\": " + x + "\n}\n" + goneY, []string{"ADDED " + x, "DELETED " + y}, []string{"ADDED x 1", "DELETED y 2"},
		},
		"on several lines, with an empty one between": {
			"{\n\"type\":\"ADDED\",\n\n\"object\":" + x + "}\n\n" + goneY, []string{"ADDED " + x, "DELETED " + y}, []string{"ADDED x 1", "DELETED y 2"},
		},
		"one that breaks off, and goes on as if nothing was": {
			addedX[:len(addedX)/2] + "\n" + goneY, []string{" ", "DELETED " + y}, []string{"DELETED y 2"},
		},
		"one that breaks off at a line's end": {
			`{"type":"ADDED",` + "\n" + goneY, []string{" ", "DELETED " + y}, []string{"DELETED y 2"},
		},
		"one that breaks off at the end":   {addedX + goneY[:len(goneY)-5], []string{"ADDED " + x}, []string{"ADDED x 1"}},
		"one whose end of line is missing": {addedX + strings.TrimSpace(goneY), []string{"ADDED " + x}, []string{"ADDED x 1"}},
		"garbage":                          {"garbage\n" + goneY, []string{" ", "DELETED " + y}, []string{"DELETED y 2"}},
		"bytes that are no text":           {"\x00\xff\xfe\n" + goneY, []string{" ", "DELETED " + y}, []string{"DELETED y 2"}},
		"JSON that is no event":            {"[]\n7\nnull\n\"x\"\n" + goneY, []string{" ", " ", " ", " ", "DELETED " + y}, []string{"DELETED y 2"}},
		"an event of nothing":              {"{}\n" + goneY, []string{" ", "DELETED " + y}, []string{"DELETED y 2"}},
		"an event without a type":          {`{"object":` + x + "}\n", []string{" " + x}, []string{" x 1"}},
		"an event without an object":       {`{"type":"ADDED"}` + "\n" + goneY, []string{"ADDED ", "DELETED " + y}, []string{"DELETED y 2"}},
		"a type that is none":              {`{"type":7,"object":` + x + "}\n" + goneY, []string{" ", "DELETED " + y}, []string{"DELETED y 2"}},
		"a type that nobody knows":         {`{"type":"RENAMED","object":` + y + "}\n", []string{"RENAMED " + y}, []string{"RENAMED y 2"}},
		"an object that cannot be read":    {`{"type":"ADDED","object":{}}` + "\n" + goneY, []string{"ADDED {}", "DELETED " + y}, []string{"DELETED y 2"}},
		"two on a line, which no API server writes": {
			strings.TrimSpace(addedX) + goneY + goneY, []string{"ADDED " + x + "}" + goneY[:len(goneY)-2], "DELETED " + y}, []string{"DELETED y 2"},
		},
		"a bookmark":                 {`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}` + "\n", nil, []string{"BOOKMARK  7"}},
		"a bookmark that is none":    {`{"type":"BOOKMARK","object":7}` + "\n" + goneY, []string{"DELETED " + y}, []string{"DELETED y 2"}},
		"an error":                   {`{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}` + "\n" + goneY, nil, []string{"ERROR 410 Expired"}},
		"an error that is no status": {`{"type":"ERROR","object":{"message":"sorry"}}` + "\n", nil, []string{"ERROR 500 InternalError"}},
		"an error that says nothing": {`{"type":"ERROR"}` + "\n", nil, []string{"ERROR 500 InternalError"}},
		"the end of a list that was not asked for": {
			`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}` + "\n", nil, []string{"BOOKMARK  7"},
		},
	}
	for name, test := range tests {
		for _, sizes := range [][]int{{1}, {2, 3, 5, 7}, {1 << 20}} {
			t.Run(fmt.Sprintf("%s, by %v", name, sizes), func(t *testing.T) {
				to := &taker{}
				events := heard(&pieces{rest: []byte(test.body), sizes: sizes}, false, to)
				if !slices.Equal(events, test.events) {
					t.Errorf("the informer got %q, want %q", events, test.events)
				}
				if !slices.Equal(to.got, test.taken) {
					t.Errorf("the handler got %q, want %q", to.got, test.taken)
				}
			})
		}
	}
}

const endOfList = `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}` + "\n"

func TestAWatchThatListsSaysWhenThatIsOver(t *testing.T) {
	const x = `{"metadata":{"name":"x","resourceVersion":"1"}}`
	added := `{"type":"ADDED","object":` + x + "}\n"
	bookmark := strings.Replace(endOfList, "true", "false", 1)
	tests := map[string]struct {
		body          string
		ended         error
		taken, events []string
	}{
		"what is there, and more": {
			body: added + bookmark + endOfList + added + endOfList, taken: []string{"begin", "ADDED " + x, "end 7", "ADDED " + x},
			events: []string{"ADDED x 1", "BOOKMARK  7", "BOOKMARK  7", "ADDED x 1", "BOOKMARK  7"},
		},
		"it breaks off": {body: added, taken: []string{"begin", "ADDED " + x}, events: []string{"ADDED x 1"}},
		"it is not believed": {
			body: added + endOfList + added, ended: apierrors.NewResourceExpired("too old"),
			taken: []string{"begin", "ADDED " + x, "end 7"}, events: []string{"ADDED x 1", "ERROR 410 Expired"},
		},
		"it is not believed for another reason": {
			body: endOfList, ended: errors.New("no"), taken: []string{"begin", "end 7"}, events: []string{"ERROR 500 InternalError"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			to := &taker{ended: test.ended}
			events := heard(&pieces{rest: []byte(test.body), sizes: []int{100}}, true, to)
			if !slices.Equal(events, test.events) || !slices.Equal(to.got, test.taken) {
				t.Errorf("the informer got %q, the handler %q", events, to.got)
			}
		})
	}
}

// endless is a body of one object that does not end.
type endless struct{ begun bool }

func (e *endless) Read(into []byte) (int, error) {
	if !e.begun {
		e.begun = true
		return copy(into, `{"type":"ADDED","object":{"metadata":{"name":"`), nil
	}
	for i := range into {
		into[i] = 'x'
	}
	return len(into), nil
}

func (e *endless) Close() error { return nil }

func TestObjectsHaveALimit(t *testing.T) {
	large := fmt.Sprintf(`{"type":"ADDED","object":{"metadata":{"name":"x"},"data":%q}}`, strings.Repeat("x", largest-100))
	if events := heard(&pieces{rest: []byte(large + "\n"), sizes: []int{1 << 20}}, false, &taker{}); !slices.Equal(events, []string{"ADDED x "}) {
		t.Errorf("an object just below the limit: %q", events)
	}
	if events := heard(&endless{}, false, &taker{}); !slices.Equal(events, []string{"ERROR 500 InternalError"}) {
		t.Errorf("an endless line: %q", events)
	}
	lines := bytes.Repeat([]byte("{\n"), largest)
	if events := heard(&pieces{rest: lines, sizes: []int{1 << 20}}, false, &taker{}); !slices.Equal(events, []string{"ERROR 500 InternalError"}) {
		t.Errorf("an endless number of lines: %q", events)
	}
}
