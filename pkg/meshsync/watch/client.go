package watch

import (
	"context"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	watchlistclient "k8s.io/client-go/util/watchlist"
)

// client is a dynamic client for one informer. It lists and watches by means of objects, and is patient.
type client struct {
	dynamic.Interface
	objects func(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface
	streams *streams
}

func newClient(of dynamic.Interface, objects func(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface) client {
	return client{of, objects, &streams{}}
}

// patientClient lists and watches as it always does, and is patient.
func patientClient(of dynamic.Interface) client {
	return newClient(of, func(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
		return of.Resource(resource).Namespace(namespace)
	})
}

func (c client) Resource(resource schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return kindClient{c.Interface.Resource(resource), func(namespace string) dynamic.ResourceInterface {
		return patient{c.objects(resource, namespace), c.streams}
	}}
}

// IsWatchListSemanticsUnSupported is what client-go asks a client: a fake one cannot stream lists.
func (c client) IsWatchListSemanticsUnSupported() bool {
	return watchlistclient.DoesClientNotSupportWatchListSemantics(c.Interface)
}

type kindClient struct {
	dynamic.NamespaceableResourceInterface
	objects func(namespace string) dynamic.ResourceInterface
}

func (k kindClient) Namespace(namespace string) dynamic.ResourceInterface {
	return k.objects(namespace)
}

// patient asks for streaming lists in its own time, and for plain ones where streams are no good. An informer begins a stream that broke
// off anew at once, a hundred times a second; it waits for ever for the end of one that a server does not mark; and while connections
// are refused, or requests are too many, it waits for up to a minute without looking at ctx: who stops it would have to wait as long.
type patient struct {
	dynamic.ResourceInterface
	streams *streams
}

// errPlainList is what an API server says that cannot stream lists. The informer then asks for a plain one.
var errPlainList = apierrors.NewInvalid(schema.GroupKind{}, "", nil)

func (p patient) Watch(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
	if !streamsList(options) {
		return p.ResourceInterface.Watch(ctx, options)
	}
	if p.streams.none.Load() || p.streams.brokeOff.Swap(false) {
		return nil, errPlainList
	}
	for {
		if err := p.streams.wait(ctx); err != nil {
			return nil, err
		}
		events, err := p.ResourceInterface.Watch(ctx, options)
		switch {
		case err == nil:
			return p.streams.follow(events), nil
		case !utilnet.IsConnectionRefused(err) && !apierrors.IsTooManyRequests(err):
			return nil, err
		}
	}
}

// streamsList tells a watch that begins with all that is there.
func streamsList(options metav1.ListOptions) bool {
	return options.SendInitialEvents != nil && *options.SendInitialEvents
}

const (
	pauseFirst, pauseLast = 800 * time.Millisecond, 30 * time.Second // and up to twice that, as informers wait
	// pauseReset is how long it must have been quiet for all to be forgotten.
	pauseReset = 2 * time.Minute
	// endPatience is how long there may be nothing more of a streaming list, and no end of it either.
	endPatience = 30 * time.Second
)

// streams keeps streaming lists apart, ever further while they follow each other, and knows when plain ones are better. It has one user
// at a time.
type streams struct {
	last  time.Time
	delay wait.Backoff

	brokeOff atomic.Bool // the last one, before its end
	none     atomic.Bool // the server does not mark their end
}

func (s *streams) wait(ctx context.Context) error {
	next := time.Now()
	if next.Sub(s.last) > pauseReset {
		s.delay = wait.Backoff{Duration: pauseFirst, Factor: 2, Jitter: 1, Steps: int(pauseLast / pauseFirst), Cap: pauseLast}
	} else {
		next = s.last.Add(s.delay.Step())
	}
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select {
	case <-timer.C:
		s.last = time.Now()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow waits for the end of a streaming list. Without one the watch is ended, and the list counts as broken off.
func (s *streams) follow(events apiwatch.Interface) apiwatch.Interface {
	s.brokeOff.Store(true)
	var list atomic.Pointer[stream]
	noEnd := time.AfterFunc(endPatience, func() {
		select {
		case <-list.Load().over:
		default:
			s.none.Store(true)
			events.Stop()
		}
	})
	list.Store(through(events, func(event apiwatch.Event) apiwatch.Event {
		switch {
		case !s.brokeOff.Load(): // the list is over, these are changes
		case endsList(event):
			noEnd.Stop()
			s.brokeOff.Store(false)
		case event.Type == apiwatch.Error && apierrors.IsTooManyRequests(apierrors.FromObject(event.Object)):
			event.Object = &apierrors.NewServiceUnavailable(apierrors.FromObject(event.Object).Error()).ErrStatus
		default:
			noEnd.Reset(endPatience)
		}
		return event
	}))
	return list.Load()
}

// endsList tells the bookmark behind all that is there.
func endsList(event apiwatch.Event) bool {
	if event.Type != apiwatch.Bookmark {
		return false
	}
	object, err := meta.Accessor(event.Object)
	return err == nil && object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}
