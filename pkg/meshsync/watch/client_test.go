package watch

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"meshery.io/operator/pkg/meshsync/watch/raw"
)

// answers are what watches are answered with, one after the other, and when they were asked for.
type answers struct {
	errs  []error
	asked []time.Time
}

func (a *answers) watch(context.Context, metav1.ListOptions, func(apiwatch.Event) apiwatch.Event) (apiwatch.Interface, error) {
	a.asked = append(a.asked, time.Now())
	if n := len(a.asked); n <= len(a.errs) && a.errs[n-1] != nil {
		return nil, a.errs[n-1]
	}
	return apiwatch.NewFake(), nil
}

func (*answers) list(context.Context, metav1.ListOptions) (*raw.List, error) { return nil, nil }

// asItIs sees nothing in an event.
func asItIs(event apiwatch.Event) apiwatch.Event { return event }

func TestStreamingListsKeepApart(t *testing.T) {
	refused, tooMany := fmt.Errorf("dial: %w", syscall.ECONNREFUSED), apierrors.NewTooManyRequests("later", 0)
	streaming := metav1.ListOptions{SendInitialEvents: new(true)}
	begin := func(t *testing.T, client patient) error {
		stream, err := client.watch(t.Context(), streaming, asItIs)
		if err == nil {
			stream.Stop()
		}
		return err
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		server := &answers{errs: []error{refused, tooMany, refused, tooMany, nil}}
		client := patient{server, &streams{}}
		if err := begin(t, client); err != nil || len(server.asked) != 5 {
			t.Fatalf("%v after %d attempts", err, len(server.asked))
		}
		if !server.asked[0].Equal(began) {
			t.Errorf("the first one began after %s", server.asked[0].Sub(began))
		}
		for i, least := range []time.Duration{800 * time.Millisecond, 1600 * time.Millisecond, 3200 * time.Millisecond, 6400 * time.Millisecond} {
			if gap := server.asked[i+1].Sub(server.asked[i]); gap < least || gap > 2*least {
				t.Errorf("attempt %d came %s after the one before, want %s to %s", i+2, gap, least, 2*least)
			}
		}
		// One that broke off is not begun again at once: first a plain list is asked for.
		if err := begin(t, client); !apierrors.IsInvalid(err) {
			t.Errorf("after a stream that broke off: %v; an informer lists plainly only after Invalid", err)
		}
		before := time.Now()
		if err := begin(t, client); err != nil || time.Since(before) < 10*time.Second {
			t.Errorf("the next one began after %s: %v", time.Since(before), err)
		}
		// After a while all is forgotten. That a list takes long says nothing of streams.
		if _, err := client.list(t.Context(), metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		pass(pauseReset + time.Second)
		client.streams.brokeOff.Store(false)
		before = time.Now()
		if err := begin(t, client); err != nil || time.Since(before) > 0 {
			t.Errorf("much later one began after %s: %v", time.Since(before), err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		server := &answers{errs: []error{refused, refused, refused, refused, refused, refused}}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := (patient{server, &streams{}}).watch(ctx, streaming, asItIs); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 15*time.Second {
			t.Errorf("ended after %s, %v", time.Since(began), err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		server := &answers{errs: []error{refused}}
		client := patient{server, &streams{}}
		if _, err := client.watch(t.Context(), metav1.ListOptions{}, asItIs); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a watch that goes on: %v; its informer is to know", err)
		}
	})
}

// told is an API server with one stream, which may begin before a watch knows that it was accepted.
type told struct {
	*answers
	tell func(see func(apiwatch.Event), ended <-chan struct{}) // until there is no more
}

func (o told) watch(_ context.Context, _ metav1.ListOptions, see func(apiwatch.Event) apiwatch.Event) (apiwatch.Interface, error) {
	stream := apiwatch.NewProxyWatcher(make(chan apiwatch.Event))
	go func() {
		o.tell(func(event apiwatch.Event) { see(event) }, stream.StopChan())
		stream.Stop()
	}()
	synctest.Wait()
	return stream, nil
}

func TestWhereStreamsAreNoGoodListsArePlain(t *testing.T) {
	streaming := metav1.ListOptions{SendInitialEvents: new(true)}
	object := apiwatch.Event{Type: apiwatch.Added, Object: state("x a 1")}
	bookmark := func(annotations map[string]string) apiwatch.Event {
		return apiwatch.Event{Type: apiwatch.Bookmark, Object: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}}
	}
	end := bookmark(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	rest := func(d time.Duration, ended <-chan struct{}) {
		select {
		case <-time.After(d):
		case <-ended:
		}
	}
	// play returns when the stream has ended, with what an informer would have got.
	play := func(t *testing.T, tell func(see func(apiwatch.Event), ended <-chan struct{})) (client patient, heard []apiwatch.Event) {
		t.Helper()
		client = patient{told{&answers{}, tell}, &streams{}}
		stream, err := client.watch(t.Context(), streaming, func(event apiwatch.Event) apiwatch.Event {
			heard = append(heard, event)
			return event
		})
		if err != nil {
			t.Fatal(err)
		}
		<-stream.(*apiwatch.ProxyWatcher).StopChan()
		synctest.Wait()
		return client, heard
	}
	// plain does what an informer does, whose lists, when they are not streamed, follow at once.
	plain := func(t *testing.T, client patient) bool {
		stream, err := client.watch(t.Context(), streaming, asItIs)
		if err == nil {
			stream.Stop()
		}
		if _, err := client.list(t.Context(), metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		return apierrors.IsInvalid(err)
	}
	tests := map[string]struct {
		tell        func(see func(apiwatch.Event), ended <-chan struct{})
		once, again bool // the next list is plain, and the one after it
	}{
		"a list that came to its end": {func(see func(apiwatch.Event), ended <-chan struct{}) {
			see(object)
			see(end)
			rest(time.Hour, ended)
		}, false, false},
		"a list that broke off": {func(see func(apiwatch.Event), _ <-chan struct{}) { see(object) }, true, false},
		"a list that is slow": {func(see func(apiwatch.Event), ended <-chan struct{}) {
			for range 10 {
				see(object)
				rest(endPatience-time.Second, ended)
			}
			see(end)
		}, false, false},
		"a server that does not mark the end": {func(see func(apiwatch.Event), ended <-chan struct{}) {
			see(object)
			see(bookmark(nil))
			<-ended
		}, true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, _ := play(t, test.tell)
				if got := plain(t, client); got != test.once {
					t.Errorf("the next list is plain: %v", got)
				}
				pass(time.Hour)
				client.streams.brokeOff.Store(false)
				if got := plain(t, client); got != test.again {
					t.Errorf("the one after it is plain: %v", got)
				}
			})
		})
	}
	t.Run("too many requests in a stream are not waited for by the informer, who cannot be stopped then", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, heard := play(t, func(see func(apiwatch.Event), _ <-chan struct{}) {
				see(apiwatch.Event{Type: apiwatch.Error, Object: &apierrors.NewTooManyRequests("later", 1).ErrStatus})
			})
			if len(heard) != 1 || !apierrors.IsServiceUnavailable(apierrors.FromObject(heard[0].Object)) {
				t.Errorf("heard %v", heard)
			}
			pass(time.Hour)
		})
	})
}
