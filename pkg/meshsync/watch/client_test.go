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
	"k8s.io/client-go/dynamic"
)

// answers are what watches are answered with, one after the other, and when they were asked for.
type answers struct {
	dynamic.ResourceInterface
	errs  []error
	asked []time.Time
}

func (a *answers) Watch(context.Context, metav1.ListOptions) (apiwatch.Interface, error) {
	a.asked = append(a.asked, time.Now())
	if n := len(a.asked); n <= len(a.errs) && a.errs[n-1] != nil {
		return nil, a.errs[n-1]
	}
	return apiwatch.NewFake(), nil
}

func TestStreamingListsKeepApart(t *testing.T) {
	refused, tooMany := fmt.Errorf("dial: %w", syscall.ECONNREFUSED), apierrors.NewTooManyRequests("later", 0)
	streaming := metav1.ListOptions{SendInitialEvents: new(true)}
	begin := func(t *testing.T, client patient) error {
		stream, err := client.Watch(t.Context(), streaming)
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
		// After a while all is forgotten.
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
		if _, err := (patient{server, &streams{}}).Watch(ctx, streaming); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 15*time.Second {
			t.Errorf("ended after %s, %v", time.Since(began), err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		server := &answers{errs: []error{refused}}
		client := patient{server, &streams{}}
		if _, err := client.Watch(t.Context(), metav1.ListOptions{}); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a watch that goes on: %v; its informer is to know", err)
		}
	})
}

// events is an API server with one stream.
type events struct {
	dynamic.ResourceInterface
	stream *apiwatch.RaceFreeFakeWatcher
}

func (e events) Watch(context.Context, metav1.ListOptions) (apiwatch.Interface, error) {
	return e.stream, nil
}

func TestWhereStreamsAreNoGoodListsArePlain(t *testing.T) {
	streaming := metav1.ListOptions{SendInitialEvents: new(true)}
	end := configMap("", "", "", "7")
	end.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	play := func(t *testing.T, tell func(*apiwatch.RaceFreeFakeWatcher)) (client patient, heard []apiwatch.Event) {
		t.Helper()
		server := events{stream: apiwatch.NewRaceFreeFake()}
		client = patient{server, &streams{}}
		stream, err := client.Watch(t.Context(), streaming)
		if err != nil {
			t.Fatal(err)
		}
		go tell(server.stream)
		for event := range stream.ResultChan() {
			heard = append(heard, event)
		}
		stream.Stop()
		return client, heard
	}
	plain := func(t *testing.T, client patient) bool {
		stream, err := client.Watch(t.Context(), streaming)
		if err == nil {
			stream.Stop()
		}
		return apierrors.IsInvalid(err)
	}
	tests := map[string]struct {
		tell        func(*apiwatch.RaceFreeFakeWatcher)
		once, again bool // the next list is plain, and the one after it
	}{
		"a list that came to its end": {func(w *apiwatch.RaceFreeFakeWatcher) {
			w.Add(configMap("demo", "x", "a", "1"))
			w.Action(apiwatch.Bookmark, end)
			<-time.After(time.Hour)
			w.Stop()
		}, false, false},
		"a list that broke off": {func(w *apiwatch.RaceFreeFakeWatcher) {
			w.Add(configMap("demo", "x", "a", "1"))
			w.Stop()
		}, true, false},
		"a list that is slow": {func(w *apiwatch.RaceFreeFakeWatcher) {
			for range 10 {
				w.Add(configMap("demo", "x", "a", "1"))
				<-time.After(endPatience - time.Second)
			}
			w.Action(apiwatch.Bookmark, end)
			w.Stop()
		}, false, false},
		"a server that does not mark the end": {func(w *apiwatch.RaceFreeFakeWatcher) {
			w.Add(configMap("demo", "x", "a", "1"))
			w.Action(apiwatch.Bookmark, configMap("", "", "", "7"))
		}, true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, _ := play(t, test.tell)
				pass(time.Hour)
				if got := plain(t, client); got != test.once {
					t.Errorf("the next list is plain: %v", got)
				}
				client.streams.brokeOff.Store(false)
				if got := plain(t, client); got != test.again {
					t.Errorf("the one after it is plain: %v", got)
				}
			})
		})
	}
	t.Run("too many requests in a stream are not waited for by the informer, who cannot be stopped then", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, heard := play(t, func(w *apiwatch.RaceFreeFakeWatcher) {
				w.Error(&apierrors.NewTooManyRequests("later", 1).ErrStatus)
				w.Stop()
			})
			if len(heard) != 1 || !apierrors.IsServiceUnavailable(apierrors.FromObject(heard[0].Object)) {
				t.Errorf("heard %v", heard)
			}
			pass(time.Hour)
		})
	})
}
