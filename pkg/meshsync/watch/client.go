package watch

import (
	"context"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/generated/clientset/versioned"
	"meshery.io/operator/pkg/generated/informers/externalversions"
	"meshery.io/operator/pkg/meshsync/watch/raw"
)

// requests are how an informer lists and watches. It gets every event of a watch as see returns it.
type requests interface {
	list(ctx context.Context, options metav1.ListOptions) (*raw.List, error)
	watch(ctx context.Context, options metav1.ListOptions, see func(apiwatch.Event) apiwatch.Event) (apiwatch.Interface, error)
}

// newInformer makes an informer, and a factory of its own for it so that it can be stopped alone: the generated one, which makes informers
// of any kind when it is told how. What the informer keeps is small; what is done with an object is the requests' matter.
func newInformer(of requests) (externalversions.SharedInformerFactory, cache.SharedIndexInformer) {
	listWatch := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return of.list(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
			return of.watch(ctx, options, func(event apiwatch.Event) apiwatch.Event { return event })
		},
	}
	factory := externalversions.NewSharedInformerFactory(nil, 0)
	informer := factory.InformerFor(&raw.Object{}, func(versioned.Interface, time.Duration) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformerWithOptions(listWatch, &raw.Object{}, cache.SharedIndexInformerOptions{})
	})
	return factory, informer
}

// direct asks the API server, with selectors, and hands everything that it sends to a handler.
type direct struct {
	client  *raw.Client
	scope   raw.Scope
	labels  string
	fields  string
	handler raw.Handler
}

func (d direct) list(ctx context.Context, options metav1.ListOptions) (*raw.List, error) {
	options.LabelSelector, options.FieldSelector = d.labels, d.fields
	return d.client.List(ctx, d.scope, options, d.handler)
}

func (d direct) watch(ctx context.Context, options metav1.ListOptions, see func(apiwatch.Event) apiwatch.Event) (apiwatch.Interface, error) {
	options.LabelSelector, options.FieldSelector = d.labels, d.fields
	return d.client.Watch(ctx, d.scope, options, d.handler, see)
}

// fresh asks for no list that is older than what was taken. An informer does not know of all of that: some came with a list that broke
// off, or was offered by an earlier watch. An older list would bring back for a moment what was deleted since.
type fresh struct {
	requests
	newest func() string
}

func (f fresh) list(ctx context.Context, options metav1.ListOptions) (*raw.List, error) {
	return f.requests.list(ctx, f.notOlder(options))
}

func (f fresh) watch(ctx context.Context, options metav1.ListOptions, see func(apiwatch.Event) apiwatch.Event) (apiwatch.Interface, error) {
	if raw.StreamsList(options) {
		options = f.notOlder(options)
	}
	return f.requests.watch(ctx, options, see)
}

func (f fresh) notOlder(options metav1.ListOptions) metav1.ListOptions {
	asked, newest := options.ResourceVersion, f.newest()
	if asked == "" || newest == "" { // the newest, or any
		return options
	}
	if asked == "0" || older(asked, newest) {
		options.ResourceVersion, options.ResourceVersionMatch = newest, metav1.ResourceVersionMatchNotOlderThan
	}
	return options
}

// patient asks for streaming lists in its own time, and for plain ones where streams are no good. An informer begins a stream that broke
// off anew at once, a hundred times a second; it waits for ever for the end of one that a server does not mark; and while connections
// are refused, or requests are too many, it waits for up to a minute without looking at ctx: who stops it would have to wait as long.
type patient struct {
	requests
	streams *streams
}

func newPatient(of requests) patient { return patient{of, &streams{}} }

// errPlainList is what an API server says that cannot stream lists. The informer then asks for a plain one.
var errPlainList = apierrors.NewInvalid(schema.GroupKind{}, "", nil)

func (p patient) list(ctx context.Context, options metav1.ListOptions) (*raw.List, error) {
	p.streams.leave()
	return p.requests.list(ctx, options)
}

func (p patient) watch(ctx context.Context, options metav1.ListOptions, see func(apiwatch.Event) apiwatch.Event) (apiwatch.Interface, error) {
	p.streams.leave()
	if !raw.StreamsList(options) {
		return p.requests.watch(ctx, options, see)
	}
	if p.streams.none.Load() || p.streams.brokeOff.Swap(false) {
		return nil, errPlainList
	}
	for {
		if err := p.streams.wait(ctx); err != nil {
			return nil, err
		}
		events, err := p.streams.follow(func(seeToo func(apiwatch.Event) apiwatch.Event) (apiwatch.Interface, error) {
			return p.requests.watch(ctx, options, func(event apiwatch.Event) apiwatch.Event { return see(seeToo(event)) })
		})
		if err == nil || !utilnet.IsConnectionRefused(err) && !apierrors.IsTooManyRequests(err) {
			return events, err
		}
	}
}

const (
	pauseFirst, pauseLast = 800 * time.Millisecond, 30 * time.Second // and up to twice that, as informers wait
	// pauseReset is how long it must have been quiet for all to be forgotten.
	pauseReset = 2 * time.Minute
	// endPatience is how long there may be nothing more of a streaming list, and no end of it either. By then it counts as an outage.
	endPatience = 40 * time.Second
)

// streams keeps streaming lists apart, ever further while they follow each other, and knows when plain ones are better. It has one user
// at a time.
type streams struct {
	last  time.Time
	delay wait.Backoff
	noEnd *time.Timer // of the last one

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

// leave gives up waiting for the end of the last one. What an informer asks for next says that it is over.
func (s *streams) leave() {
	if s.noEnd != nil {
		s.noEnd.Stop()
	}
}

// follow begins a streaming list and waits for its end. Without one the watch is ended, and the list counts as broken off.
func (s *streams) follow(begin func(see func(apiwatch.Event) apiwatch.Event) (apiwatch.Interface, error)) (apiwatch.Interface, error) {
	begun := make(chan apiwatch.Interface, 1)
	noEnd := time.AfterFunc(endPatience, func() {
		if s.brokeOff.Load() {
			s.none.Store(true)
			select {
			case events := <-begun:
				events.Stop()
			default: // it was stopped before
			}
		}
	})
	noEnd.Stop() // until it has begun
	s.brokeOff.Store(true)
	events, err := begin(func(event apiwatch.Event) apiwatch.Event {
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
	})
	if err != nil {
		s.brokeOff.Store(false)
		return nil, err
	}
	begun <- events
	s.noEnd = noEnd
	noEnd.Reset(endPatience)
	return events, nil
}

// endsList tells the bookmark behind all that is there.
func endsList(event apiwatch.Event) bool {
	if event.Type != apiwatch.Bookmark {
		return false
	}
	object, err := meta.Accessor(event.Object)
	return err == nil && object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}
