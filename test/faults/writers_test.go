package faults

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
)

// conflictsLast is how long other writers are at it.
const conflictsLast = 3 * time.Second

// Others change everything that the operator owns, and the custom resources themselves, as fast as they can. When they stop, all is
// as wanted, and no conflict was worth an error line.
func otherWriters(t *testing.T, p *plane) {
	namespace, chance := p.newNamespace(t), chance(t)
	operator := p.startOperator(t, namespace)
	p.createResources(t, namespace)
	last := anEdit(chance, edit{})
	p.settle(t, namespace, last)

	for range rounds {
		began := time.Now()
		busy, stop := context.WithTimeout(t.Context(), conflictsLast)
		var writers sync.WaitGroup
		var writes, conflicts atomic.Int32
		for _, write := range p.foreignWrites(namespace) {
			writers.Go(func() {
				for n := 0; busy.Err() == nil; n++ {
					err := write(busy, n)
					writes.Add(1)
					switch {
					case apierrors.IsConflict(err):
						conflicts.Add(1)
					case err != nil && busy.Err() == nil && !apierrors.IsNotFound(err):
						t.Errorf("another writer: %v", err)
						return
					}
				}
			})
		}
		last = anEdit(chance, last)
		eventually(t, "an edit is taken", func(ctx context.Context) error { return last.apply(ctx, p, namespace) })
		writers.Wait()
		stop()
		eventually(t, "all is as wanted", func(ctx context.Context) error { return last.inForce(ctx, p, namespace) })
		operator.running(t)
		t.Logf("%d writes of others, %d of them conflicts; %d writes of the operator, in %s",
			writes.Load(), conflicts.Load(), count(operator.requests(began), request.write), time.Since(began).Round(time.Millisecond))
		for _, text := range operator.errorLines(began) {
			if strings.Contains(text, "has been modified") || strings.Contains(text, "onflict") {
				t.Errorf("an error line for a conflict: %s", text)
			}
		}
	}
}

// foreignWrites are changes by other writers: fields of the operator's that it must put back, and fields of others that it must leave.
func (p *plane) foreignWrites(namespace string) []func(context.Context, int) error {
	apps, core, api := p.kube.AppsV1(), p.kube.CoreV1(), p.meshery.MesheryV1alpha1()
	note := func(n int) []byte {
		return fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/note":"%d"}}}`, n)
	}
	return []func(context.Context, int) error{
		func(ctx context.Context, n int) error {
			deployment, err := apps.Deployments(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			deployment.Spec.Replicas = new(int32(n % 4))
			deployment.Spec.Template.Spec.Containers[0].Env = nil
			_, err = apps.Deployments(namespace).Update(ctx, deployment, metav1.UpdateOptions{})
			return err
		},
		func(ctx context.Context, n int) error {
			statefulSet, err := apps.StatefulSets(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			statefulSet.Spec.Replicas = new(int32(n % 4))
			_, err = apps.StatefulSets(namespace).Update(ctx, statefulSet, metav1.UpdateOptions{})
			return err
		},
		func(ctx context.Context, n int) error {
			service, err := core.Services(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			service.Spec.Ports[0].Port = int32(5000 + n%100)
			_, err = core.Services(namespace).Update(ctx, service, metav1.UpdateOptions{})
			return err
		},
		func(ctx context.Context, _ int) error {
			return core.ConfigMaps(namespace).Delete(ctx, meshery.BrokerConfig(meshery.BrokerName), metav1.DeleteOptions{})
		},
		func(ctx context.Context, n int) error {
			_, err := api.Brokers(namespace).Patch(ctx, meshery.BrokerName, types.MergePatchType, note(n), metav1.PatchOptions{})
			return err
		},
		func(ctx context.Context, n int) error {
			_, err := api.MeshSyncs(namespace).Patch(ctx, meshery.MeshSyncName, types.MergePatchType, note(n), metav1.PatchOptions{})
			return err
		},
	}
}
