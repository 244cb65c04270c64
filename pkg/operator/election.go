package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery"
)

// Lease times are Kubernetes' own defaults: another operator takes over 15 s after a crash, at once after a clean exit.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leadInTurn waits for the lease, leads while it holds it, and releases it after the last write. It releases it itself: the elector
// would do so before the work has ended, and go on for another 10 s when the API server hangs.
func (o *operator) leadInTurn(ctx context.Context) error {
	identity, err := leaseIdentity()
	if err != nil {
		return err
	}
	o.setReady(nil)

	// The lease outlives the work.
	hold, letGo := context.WithCancel(context.WithoutCancel(ctx))
	defer letGo()
	work, stopWork := context.WithCancelCause(ctx)
	defer stopWork(nil)
	worked := make(chan error, 1)
	started := make(chan struct{})
	lock := &lease{
		Interface: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: o.options.Namespace, Name: meshery.OperatorName},
			Client:     o.clients.kube.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		held: started,
		lost: func() { stopWork(errLeaseLost) },
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          lock,
		Name:          meshery.OperatorName,
		LeaseDuration: leaseDuration,
		RenewDeadline: renewDeadline,
		RetryPeriod:   retryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				close(started)
				worked <- o.lead(work)
			},
			OnStoppedLeading: lock.lost,
		},
	})
	if err != nil {
		return fmt.Errorf("set up leader election: %w", err)
	}
	elected := make(chan struct{})
	go func() {
		defer close(elected)
		elector.Run(hold)
	}()

	var workErr error
	select {
	case <-ctx.Done(): // told to end
		select {
		case <-started:
			workErr = <-worked
		default:
		}
	case workErr = <-worked: // cannot work, or the lease was lost
	}
	lost := errors.Is(context.Cause(work), errLeaseLost)
	letGo()
	<-elected
	if lost {
		return errLeaseLost
	}
	lock.release(ctx)
	return workErr
}

// lease is a lock that tells at once when somebody else holds it. The elector would try to renew it for 10 s more.
type lease struct {
	resourcelock.Interface
	held <-chan struct{} // closed once we hold it
	lost func()
}

func (l *lease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	select {
	case <-l.held:
		if err == nil && record.HolderIdentity != "" && record.HolderIdentity != l.Identity() {
			l.lost()
		}
	default:
	}
	return record, raw, err
}

// release lets another operator lead at once, if it is ours. Nothing depends on it: a lease that is not released ends by itself.
func (l *lease) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryPeriod)
	defer cancel()
	record, _, err := l.Interface.Get(ctx)
	if err == nil {
		if record.HolderIdentity != l.Identity() {
			return
		}
		record.HolderIdentity, record.LeaseDurationSeconds, record.RenewTime = "", 1, metav1.Now()
		err = l.Update(ctx, *record)
	}
	if err != nil {
		klog.FromContext(ctx).Info("Could not release the lease, it ends by itself", "seconds", leaseDuration.Seconds(), "err", err)
	}
}

var errLeaseLost = errors.New("lost the leader-election lease: another operator leads now")

// leaseIdentity ends at random: pods in the network of one node have its host name and each begins with the same process id.
func leaseIdentity() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("leader election: %w", err)
	}
	return host + "_" + string(uuid.NewUUID()), nil
}
