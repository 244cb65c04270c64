package raw

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
)

// longest body that is tried. What is read byte by byte is looked at anew with each.
const longest = 2 << 10

// sizesOf are pieces to read, from bytes of a fuzzer. There is always one.
func sizesOf(chance []byte) []int {
	sizes := []int{1 + len(chance)}
	for _, size := range chance {
		sizes = append(sizes, int(size))
	}
	return sizes
}

// note is a Handler that remembers what it takes, and keeps nothing.
type note struct{ taken []string }

func (n *note) Begin() {}

func (n *note) Take(event apiwatch.EventType, object []byte) *Object {
	n.taken = append(n.taken, string(event)+" "+string(object))
	return nil
}

func (n *note) End(string) error { return nil }

// FuzzStream holds the events of a watch against those that encoding/json finds, where it finds nothing but events.
func FuzzStream(f *testing.F) {
	for _, body := range []string{
		`{"type":"ADDED","object":{"metadata":{"name":"x"}}}` + "\n" + `{"type":"DELETED","object":{"metadata":{"name":"x"}}}` + "\n",
		"{\n \"object\": {\n  \"a\": \"}\\\"{\"\n },\n \"type\": \"MODIFIED\"\n}\n\n",
		`{"type":"ADDED","object":{"a":` + "\n" + `{"type":"ADDED","object":{}}` + "\n",
		endOfList + `{"type":"ERROR","object":{"kind":"Status","code":410}}` + "\n{}\n7\nnull\ngarbage\n",
	} {
		f.Add([]byte(body), []byte{1})
		f.Add([]byte(body), []byte{7, 3, 255})
	}
	f.Fuzz(func(t *testing.T, body, chance []byte) {
		if len(body) > longest {
			return
		}
		var whole, cut note
		events := run(&pieces{rest: body, sizes: []int{1 << 20}}, &whole)
		if again := run(&pieces{rest: body, sizes: sizesOf(chance)}, &cut); events != again || !slices.Equal(whole.taken, cut.taken) {
			t.Errorf("in pieces it took %q, %d for the informer; as a whole %q, %d", cut.taken, again, whole.taken, events)
		}
		if taken, ok := obviousEvents(body); ok && !slices.Equal(whole.taken, taken) {
			t.Errorf("took %q, want %q", whole.taken, taken)
		}
	})
}

// run runs a watch to its end, and returns how many events the informer got.
func run(body io.ReadCloser, to Handler) (events int) {
	s := newStream(body, &pool{}, func() {}, to, func(event apiwatch.Event) apiwatch.Event { return event }, true)
	for range s.ResultChan() {
		events++
	}
	s.Stop()
	return events
}

// obviousEvents returns what is to be taken of a watch if it is nothing but events, on lines of their own and with the members that they
// have.
func obviousEvents(body []byte) (taken []string, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	for end := 0; ; {
		var text json.RawMessage
		switch err := decoder.Decode(&text); {
		case errors.Is(err, io.EOF):
			return taken, true
		case err != nil:
			return nil, false
		}
		start := int(decoder.InputOffset()) - len(text)
		apart := end == 0 || bytes.ContainsRune(body[end:start], '\n')
		end = start + len(text)
		// A line that begins as events do begins one.
		if !apart || bytes.IndexByte(body[end:], '\n') < 0 || bytes.Contains(text, append([]byte("\n"), []byte(eventStart)...)) ||
			bytes.HasPrefix(text, []byte(eventStart)) && bytes.ContainsRune(text, '\n') {
			return nil, false
		}
		event, usual := members(text)
		if !usual {
			return nil, false
		}
		var kind apiwatch.EventType
		if err := json.Unmarshal(event[`type`], &kind); err != nil && event[`type`] != nil {
			kind, event = "", nil
		}
		switch kind {
		case apiwatch.Bookmark:
		case apiwatch.Error:
			return taken, true // it is the last
		default:
			taken = append(taken, string(kind)+" "+string(event[`object`]))
		}
	}
}

// members of an object; none of anything else. They are not usual if there are others than an event has, or some twice.
func members(text []byte) (found map[string]json.RawMessage, usual bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, true
	}
	found = map[string]json.RawMessage{}
	for decoder.More() {
		start := decoder.InputOffset()
		name, _ := decoder.Token()
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, false
		}
		_, twice := found[name.(string)]
		if twice || name != "type" && name != "object" || bytes.ContainsRune(text[start:decoder.InputOffset()-int64(len(value))], '\\') {
			return nil, false
		}
		found[name.(string)] = value
	}
	return found, true
}

// FuzzList holds the items of a list against those that encoding/json finds, where that can read it.
func FuzzList(f *testing.F) {
	for _, body := range []string{
		`{"kind":"List","metadata":{"resourceVersion":"7","continue":"c"},"items":[{"a":"\\\"}"},{},[1,2],null,-1.5e3,true,"x\u00e4"]}`,
		"{ \"items\" : null,\n\"\\u006detadata\":{} } x",
		`{"items":[],"metadata":{},"items":[7],"more":{"items":[{"a":[[]]}]}}`,
	} {
		f.Add([]byte(body), []byte{1})
		f.Add([]byte(body), []byte{7, 3, 255})
	}
	f.Fuzz(func(t *testing.T, body, chance []byte) {
		if len(body) > longest {
			return
		}
		items, found, err := cut(&pieces{rest: body, sizes: []int{1 << 20}})
		again, foundAgain, errAgain := cut(&pieces{rest: body, sizes: sizesOf(chance)})
		if !slices.Equal(items, again) || found != foundAgain || (err == nil) != (errAgain == nil) {
			t.Errorf("in pieces %q, %q, %v; as a whole %q, %q, %v", again, foundAgain, errAgain, items, found, err)
		}
		if want, version, ok := obviousList(body); ok && (err != nil || !slices.Equal(items, want) || found != version) {
			t.Errorf("got %q, %q, %v; want %q, %q", items, found, err, want, version)
		}
	})
}

func obviousList(body []byte) (items []string, version string, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, "", false
	}
	var found metav1.ListMeta
	for decoder.More() {
		name, err := decoder.Token()
		var value json.RawMessage
		if err != nil || decoder.Decode(&value) != nil {
			return nil, "", false
		}
		switch name {
		case "items":
			var all []json.RawMessage
			if err := json.Unmarshal(value, &all); err != nil {
				return nil, "", false
			}
			for _, item := range all {
				items = append(items, string(item))
			}
			ok = true
		case "metadata":
			if err := json.Unmarshal(value, &found); err != nil {
				return nil, "", false
			}
		}
	}
	_, err := decoder.Token()
	return items, found.ResourceVersion + found.Continue, ok && err == nil
}
