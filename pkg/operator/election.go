package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"meshery.io/operator/pkg/apis/meshery"
)

// Lease times are Kubernetes' own defaults: another operator takes over 15 s after a crash, at once after a clean exit.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leadInTurn waits for the lease, leads while it holds it, and releases it after the last write.
func (o *operator) leadInTurn(ctx context.Context) error {
	identity, err := leaseIdentity()
	if err != nil {
		return err
	}
	o.setReady(nil)

	// The lease outlives the work: it is released only when nothing writes any more.
	lease, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	work, stopWork := context.WithCancelCause(ctx)
	defer stopWork(nil)
	worked := make(chan error, 1)
	started := make(chan struct{})

	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: o.options.Namespace, Name: meshery.OperatorName},
			Client:     o.clients.kube.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		Name:            meshery.OperatorName,
		LeaseDuration:   leaseDuration,
		RenewDeadline:   renewDeadline,
		RetryPeriod:     retryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				close(started)
				worked <- o.lead(work)
			},
			OnStoppedLeading: func() { stopWork(errLeaseLost) },
		},
	})
	if err != nil {
		return fmt.Errorf("set up leader election: %w", err)
	}
	elected := make(chan struct{})
	go func() {
		defer close(elected)
		elector.Run(lease)
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
	release()
	<-elected
	if ctx.Err() == nil && workErr == nil {
		workErr = errLeaseLost
	}
	return workErr
}

var errLeaseLost = errors.New("lost the leader-election lease: another operator leads now")

func leaseIdentity() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("leader election: %w", err)
	}
	return fmt.Sprintf("%s_%d", host, os.Getpid()), nil
}
