package watch

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"meshery.io/operator/pkg/meshsync/watch/raw"
)

// apiServer is an API server in memory, behind HTTP. It keeps objects of any kind, and what happened to them since it was compacted.
// Nothing of it leaves the process, so that it can be part of a bubble.
type apiServer struct {
	connections chan net.Conn
	closed      chan struct{}

	mu      sync.Mutex
	moved   chan struct{} // closed when something happens
	version int
	history []happened
	since   int  // what happened up to then is not told any more
	behind  int  // by how many versions the next list that may be old is that
	lies    bool // it may also be older than was asked for
	cuts    int  // how often all watches were ended
	held    bool // watches are told nothing
	asked   []string
	refusal error                                                    // what every request is answered with
	away    error                                                    // why nobody can connect
	fault   func(w http.ResponseWriter, r *http.Request) (done bool) // answers a request otherwise
	// What it cannot do.
	noStreamingLists, noBookmarks bool
}

type stored struct {
	key     string
	uid     string
	version int
	body    string // what comes after the metadata
}

type happened struct {
	kind apiwatch.EventType
	stored
}

func (o stored) String() string {
	resource, name, _ := strings.Cut(o.key, "/")
	namespace, name, _ := strings.Cut(name, "/")
	kind := map[string]string{"configmaps": "ConfigMap", "customresourcedefinitions": "CustomResourceDefinition"}[resource]
	if namespace != "" {
		namespace = fmt.Sprintf(`"namespace":%q,`, namespace)
	}
	return fmt.Sprintf(`{"kind":%q,"apiVersion":"v1","metadata":{"name":%q,%s"uid":%q,"resourceVersion":"%d"}%s}`,
		kind, name, namespace, o.uid, o.version, o.body)
}

// newAPIServer starts one, which ends with the test.
func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{
		connections: make(chan net.Conn), closed: make(chan struct{}), moved: make(chan struct{})}
	server := &http.Server{Handler: s}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(s)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return s
}

