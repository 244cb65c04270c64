package raw

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"meshery.io/operator/pkg/meshsync/wire/walk"
)

// ahead is how many events may wait for the informer. What it gets is small; the broker does not wait for it.
const ahead = 128

// stream is a watch.
type stream struct {
	buffer *buffer
	to     Handler
	see    func(apiwatch.Event) apiwatch.Event
	lists  bool // all that is there comes first, and is not over

	body   io.Closer
	cancel context.CancelFunc
	events chan apiwatch.Event
	stop   func()
	ended  chan struct{} // closed when it is stopped
	over   chan struct{} // closed when nothing is handed over any more
}

func newStream(body io.ReadCloser, pool *pool, cancel context.CancelFunc, to Handler, see func(apiwatch.Event) apiwatch.Event, lists bool) *stream {
	s := &stream{
		buffer: newBuffer(body, pool), to: to, see: see, lists: lists,
		body: body, cancel: cancel, events: make(chan apiwatch.Event, ahead), ended: make(chan struct{}), over: make(chan struct{}),
	}
	s.stop = sync.OnceFunc(func() { close(s.ended) })
	go s.run()
	return s
}

// ResultChan is what the informer reads.
func (s *stream) ResultChan() <-chan apiwatch.Event { return s.events }

// Stop returns when nothing is handed over any more.
func (s *stream) Stop() {
	s.stop()
	s.cancel()
	<-s.over
}

// run reads until there is no more. However a watch breaks off, it looks to the informer like one that ended, which it goes on with
// from where that was; after an error it would begin anew with all that is there.
func (s *stream) run() {
	defer close(s.over)
	defer close(s.events)
	defer s.body.Close()
	defer s.buffer.close()
	defer s.cancel()
	if s.lists {
		s.to.Begin()
	}
	for {
		event, err := s.next()
		if err != nil {
			if errors.Is(err, errTooLarge) {
				s.send(s.see(errorEvent(err)))
			}
			return
		}
		if !s.send(s.see(event)) || event.Type == apiwatch.Error {
			return // what follows an error means nothing to who begins anew
		}
	}
}

func (s *stream) send(event apiwatch.Event) bool {
	select {
	case s.events <- event:
		return true
	case <-s.ended:
		return false
	}
}

// next returns the next event that the informer is to have.
func (s *stream) next() (apiwatch.Event, error) {
	for {
		kind, object, length, err := s.cut()
		if err != nil {
			return apiwatch.Event{}, err
		}
		event, ok := s.take(kind, object)
		s.buffer.use(length)
		if ok {
			return event, nil
		}
	}
}

// cut finds the next event: as a rule it is a line. Where an API server writes it in several, they are put together, unless another event
// begins. What is no event has no kind. length is what of the buffer is to be used.
func (s *stream) cut() (kind apiwatch.EventType, object []byte, length int, err error) {
	for depth := 0; ; {
		event, err := s.buffer.line(length)
		switch {
		case err != nil:
			return "", nil, 0, err
		case length > 0 && bytes.HasPrefix(event[length:], []byte(eventStart)):
			return "", nil, length, nil
		}
		line := event[length:]
		length = len(event) + 1
		if kind, object := splitUsual(event); object != nil {
			return kind, object, length, nil
		}
		if depth += nesting(line); depth > 0 {
			continue
		}
		if len(bytes.TrimSpace(event)) > 0 {
			kind, object = split(event)
			return kind, object, length, nil
		}
		s.buffer.use(length)
		length = 0
	}
}

// nesting is how many more objects and arrays begin in a line than end. Strings do not go on in the next line.
func nesting(line []byte) (depth int) {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		}
	}
	return depth
}

// How every API server of Go begins an event, and what it puts between its type and its object.
const (
	eventStart  = `{"type":"`
	eventObject = `","object":`
)

// splitUsual takes an event apart that begins and ends as usual. Whether what it returns as the object is one is not looked at.
func splitUsual(event []byte) (apiwatch.EventType, []byte) {
	if rest, ok := bytes.CutPrefix(event, []byte(eventStart)); ok && bytes.HasSuffix(rest, []byte("}}")) {
		for _, kind := range []apiwatch.EventType{apiwatch.Modified, apiwatch.Added, apiwatch.Deleted} {
			if n := len(kind); len(rest) > n && string(rest[:n]) == string(kind) && bytes.HasPrefix(rest[n:], []byte(eventObject)) {
				return kind, rest[n+len(eventObject) : len(rest)-1]
			}
		}
	}
	return "", nil
}

// split takes any event apart.
func split(event []byte) (kind apiwatch.EventType, object []byte) {
	err := walk.Members(event, func(name, value []byte) error {
		switch string(name) {
		case `"type"`:
			return json.Unmarshal(value, &kind)
		case `"object"`:
			object = value
		}
		return nil
	})
	if err != nil {
		return "", nil
	}
	return kind, object
}

// take makes of an event what the informer is to have, if anything.
func (s *stream) take(kind apiwatch.EventType, object []byte) (apiwatch.Event, bool) {
	switch kind {
	case apiwatch.Bookmark:
		return s.bookmark(object)
	case apiwatch.Error:
		return apiwatch.Event{Type: apiwatch.Error, Object: statusOf(object)}, true
	default: // with a kind that nobody knows, the handler says that it cannot be read
		taken := s.to.Take(kind, object)
		return apiwatch.Event{Type: kind, Object: taken}, taken != nil
	}
}

func (s *stream) bookmark(object []byte) (apiwatch.Event, bool) {
	var mark struct{ Metadata metav1.ObjectMeta }
	if err := json.Unmarshal(object, &mark); err != nil {
		return apiwatch.Event{}, false
	}
	bookmark := &Object{ResourceVersion: mark.Metadata.ResourceVersion, endsList: mark.Metadata.Annotations[metav1.InitialEventsAnnotationKey] == "true"}
	if bookmark.endsList && s.lists {
		s.lists = false
		if err := s.to.End(bookmark.ResourceVersion); err != nil {
			return errorEvent(err), true
		}
	}
	return apiwatch.Event{Type: apiwatch.Bookmark, Object: bookmark}, true
}

// statusOf is what an API server says when it ends a watch. An informer must be able to read it: it may have to begin anew.
func statusOf(object []byte) *metav1.Status {
	status := &metav1.Status{}
	if err := json.Unmarshal(object, status); err != nil || status.Kind != "Status" {
		// Not with its words: they may be an object's.
		return &apierrors.NewInternalError(fmt.Errorf("the API server ended the watch with %d bytes that are no Status", len(object))).ErrStatus
	}
	return status
}

func errorEvent(err error) apiwatch.Event {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok {
		status = apierrors.NewInternalError(err)
	}
	return apiwatch.Event{Type: apiwatch.Error, Object: &status.ErrStatus}
}
