package lead

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationac "k8s.io/client-go/applyconfigurations/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery"
)

// fieldManager owns what the agent says of its Lease besides who holds it.
const fieldManager = "meshsync"

// lease is the lock that the elector works with. It tells the leader what becomes of it. The elector has one request under way at a time.
type lease struct {
	resourcelock.Interface
	leader   *Leader
	patience time.Duration // how long a request may take: a renewal must have more than one try
	failure  string        // the one that was logged
}

func newLease(l *Leader) *lease {
	return &lease{leader: l, patience: l.options.RenewDeadline / 2, Interface: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: l.options.Namespace, Name: l.options.Name},
		Client:     l.options.Client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: l.options.Identity},
	}}
}

// Get reads the lease.
func (l *lease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	record, raw, err := l.Interface.Get(ctx)
	if err == nil {
		l.leader.found(record.HolderIdentity)
	}
	l.report(err)
	return record, raw, err
}

// Create makes the lease by server-side apply, because a right to create objects of one name only covers nothing else, and takes it if
// nobody was faster.
func (l *lease) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if err := l.apply(ctx); err != nil {
		l.report(err)
		return err
	}
	present, _, err := l.Get(ctx)
	if err != nil {
		return err
	}
	if present.HolderIdentity != "" {
		return fmt.Errorf("%s has made it", present.HolderIdentity)
	}
	return l.Update(ctx, record)
}

// apply makes the lease, held by nobody, if it is not there, and says whose it is.
func (l *lease) apply(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	o := l.leader.options
	wanted := coordinationac.Lease(o.Name, o.Namespace).WithLabels(map[string]string{
		meshery.LabelApp:       meshery.AppMeshSync,
		meshery.LabelComponent: meshery.ComponentMeshSync,
		meshery.LabelInstance:  o.Name,
		meshery.LabelManagedBy: meshery.AppMeshSync,
		meshery.LabelPartOf:    meshery.PartOfMeshery,
	})
	if owner := o.owner(ctx); owner != nil {
		wanted.WithOwnerReferences(owner)
	}
	_, err := o.Client.Leases(o.Namespace).Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

// Update takes or renews the lease, unless somebody has changed it since it was read.
func (l *lease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	asked := time.Now()
	err := l.Interface.Update(ctx, record)
	if err == nil {
		l.leader.held(record.AcquireTime.Time, asked)
	}
	l.report(err)
	return err
}

// releasePatience is how long an agent that ends waits for the API server: what it does not release ends by itself.
const releasePatience = time.Second

// release lets another agent lead at once, if the lease is ours. Nothing depends on it: one that is not released ends by itself.
func (l *lease) release(ctx context.Context) {
	o := l.leader.options
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releasePatience)
	defer cancel()
	record, _, err := l.Interface.Get(ctx)
	if err == nil {
		if record.HolderIdentity != o.Identity {
			return
		}
		record.HolderIdentity, record.LeaseDurationSeconds, record.RenewTime = "", 1, metav1.Now()
		err = l.Interface.Update(ctx, *record)
	}
	if err != nil {
		klog.FromContext(ctx).Info("Could not release the lease, it ends by itself", "seconds", o.LeaseDuration.Seconds(), "reason", err.Error())
	}
}

// report logs a failure of the API server once, until something succeeds.
func (l *lease) report(err error) {
	ctx := l.leader.candidate.ctx
	switch {
	case err == nil:
		l.failure = ""
	case ctx.Err() != nil, apierrors.IsNotFound(err), apierrors.IsConflict(err), err.Error() == l.failure:
	default:
		l.failure = err.Error()
		klog.FromContext(ctx).Info("The lease cannot be read or written, will retry", "reason", err.Error())
	}
}
