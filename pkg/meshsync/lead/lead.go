package lead

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/klog/v2"
)

// Kubernetes' own defaults: another agent takes over 15 s after a crash, and within 2 s after a release.
const (
	defaultLeaseDuration = 15 * time.Second
	defaultRenewDeadline = 10 * time.Second
	defaultRetryPeriod   = 2 * time.Second
)

// Why a term, or a wait for one, is over.
var (
	errLost       = errors.New("the lease is not ours any more")
	errNotRenewed = errors.New("the lease was not renewed in time")
	errTryAgain   = errors.New("another agent leads")
)

// Options of a Leader.
type Options struct {
	Client          coordinationv1.LeasesGetter
	Namespace, Name string // of the Lease, and of the MeshSync
	Identity        string // of this agent; no other has it
	Metrics         prometheus.Registerer

	// Owner is that of the Lease, the MeshSync; nil while it is not known, or if the Lease is to stay when the MeshSync is deleted.
	Owner func(ctx context.Context) *metaac.OwnerReferenceApplyConfiguration

	// Another agent takes over when the lease was not renewed for LeaseDuration, in whole seconds. Who leads stops to when it was not for
	// RenewDeadline, and tries every RetryPeriod. 0 is Kubernetes' own default.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

func (o *Options) setDefaults() {
	o.LeaseDuration = cmp.Or(o.LeaseDuration, defaultLeaseDuration)
	o.RenewDeadline = cmp.Or(o.RenewDeadline, defaultRenewDeadline)
	o.RetryPeriod = cmp.Or(o.RetryPeriod, defaultRetryPeriod)
}

func (o *Options) owner(ctx context.Context) *metaac.OwnerReferenceApplyConfiguration {
	if o.Owner == nil {
		return nil
	}
	return o.Owner(ctx)
}

// Leader leads whenever it may.
type Leader struct {
	options Options
	lease   *lease
	elector *leaderelection.LeaderElector // nil where nobody else could lead

	candidate *Term // the next term or the one that is on; the elector's goroutine alone uses it

	mu     sync.Mutex
	term   *Term         // the one that is on; nil while this agent stands by
	begun  chan struct{} // closed while one is on
	tenure time.Time     // since when the lease had been held without interruption in the last term
	holder string        // of the lease, as far as it is known
	others chan struct{} // closed when somebody else is known to lead
}

// New makes the leader of an agent that may have others beside it. Nothing is asked for before Run.
func New(o Options) (*Leader, error) {
	o.setDefaults()
	l := newLeader(o)
	l.lease = newLease(l)
	var err error
	l.elector, err = leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: l.lease, Name: o.Name,
		LeaseDuration: o.LeaseDuration, RenewDeadline: o.RenewDeadline, RetryPeriod: o.RetryPeriod,
		// The lease tells both sooner and in order, and is released by Run: the elector would try to for a deadline more before it told.
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) {}, OnStoppedLeading: func() {}},
	})
	return l, err
}

// Always makes the leader of an agent that has no MeshSync and so no others beside it.
func Always(metrics prometheus.Registerer) *Leader {
	return newLeader(Options{Metrics: metrics})
}

func newLeader(o Options) *Leader {
	l := &Leader{options: o, begun: make(chan struct{}), others: make(chan struct{})}
	o.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "meshery", Subsystem: "meshsync", Name: "leading",
		Help: "1 while this agent leads: it publishes, the others of its MeshSync stand by.",
	}, func() float64 {
		if l.Leading() {
			return 1
		}
		return 0
	}))
	return l
}

// Run leads in turn with others until ctx ends, and then releases the lease. End ctx when everything is published: the term ends with it.
func (l *Leader) Run(ctx context.Context) {
	if l.elector == nil {
		l.leadAlone(ctx)
		return
	}
	if err := l.lease.apply(ctx); err != nil { // it is tried again when there is none
		klog.FromContext(ctx).Info("The lease cannot be prepared", "reason", err.Error())
	}
	for ctx.Err() == nil {
		l.stand(ctx)
	}
	if l.Holder() == l.options.Identity {
		l.lease.release(ctx)
	}
}