// client of the server, with a connection for each request.
func (s *apiServer) client(t *testing.T) *raw.Client {
	t.Helper()
	transport := &http.Transport{DialContext: s.dial, DisableKeepAlives: true}
	client, err := raw.NewForConfigAndClient(&rest.Config{Host: "http://server", QPS: -1}, &http.Client{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (s *apiServer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.mu.Lock()
	away := s.away
	s.mu.Unlock()
	if away != nil {
		return nil, away
	}
	here, there := net.Pipe()
	select {
	case s.connections <- there:
		return here, nil
	case <-s.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept, Close and Addr make it a net.Listener.
func (s *apiServer) Accept() (net.Conn, error) {
	select {
	case connection := <-s.connections:
		return connection, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *apiServer) Close() error {
	close(s.closed)
	return nil
}

func (s *apiServer) Addr() net.Addr { return &net.UnixAddr{} }

// do changes the server.
func (s *apiServer) do(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.moved)
	s.moved = make(chan struct{})
}

// put writes an object of uid, or a new state of it. If there is one of another uid under the key, that is deleted first.
func (s *apiServer) put(key, uid string) { s.putBody(key, uid, "") }

func (s *apiServer) putBody(key, uid, body string) {
	s.do(func() {
		before, there := s.objects(s.version)[key]
		kind := apiwatch.Modified
		if !there || before.uid != uid {
			s.remove(key)
			kind = apiwatch.Added
		}
		s.version++
		s.history = append(s.history, happened{kind, stored{key, uid, s.version, body}})
	})
}

func (s *apiServer) delete(key string) { s.do(func() { s.remove(key) }) }

func (s *apiServer) remove(key string) {
	gone, there := s.objects(s.version)[key]
	if !there {
		return
	}
	s.version++
	gone.version = s.version
	s.history = append(s.history, happened{apiwatch.Deleted, gone})
}

// objects are those that there were at a version, by their keys.
func (s *apiServer) objects(version int) map[string]stored {
	objects := map[string]stored{}
	for _, h := range s.history {
		switch {
		case h.version > version:
			return objects
		case h.kind == apiwatch.Deleted:
			delete(objects, h.key)
		default:
			objects[h.key] = h.stored
		}
	}
	return objects
}

// compact forgets what happened.
func (s *apiServer) compact() { s.do(func() { s.since = s.version }) }

// restore makes everything as it was at a version, also the versions. Of what happened before nothing is known any more.
func (s *apiServer) restore(version int) {
	s.do(func() {
		s.version, s.since = version, version
		s.history = slices.DeleteFunc(s.history, func(h happened) bool { return h.version > version })
		s.cuts++
	})
}

// cut ends every watch, in the ordinary way.
func (s *apiServer) cut() { s.do(func() { s.cuts++ }) }

// leave ends every watch, and refuses all requests; with an error that is none of an API server, also connections.
func (s *apiServer) leave(reason error) {
	s.do(func() {
		s.cuts++
		if _, said := reason.(apierrors.APIStatus); said {
			s.refusal = reason
		} else {
			s.away = reason
		}
	})
}

func (s *apiServer) comeBack() { s.do(func() { s.refusal, s.away = nil, nil }) }

// answer lets a function answer requests. Those for which it returns false are answered as usual.
func (s *apiServer) answer(fault func(w http.ResponseWriter, r *http.Request) (done bool)) {
	s.do(func() { s.fault = fault })
}

// truth is the uid and the version of every ConfigMap, by resource/namespace/name.
func (s *apiServer) truth() map[string]string {
	objects, _ := s.now()
	truth := map[string]string{}
	for _, object := range objects {
		truth[object.key] = fmt.Sprintf("%s %d", object.uid, object.version)
	}
	return truth
}

// now is every ConfigMap, and which version it is.
func (s *apiServer) now() (objects []stored, version int) {
	r, _ := http.NewRequest(http.MethodGet, "/api/v1/configmaps", nil) //nolint:noctx // it is not sent
	objects, version, _ = s.selected(r)
	return objects, version
}

func isWatch(r *http.Request) bool {
	return r.FormValue("watch") == "true" || r.FormValue("watch") == "1"
}

func streamsList(r *http.Request) bool {
	return isWatch(r) && r.FormValue("sendInitialEvents") == "true"
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	verb := "list"
	switch {
	case streamsList(r):
		verb = "stream"
	case isWatch(r):
		verb = "watch"
	}
	s.mu.Lock()
	refusal, fault := s.refusal, s.fault
	s.asked = append(s.asked, verb)
	noStreams := s.noStreamingLists && verb == "stream"
	s.mu.Unlock()
	switch {
	case refusal != nil:
		refuse(w, refusal)
	case noStreams:
		refuse(w, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", nil))
	case fault != nil && fault(w, r):
	case isWatch(r):
		s.serveWatch(w, r)
	default:
		s.serveList(w, r)
	}
}

func refuse(w http.ResponseWriter, reason error) {
	status := reason.(apierrors.APIStatus).Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status)
}

// selected are the objects that a request is for, in the order of their keys, and of which version they are: the newest, or where the
// request allows that an older one.
func (s *apiServer) selected(r *http.Request) (found []stored, version int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	version = s.version
	least, _ := strconv.Atoi(r.FormValue("resourceVersion"))
	switch {
	case least > version:
		err := apierrors.NewTimeoutError("Too large resource version", 1)
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
		return nil, 0, err
	case r.FormValue("resourceVersion") != "":
		if s.lies {
			least = 1
		}
		version = max(least, version-s.behind)
		s.behind = 0
	}
	objects := s.objects(version)
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if isFor(r, key) {
			found = append(found, objects[key])
		}
	}
	return found, version, nil
}

// isFor reads a path as /api/v1/configmaps or /api/v1/namespaces/demo/configmaps.
func isFor(r *http.Request, key string) bool {
	prefix := path.Base(r.URL.Path) + "/"
	if _, rest, ok := strings.Cut(r.URL.Path, "/namespaces/"); ok {
		prefix += path.Dir(rest) + "/"
	}
	return strings.HasPrefix(key, prefix)
}

// serveList lists in pages. Each is of the moment in which it is asked for, which a test must not rely on.
func (s *apiServer) serveList(w http.ResponseWriter, r *http.Request) {
	objects, version, err := s.selected(r)
	if err != nil {
		refuse(w, err)
		return
	}
	after, limit, next := r.FormValue("continue"), len(objects), ""
	objects = slices.DeleteFunc(objects, func(o stored) bool { return after != "" && o.key <= after })
	if n, err := strconv.Atoi(cmp.Or(r.FormValue("limit"), "0")); err == nil && n > 0 {
		limit = n
	}
	if len(objects) > limit {
		objects, next = objects[:limit], objects[limit-1].key
	}
	writeList(w, version, next, objects...)
}

func writeList(w http.ResponseWriter, version int, next string, objects ...stored) {
	items := make([]string, 0, len(objects))
	for _, object := range objects {
		items = append(items, object.String())
	}
	_, _ = fmt.Fprintf(w, `{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"%d","continue":%q},"items":[%s]}`, version, next, strings.Join(items, ","))
}

func (s *apiServer) serveWatch(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	cuts, since, noBookmarks := s.cuts, s.since, s.noBookmarks
	s.mu.Unlock()
	initial, at, err := s.selected(r)
	if err != nil {
		refuse(w, err)
		return
	}
	if !streamsList(r) {
		at, _ = strconv.Atoi(r.FormValue("resourceVersion"))
		initial = nil
	}
	tell(w, apiwatch.Added, initial...)
	switch {
	case at < since:
		write(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}`)
		return
	case streamsList(r) && !noBookmarks:
		tellEnd(w, at)
	}
	s.follow(w, r, at, cuts)
}

// follow tells what happens after a version.
func (s *apiServer) follow(w http.ResponseWriter, r *http.Request, at, cuts int) {
	for {
		s.mu.Lock()
		moved, cut := s.moved, s.cuts != cuts
		var news []happened
		if !s.held {
			news = slices.DeleteFunc(slices.Clone(s.history), func(h happened) bool { return h.version <= at || !isFor(r, h.key) })
			at = s.version
		}
		s.mu.Unlock()
		if cut {
			return
		}
		for _, h := range news {
			tell(w, h.kind, h.stored)
		}
		select {
		case <-moved:
		case <-r.Context().Done():
			return
		}
	}
}

// tell writes events of a watch.
func tell(w http.ResponseWriter, kind apiwatch.EventType, objects ...stored) {
	for _, object := range objects {
		write(w, fmt.Sprintf(`{"type":%q,"object":%s}`, kind, object))
	}
	_ = http.NewResponseController(w).Flush()
}

// tellEnd writes the bookmark behind all that is there.
func tellEnd(w http.ResponseWriter, version int) {
	write(w, fmt.Sprintf(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%d","annotations":{%q:"true"}}}}`, version, metav1.InitialEventsAnnotationKey))
}

// write writes a line, which is on its way when it returns.
func write(w http.ResponseWriter, line string) {
	_, _ = fmt.Fprintln(w, line)
	_ = http.NewResponseController(w).Flush()
}
