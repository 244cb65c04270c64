package raw

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

var configMaps = Scope{Resource: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}}

// serve starts an API server, which ends with the test, and returns a client of it.
func serve(t testing.TB, handle http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	client, err := NewForConfigAndClient(&rest.Config{Host: server.URL, QPS: -1}, server.Client())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func asItIs(event apiwatch.Event) apiwatch.Event { return event }

// status is what an API server answers when it refuses.
func status(w http.ResponseWriter, reason *apierrors.StatusError) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(reason.ErrStatus.Code))
	_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"message":"no","code":%d}`, reason.ErrStatus.Reason, reason.ErrStatus.Code)
}

func TestARefusalIsUnderstood(t *testing.T) {
	kind := schema.GroupResource{Resource: "configmaps"}
	tests := map[string]struct {
		reason *apierrors.StatusError
		is     func(error) bool
	}{
		"unauthorized":       {apierrors.NewUnauthorized(""), apierrors.IsUnauthorized},
		"forbidden":          {apierrors.NewForbidden(kind, "", nil), apierrors.IsForbidden},
		"not found":          {apierrors.NewNotFound(kind, ""), apierrors.IsNotFound},
		"gone":               {apierrors.NewResourceExpired(""), apierrors.IsResourceExpired},
		"invalid":            {apierrors.NewInvalid(schema.GroupKind{}, "", nil), apierrors.IsInvalid},
		"too many requests":  {apierrors.NewTooManyRequests("", 0), apierrors.IsTooManyRequests},
		"unavailable":        {apierrors.NewServiceUnavailable(""), apierrors.IsServiceUnavailable},
		"timeout":            {apierrors.NewTimeoutError("", 0), apierrors.IsTimeout},
		"what is not served": {apierrors.NewMethodNotSupported(kind, "watch"), apierrors.IsMethodNotSupported},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) { status(w, test.reason) })
			if _, err := client.List(t.Context(), configMaps, metav1.ListOptions{}, &taker{}); !test.is(err) {
				t.Errorf("a list: %v", err)
			}
			if _, err := client.Watch(t.Context(), configMaps, metav1.ListOptions{}, &taker{}, asItIs); !test.is(err) {
				t.Errorf("a watch: %v", err)
			}
		})
	}
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = fmt.Fprint(w, "<html>a proxy</html>")
	})
	if _, err := client.List(t.Context(), configMaps, metav1.ListOptions{}, &taker{}); !apierrors.IsTimeout(err) {
		t.Errorf("a proxy's words: %v", err)
	}
}

func TestWhatIsAskedFor(t *testing.T) {
	widgets := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	tests := map[string]struct {
		scope       Scope
		options     metav1.ListOptions
		list, watch string // path and query
		accept      string // of a watch
	}{
		"everywhere":       {Scope{Resource: configMaps.Resource}, metav1.ListOptions{}, "/api/v1/configmaps?", "/api/v1/configmaps?watch=true", "application/json"},
		"in a namespace":   {Scope{Resource: configMaps.Resource, Namespace: "demo"}, metav1.ListOptions{}, "/api/v1/namespaces/demo/configmaps?", "/api/v1/namespaces/demo/configmaps?watch=true", "application/json"},
		"of another group": {Scope{Resource: widgets, Namespace: "demo"}, metav1.ListOptions{}, "/apis/example.com/v1/namespaces/demo/widgets?", "/apis/example.com/v1/namespaces/demo/widgets?watch=true", "application/json"},
		"with selectors":   {Scope{Resource: configMaps.Resource}, metav1.ListOptions{LabelSelector: "a=b", FieldSelector: "c!=d"}, "/api/v1/configmaps?fieldSelector=c%21%3Dd&labelSelector=a%3Db", "/api/v1/configmaps?fieldSelector=c%21%3Dd&labelSelector=a%3Db&watch=true", "application/json"},
		"with all there is": {
			Scope{Resource: configMaps.Resource, MetadataOnly: true}, metav1.ListOptions{SendInitialEvents: new(true), AllowWatchBookmarks: true},
			"/api/v1/configmaps?allowWatchBookmarks=true&sendInitialEvents=true", "/api/v1/configmaps?allowWatchBookmarks=true&sendInitialEvents=true&watch=true",
			"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var asked, accepted []string
			client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked, accepted = append(asked, r.URL.Path+"?"+r.URL.RawQuery), append(accepted, r.Header.Get("Accept"))
				_, _ = fmt.Fprint(w, `{"items":[]}`)
			})
			if _, err := client.List(t.Context(), test.scope, test.options, &taker{}); err != nil {
				t.Fatal(err)
			}
			stream, err := client.Watch(t.Context(), test.scope, test.options, &taker{}, asItIs)
			if err != nil {
				t.Fatal(err)
			}
			stream.Stop()
			if want := []string{test.list, test.watch}; !slices.Equal(asked, want) {
				t.Errorf("asked for %q, want %q", asked, want)
			}
			lists := strings.Replace(test.accept, "PartialObjectMetadata;", "PartialObjectMetadataList;", 1)
			if want := []string{lists, test.accept}; !slices.Equal(accepted, want) {
				t.Errorf("accepts %q, want %q", accepted, want)
			}
		})
	}
}

// TestListsArePutTogether page by page.
func TestListsArePutTogether(t *testing.T) {
	item := func(name string) string { return fmt.Sprintf(`{"metadata":{"name":%q,"resourceVersion":"1"}}`, name) }
	page := func(next string, names ...string) string {
		var items []string
		for _, name := range names {
			items = append(items, item(name))
		}
		return fmt.Sprintf(`{"metadata":{"resourceVersion":"7","continue":%q},"items":[%s]}`, next, strings.Join(items, ","))
	}
	tests := map[string]struct {
		answers []string // "410" for that it came too late
		ended   error
		asked   []string
		taken   string
		kept    string
		is      func(error) bool
	}{
		"one page": {
			answers: []string{page("", "x", "y")}, asked: []string{"limit=2&resourceVersion=5"},
			taken: "begin x y end", kept: "x y",
		},
		"several": {
			answers: []string{page("a", "x"), page("b", "y"), page("", "z")},
			asked:   []string{"limit=2&resourceVersion=5", "continue=a&limit=2", "continue=b&limit=2"},
			taken:   "begin x y z end", kept: "x y z",
		},
		"the last is empty": {
			answers: []string{page("a", "x"), page("")}, asked: []string{"limit=2&resourceVersion=5", "continue=a&limit=2"},
			taken: "begin x end", kept: "x",
		},
		"one comes too late": {
			answers: []string{page("a", "x"), "410", page("", "y", "z")}, asked: []string{"limit=2&resourceVersion=5", "continue=a&limit=2", ""},
			taken: "begin x begin y z end", kept: "y z",
		},
		"the first comes too late": {
			answers: []string{"410"}, asked: []string{"limit=2&resourceVersion=5"}, taken: "begin", is: apierrors.IsResourceExpired,
		},
		"all of it comes too late, too": {
			answers: []string{page("a", "x"), "410", "410"}, asked: []string{"limit=2&resourceVersion=5", "continue=a&limit=2", ""},
			taken: "begin x begin", is: apierrors.IsResourceExpired,
		},
		"one breaks off": {
			answers: []string{page("a", "x"), page("b", "y", "z")[:70+len(item("y"))]}, asked: []string{"limit=2&resourceVersion=5", "continue=a&limit=2"},
			taken: "begin x y", is: func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) },
		},
		"it is not believed": {
			answers: []string{page("", "x")}, ended: apierrors.NewResourceExpired("too old"), asked: []string{"limit=2&resourceVersion=5"},
			taken: "begin x end", is: apierrors.IsResourceExpired,
		},
		"an object cannot be read": {
			answers: []string{page("", "x", "", "y")}, asked: []string{"limit=2&resourceVersion=5"}, taken: "begin x  y end", kept: "x y",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var asked []string
			client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.URL.RawQuery)
				switch answer := test.answers[len(asked)-1]; answer {
				case "410":
					status(w, apierrors.NewResourceExpired("too late"))
				default:
					_, _ = fmt.Fprint(w, answer)
				}
			})
			to := &taker{ended: test.ended}
			list, err := client.List(t.Context(), configMaps, metav1.ListOptions{Limit: 2, ResourceVersion: "5"}, to)
			if test.is == nil && err != nil || test.is != nil && !test.is(err) {
				t.Errorf("got %v", err)
			}
			if !slices.Equal(asked, test.asked) {
				t.Errorf("asked for %q", asked)
			}
			var taken, kept []string
			for _, text := range to.got {
				name, _, _ := strings.Cut(strings.TrimPrefix(text, `ADDED {"metadata":{"name":"`), `"`)
				taken = append(taken, strings.TrimSuffix(name, " 7"))
			}
			if got := strings.Join(taken, " "); got != test.taken {
				t.Errorf("took %q, want %q", got, test.taken)
			}
			if err != nil {
				return
			}
			for _, object := range list.Items {
				kept = append(kept, object.(*Object).Key)
			}
			if got := strings.Join(kept, " "); got != test.kept || list.ResourceVersion != "7" {
				t.Errorf("the informer gets %q of version %q", got, list.ResourceVersion)
			}
		})
	}
}

// TestStopLeavesNothing, also while an event waits to be taken, and while none comes.
func TestStopLeavesNothing(t *testing.T) {
	for name, many := range map[string]int{"while none comes": 0, "while some wait": ahead, "while more wait than may": 3 * ahead} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for i := range many {
					_, _ = fmt.Fprintf(w, `{"type":"ADDED","object":{"metadata":{"name":"%d"}}}`+"\n", i)
				}
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}))
			client, err := NewForConfigAndClient(&rest.Config{Host: server.URL}, server.Client())
			if err != nil {
				t.Fatal(err)
			}
			to, seen := &taker{}, make(chan struct{}, many)
			stream, err := client.Watch(t.Context(), configMaps, metav1.ListOptions{}, to, func(event apiwatch.Event) apiwatch.Event {
				seen <- struct{}{}
				return event
			})
			if err != nil {
				t.Fatal(err)
			}
			for range min(many, ahead+1) {
				<-seen
			}
			stream.Stop()
			stream.Stop() // as informers do
			taken := to.count()
			for range stream.ResultChan() { // what waits may be read, or not
			}
			server.Close()
			if err := goleak.Find(before); err != nil {
				t.Error(err)
			}
			if to.count() != taken {
				t.Error("something was handed over after the end")
			}
		})
	}
}

func TestAContextEndsAWatch(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := client.Watch(ctx, configMaps, metav1.ListOptions{}, &taker{}, asItIs)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if event, ok := <-stream.ResultChan(); ok {
		t.Errorf("got %v", event)
	}
	stream.Stop()
}

// TestAConnectionThatEndsIsAWatchThatEnds, which goes on from where it was.
func TestAConnectionThatEndsIsAWatchThatEnds(t *testing.T) {
	client := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	stream, err := client.Watch(t.Context(), configMaps, metav1.ListOptions{}, &taker{}, asItIs)
	if err != nil {
		t.Fatal(err)
	}
	if event, ok := <-stream.ResultChan(); ok {
		t.Errorf("got %v", event)
	}
	stream.Stop()
}