func (l *Leader) leadAlone(ctx context.Context) {
	ctx, term := l.newTerm(ctx)
	l.mu.Lock()
	l.begin(term)
	l.mu.Unlock()
	<-ctx.Done()
	l.end(term, nil)
}

// stand stands for one term, and leads if it gets it.
func (l *Leader) stand(ctx context.Context) {
	ctx, l.candidate = l.newTerm(ctx)
	defer l.end(l.candidate, errNotRenewed)
	// The elector logs each of its attempts; what is worth knowing is logged here.
	l.elector.Run(klog.NewContext(ctx, klog.Logger{}))
}

func (l *Leader) newTerm(ctx context.Context) (context.Context, *Term) {
	term := &Term{deadline: l.options.RenewDeadline}
	term.ctx, term.end = context.WithCancelCause(ctx)
	return term.ctx, term
}

// Wait returns the term that is on, or the next one when it begins; an error when ctx ends before.
func (l *Leader) Wait(ctx context.Context) (*Term, error) {
	for {
		term, begun := l.current()
		if term != nil {
			return term, nil
		}
		select {
		case <-begun:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (l *Leader) current() (term *Term, begun <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term, l.begun
}

// Leading tells whether this agent leads and nobody else can.
func (l *Leader) Leading() bool {
	term, _ := l.current()
	return term != nil && term.Valid()
}

// Standby is closed for good as soon as another agent is known to lead.
func (l *Leader) Standby() <-chan struct{} { return l.others }

// Replaced tells whether another agent holds the lease, as far as it is known.
func (l *Leader) Replaced() bool {
	holder := l.Holder()
	return holder != "" && holder != l.options.Identity
}

// Holder is the identity of who leads, as far as it is known; empty if nobody is known to.
func (l *Leader) Holder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder
}

// found is told whom the lease says to hold it.
func (l *Leader) found(holder string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setHolder(holder)
	candidate := l.candidate
	switch {
	case holder == l.options.Identity:
	case l.term != nil:
		l.finish(candidate, errLost) // the elector would try to renew it until the deadline
	case holder != "":
		// The elector waits for 1 to 2.2 retry periods, which is long when the lease is released meanwhile. The next round begins before.
		time.AfterFunc(l.options.RetryPeriod, func() { l.tryAgain(candidate) })
	}
}

// held is told that the lease was asked for at some time and given to this agent, and since when it has had it without interruption.
func (l *Leader) held(since, asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setHolder(l.options.Identity)
	since = since.Truncate(time.Microsecond) // all that the API server keeps
	l.candidate.renewed.Store(&asked)
	if l.term == nil && l.candidate.ctx.Err() == nil {
		l.candidate.Continued = since.Equal(l.tenure)
		l.tenure = since
		l.begin(l.candidate)
	}
}

func (l *Leader) setHolder(holder string) {
	if holder == l.holder {
		return
	}
	l.holder = holder
	if holder == "" || holder == l.options.Identity {
		return
	}
	klog.FromContext(l.candidate.ctx).Info("Another agent leads, standing by", "holder", holder)
	select {
	case <-l.others:
	default:
		close(l.others)
	}
}

func (l *Leader) begin(term *Term) {
	l.term = term
	close(l.begun)
	klog.FromContext(term.ctx).Info("Leading", "continued", term.Continued)
}

func (l *Leader) end(term *Term, reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish(term, reason)
}

func (l *Leader) tryAgain(candidate *Term) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != candidate {
		candidate.end(errTryAgain)
	}
}

// finish ends a term, unless it is over.
func (l *Leader) finish(term *Term, reason error) {
	term.end(reason)
	if l.term != term {
		return
	}
	l.term, l.begun = nil, make(chan struct{})
	klog.FromContext(term.ctx).Info("Not leading any more", "reason", context.Cause(term.ctx).Error())
}
