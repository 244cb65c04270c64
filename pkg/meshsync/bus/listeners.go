package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"k8s.io/klog/v2"
)

const (
	lookForListeners = 5 * time.Second
	// askPatience is how long a server may take to say who listens.
	askPatience = 3 * time.Second
	// maxListeners is how many subscriptions a server is asked for. It lists them in no order, so that pages would not fit together.
	maxListeners = 4096
	maxAnswer    = 2 << 20
)

// ListenersOptions say where to ask, and for what.
type ListenersOptions struct {
	// Host and Port are where the broker's servers answer about themselves: an address, or a name of all of them.
	Host string
	Port int
	// Subject is what is listened to.
	Subject string
	// Interval is the pause between two looks. 0 is 5 s.
	Interval time.Duration
	// Lookup resolves Host. Nil is DNS.
	Lookup func(ctx context.Context, host string) (addresses []string, err error)
}

// Listener is a client's connection to one server of the broker. A client that connects again is another one.
type Listener struct {
	Server string // its id, a new one after each start
	Client uint64
}

// Listeners watches who listens to a subject, on all servers of a broker.
type Listeners struct {
	options ListenersOptions
	http    *http.Client
	known   map[string]map[Listener]bool // by the server's address; nil before the first answer
	failing bool                         // which was logged
}

// NewListeners makes a watch. Nothing is asked before Run.
func NewListeners(o ListenersOptions) *Listeners {
	if o.Interval == 0 {
		o.Interval = lookForListeners
	}
	if o.Lookup == nil {
		o.Lookup = net.DefaultResolver.LookupHost
	}
	return &Listeners{options: o, http: &http.Client{
		Transport:     &http.Transport{}, // no proxy: it is about the servers themselves
		Timeout:       askPatience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Run looks until ctx ends, and calls appeared whenever somebody listens who did not the last time. Those that it finds at first are not
// new.
func (l *Listeners) Run(ctx context.Context, appeared func(listeners []Listener)) {
	defer l.http.CloseIdleConnections()
	ticker := time.NewTicker(l.options.Interval)
	defer ticker.Stop()
	for {
		listeners, err := l.look(ctx)
		if ctx.Err() != nil {
			return
		}
		l.report(ctx, err)
		if len(listeners) > 0 {
			appeared(listeners)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look returns who is new. A server that does not answer keeps those that it had; whoever has left it meanwhile is new elsewhere.
func (l *Listeners) look(ctx context.Context) ([]Listener, error) {
	addresses, err := l.options.Lookup(ctx, l.options.Host)
	if err != nil {
		return nil, err
	}
	before, first := l.all(), l.known == nil
	now, errs := map[string]map[Listener]bool{}, []error{}
	for _, address := range addresses {
		listeners, err := l.ask(ctx, address)
		if err != nil {
			listeners = l.known[address]
			errs = append(errs, err)
		}
		now[address] = listeners
	}
	if len(errs) == len(addresses) {
		return nil, errors.Join(errs...)
	}
	l.known = now
	after := l.all()
	maps.DeleteFunc(after, func(listener Listener, _ bool) bool { return first || before[listener] })
	return slices.Collect(maps.Keys(after)), errors.Join(errs...)
}

// all returns who is known to listen. A server may have two addresses.
func (l *Listeners) all() map[Listener]bool {
	all := map[Listener]bool{}
	for _, listeners := range l.known {
		maps.Copy(all, listeners)
	}
	return all
}

// subsz is a server's answer to which subscriptions it has that match a subject. To /connz it would list all connections, with all
// that they listen to. A stream on the subject listens, too.
type subsz struct {
	Server        string `json:"server_id"`
	Total         int    `json:"total"`
	Subscriptions []struct {
		Client uint64 `json:"cid"`
	} `json:"subscriptions_list"`
}

// ask asks one server.
func (l *Listeners) ask(ctx context.Context, address string) (map[Listener]bool, error) {
	target := url.URL{
		Scheme: "http", Host: net.JoinHostPort(address, strconv.Itoa(l.options.Port)), Path: "/subsz",
		RawQuery: url.Values{"subs": {"1"}, "test": {l.options.Subject}, "limit": {strconv.Itoa(maxListeners)}}.Encode(),
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := l.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", target.Host, response.Status)
	}
	var answer subsz
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %w", target.Host, err)
	}
	if answer.Total > maxListeners {
		return nil, fmt.Errorf("%s has %d listeners, more than %d", target.Host, answer.Total, maxListeners)
	}
	listeners := map[Listener]bool{}
	for _, subscription := range answer.Subscriptions {
		listeners[Listener{answer.Server, subscription.Client}] = true
	}
	return listeners, nil
}

// report logs once that something fails, until nothing does.
func (l *Listeners) report(ctx context.Context, err error) {
	if err != nil && !l.failing {
		klog.FromContext(ctx).Info("Cannot see all who listen, will keep trying", "subject", l.options.Subject, "reason", err.Error())
	}
	l.failing = err != nil
}
