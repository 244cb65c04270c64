package faults

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"meshery.io/operator/pkg/apis/meshery"
)

// Somebody takes the lease while two operators take turns and there is work all the time: the one that leads stops at once, and the
// other begins when the lease is free, so that there is never a time in which both write.
func aLostLease(t *testing.T, p *plane) {
	namespace, chance := p.newNamespace(t), chance(t)
	leader := p.startOperator(t, namespace)
	p.createResources(t, namespace)
	last := anEdit(chance, edit{})
	p.settle(t, namespace, last)
	standby := p.startOperator(t, namespace)
	eventually(t, "the second operator stands by", func(context.Context) error {
		if !strings.Contains(standby.tail(10), "Attempting to acquire leader lease") {
			return errors.New(standby.tail(10))
		}
		return nil
	})

	for range rounds {
		busy, stopBusy := context.WithCancel(t.Context())
		edits := make(chan edit)
		began := time.Now()
		go func() {
			for busy.Err() == nil {
				last = anEdit(chance, last)
				_ = last.apply(busy, p, namespace)
			}
			edits <- last
		}()
		eventually(t, "the leader writes", func(context.Context) error {
			if count(leader.requests(began), request.write) == 0 {
				return errors.New("nothing was written")
			}
			return nil
		})
		taken := time.Now()
		p.takeLease(t, namespace)
		words := leader.awaitEnd(t, 5*time.Second)
		ended := time.Now()
		if !strings.Contains(words, "lost the leader-election lease") {
			t.Errorf("last words: %s", words)
		}
		eventually(t, "the other operator writes", func(context.Context) error {
			if count(standby.requests(taken), request.write) == 0 {
				return errors.New("nothing was written")
			}
			return nil
		})
		stopBusy()
		last = <-edits
		p.settle(t, namespace, last)

		lastWrite, firstWrite := time.Time{}, time.Now()
		for _, r := range leader.requests(began) {
			if r.write() {
				lastWrite = r.at
			}
		}
		for _, r := range standby.requests(taken) {
			if r.write() && r.at.Before(firstWrite) {
				firstWrite = r.at
			}
		}
		t.Logf("the leader ended %s after the lease was taken; its last write was %s before the other's first",
			ended.Sub(taken).Round(time.Millisecond), firstWrite.Sub(lastWrite).Round(time.Millisecond))
		if lastWrite.IsZero() || !lastWrite.Before(firstWrite) {
			t.Errorf("the old leader's last write was at %s, the new one's first at %s", lastWrite, firstWrite)
		}
		leader, standby = standby, leader.again(t)
	}
}

// takeLease is what an operator does that thinks it leads. It holds the lease for some seconds.
func (p *plane) takeLease(t *testing.T, namespace string) {
	t.Helper()
	leases := p.kube.CoordinationV1().Leases(namespace)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		lease, err := leases.Get(t.Context(), meshery.OperatorName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now := metav1.NowMicro()
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new("somebody-else"), new(int32(4))
		lease.Spec.AcquireTime, lease.Spec.RenewTime = &now, &now
		_, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
