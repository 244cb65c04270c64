package canary

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/meshsync/bus"
)

const (
	defaultInterval = time.Minute
	defaultPatience = 30 * time.Second
)

// Bus is what is needed of the connection to the broker.
type Bus interface {
	// Deliver sends messages and waits until the broker has handled them.
	Deliver(ctx context.Context, messages ...bus.Message) error
	Subscribe(subject, queue string, handle func(body []byte)) (stop func(), err error)
}

// Options of a Canary.
type Options struct {
	Bus                 Bus
	Subject             string // which nobody else uses
	Client              dynamic.Interface
	Namespace, MeshSync string // in and for which the object is written; without a MeshSync none is
	// Owner is that of the object, the MeshSync; nil while it is not known.
	Owner   func(ctx context.Context) *metaac.OwnerReferenceApplyConfiguration
	Leading func() bool // only then it is written on its own
	Metrics prometheus.Registerer

	Interval time.Duration // between two tries; 0 is a minute
	Patience time.Duration // that a try may take; 0 is 30 s
}

// Canary tries whether changes arrive.
type Canary struct {
	options Options
	metrics *metrics
	turn    chan struct{} // holds one element while a try is under way
	failing time.Time     // since when; zero if the last try was a success
}

// New makes a canary. Nothing is written before Run or Try.
func New(o Options) *Canary {
	o.Interval = cmp.Or(o.Interval, defaultInterval)
	o.Patience = cmp.Or(o.Patience, defaultPatience)
	return &Canary{options: o, metrics: newMetrics(o.Metrics), turn: make(chan struct{}, 1)}
}

// Run tries at each interval until ctx ends, while this agent leads.
func (c *Canary) Run(ctx context.Context) {
	if c.options.MeshSync == "" {
		return
	}
	ticker := time.NewTicker(c.options.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !c.options.Leading() {
			c.failing = time.Time{} // another agent finds out, and says so
			continue
		}
		_, err := c.Try(ctx)
		if ctx.Err() == nil {
			c.report(ctx, err)
		}
	}
}

// report logs when what is true changes.
func (c *Canary) report(ctx context.Context, err error) {
	logger := klog.FromContext(ctx)
	switch {
	case err != nil && c.failing.IsZero():
		c.failing = time.Now()
		logger.Info("Changes do not arrive", "reason", err.Error())
	case err == nil && !c.failing.IsZero():
		logger.Info("Changes arrive again", "after", time.Since(c.failing).Round(time.Second))
		c.failing = time.Time{}
	}
}

// Try writes the object and follows the change. It returns the stages that it has reached, in order, and a *Failure if that is not all.
func (c *Canary) Try(ctx context.Context) ([]Step, error) {
	if c.options.MeshSync == "" {
		return nil, errNoMeshSync
	}
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-c.turn }()
	patience, cancel := context.WithTimeout(ctx, c.options.Patience)
	defer cancel()
	steps, failed := c.newFlight().fly(patience)
	if ctx.Err() != nil { // nobody waits any more
		return steps, context.Cause(ctx)
	}
	c.metrics.count(steps, failed)
	if failed != nil {
		return steps, failed
	}
	return steps, nil
}

var errNoMeshSync = errors.New("an agent without a MeshSync has no namespace to write in")
