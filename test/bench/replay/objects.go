package replay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// writeSize is how much is written at once where nobody waits for each event.
const writeSize = 64 << 10

// catchUp is how many events may come at once after a delay, for there to be as many in a second as there should be.
const catchUp = 4

// resource is all objects of one kind.
type resource struct {
	kind       schema.GroupVersionKind
	namespaced bool
	runs       []run

	mu       sync.Mutex
	version  int // of the last change of all objects; 0 is as they were at the start
	watchers map[chan burst]bool
}

// run is objects that look the same, numbered from first on.
type run struct {
	shape        *Shape
	first, count int
}

// burst is a change of every object, for one watcher.
type burst struct {
	version   int
	perSecond float64 // 0 is as fast as they are read
	written   chan<- error
}

var errWatcherGone = errors.New("the watcher is gone")

// Change changes every object of a kind once and returns when all events are written: as many as there are per second, one by one, or
// with 0 as fast as they are read.
func (s *Server) Change(ctx context.Context, gvr schema.GroupVersionResource, perSecond float64) error {
	known := s.resources[gvr]
	known.mu.Lock()
	known.version++
	written := make(chan error, len(known.watchers))
	watchers := len(known.watchers)
	for watcher := range known.watchers {
		watcher <- burst{known.version, perSecond, written}
	}
	known.mu.Unlock()
	if watchers == 0 {
		return fmt.Errorf("nobody watches %s", gvr.Resource)
	}
	for range watchers {
		select {
		case err := <-written:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (k *resource) serve(w http.ResponseWriter, r *http.Request, stopping <-chan struct{}) {
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	if !query.Has("watch") {
		k.list(w, query.Get("limit"), query.Get("continue"))
		return
	}
	bursts := make(chan burst, 1)
	k.mu.Lock()
	k.watchers[bursts] = true
	version := k.version
	k.mu.Unlock()
	defer k.leave(bursts)

	out := &stream{w: w, flush: http.NewResponseController(w)}
	if query.Get("sendInitialEvents") == "true" {
		for _, run := range k.runs {
			for n := range run.count {
				out.buffer = run.shape.appendEvent(out.buffer, "ADDED", run.first+n, version, 0)
				out.writeIfFull()
			}
		}
		out.buffer = fmt.Appendf(out.buffer, `{"type":"BOOKMARK","object":{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"%d","creationTimestamp":null,"annotations":{"k8s.io/initial-events-end":"true"}}}}`+"\n",
			k.kind.Kind, k.kind.GroupVersion(), firstVersion+version)
	}
	out.write()
	for out.err == nil {
		select {
		case next := <-bursts:
			k.change(r.Context(), out, next)
			next.written <- out.err
		case <-r.Context().Done():
			return
		case <-stopping:
			return
		}
	}
}

// leave answers what nobody will write any more.
func (k *resource) leave(bursts chan burst) {
	k.mu.Lock()
	delete(k.watchers, bursts)
	k.mu.Unlock()
	select {
	case next := <-bursts:
		next.written <- errWatcherGone
	default:
	}
}

func (k *resource) change(ctx context.Context, out *stream, b burst) {
	pace := rate.NewLimiter(rate.Limit(b.perSecond), catchUp)
	for _, run := range k.runs {
		for n := range run.count {
			if b.perSecond == 0 {
				out.buffer = run.shape.appendEvent(out.buffer, "MODIFIED", run.first+n, b.version, 0)
				out.writeIfFull()
				continue
			}
			if err := pace.Wait(ctx); err != nil {
				out.err = err
				return
			}
			out.buffer = run.shape.appendEvent(out.buffer, "MODIFIED", run.first+n, b.version, time.Now().UnixNano())
			out.write() // as an API server does
		}
	}
	out.write()
}

// list writes a page.
func (k *resource) list(w http.ResponseWriter, limit, from string) {
	k.mu.Lock()
	version := k.version
	k.mu.Unlock()
	left, _ := strconv.Atoi(limit)
	if left == 0 {
		left = int(^uint(0) >> 1)
	}
	skip, _ := strconv.Atoi(from)
	out := &stream{w: w, flush: http.NewResponseController(w)}
	next, position, comma := "", 0, ""
	out.buffer = fmt.Appendf(out.buffer, `{"kind":"%sList","apiVersion":%q,"items":[`, k.kind.Kind, k.kind.GroupVersion())
	for _, run := range k.runs {
		for n := range run.count {
			switch {
			case position < skip:
			case left > 0:
				out.buffer = run.shape.appendItem(append(out.buffer, comma...), run.first+n, version)
				out.writeIfFull()
				comma = ","
				left--
			case next == "":
				next = strconv.Itoa(position)
			}
			position++
		}
	}
	out.buffer = fmt.Appendf(out.buffer, `],"metadata":{"resourceVersion":"%d","continue":%q}}`, firstVersion+version, next)
	out.write()
}

// stream is a response that is written bit by bit. After an error nothing is.
type stream struct {
	w      http.ResponseWriter
	flush  *http.ResponseController
	buffer []byte
	err    error
}

func (s *stream) writeIfFull() {
	if len(s.buffer) >= writeSize {
		s.write()
	}
}

func (s *stream) write() {
	if s.err == nil {
		_, s.err = s.w.Write(s.buffer)
	}
	if s.err == nil {
		s.err = s.flush.Flush()
	}
	s.buffer = s.buffer[:0]
}
