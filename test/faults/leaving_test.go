package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/test/controlplane"
)

// TestLeaving deletes an installation in every order. Each time nothing may be stuck, and nothing stay.
func TestLeaving(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.install(t)

	var orders sync.WaitGroup // the last order takes the CRDs away from all others
	for name, leave := range map[string]func(*testing.T, *plane, string, *operator){
		"MeshSync before Broker":       meshSyncFirst,
		"Broker before MeshSync":       brokerFirst,
		"both at one time":             bothAtOnce,
		"the operator's own namespace": ownNamespaceFirst,
		"the operator killed first":    operatorKilledFirst,
	} {
		orders.Add(1)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer orders.Done()
			namespace, operator := p.installation(t)
			leave(t, p, namespace, operator)
		})
	}
	orders.Add(1)
	t.Run("a namespace that the operator serves", func(t *testing.T) {
		t.Parallel()
		defer orders.Done()
		servedNamespaceFirst(t, p)
	})
	t.Run("the CRDs first", func(t *testing.T) {
		t.Parallel()
		namespace, operator := p.installation(t)
		orders.Wait()
		crdsFirst(t, p, namespace, operator)
	})
}

// installation is an operator with a Broker and a MeshSync that are well.
func (p *plane) installation(t *testing.T) (namespace string, operator *operator) {
	t.Helper()
	namespace = p.newNamespace(t)
	operator = p.startOperator(t, namespace)
	p.createResources(t, namespace)
	p.settle(t, namespace, anEdit(chance(t), edit{}))
	return namespace, operator
}

func meshSyncFirst(t *testing.T, p *plane, namespace string, operator *operator) {
	p.run(t, "delete", "meshsync", "-n", namespace, "--all", "--timeout=30s")
	await(t, "only what the Broker is made of is left", time.Second, func(ctx context.Context) error {
		return none(slices.DeleteFunc(p.left(ctx, t, namespace), func(line string) bool {
			return strings.Contains(line, "/"+meshery.BrokerName) || strings.Contains(line, "/"+meshery.BrokerTokenSecret(meshery.BrokerName))
		}))
	})
	p.run(t, "delete", "broker", "-n", namespace, "--all", "--timeout=30s")
	p.nothingLeftIn(t, namespace)
	operator.stop(t)
}

func brokerFirst(t *testing.T, p *plane, namespace string, operator *operator) {
	p.run(t, "delete", "broker", "-n", namespace, "--all", "--timeout=30s")
	eventually(t, "the MeshSync says that its Broker is gone", func(ctx context.Context) error {
		meshSync, _, err := p.meshSync(ctx, namespace)
		if err != nil {
			return err
		}
		if c := meta.FindStatusCondition(meshSync.Status.Conditions, v1alpha1.ConditionReady); c.Reason != v1alpha1.ReasonBrokerNotFound {
			return fmt.Errorf("Ready is %+v", c)
		}
		return nil
	})
	p.run(t, "delete", "meshsync", "-n", namespace, "--all", "--timeout=30s")
	p.nothingLeftIn(t, namespace)
	operator.stop(t)
}

func bothAtOnce(t *testing.T, p *plane, namespace string, operator *operator) {
	p.run(t, "delete", "meshsync,broker", "-n", namespace, "--all", "--timeout=30s")
	p.nothingLeftIn(t, namespace)
	operator.stop(t)
}

// servedNamespaceFirst takes everything from an operator that lives elsewhere.
func servedNamespaceFirst(t *testing.T, p *plane) {
	home, namespace := p.newNamespace(t), p.newNamespace(t)
	p.run(t, "create", "rolebinding", "-n", namespace, "served", "--clusterrole=meshery-operator-namespaced", "--serviceaccount="+home+":"+meshery.OperatorName)
	operator := p.startOperator(t, home, "--watch-namespaces="+home+","+namespace)
	p.createResources(t, namespace)
	p.settle(t, namespace, anEdit(chance(t), edit{}))
	began := time.Now()
	p.run(t, "delete", "namespace", namespace, "--timeout=60s")
	p.nothingLeftIn(t, namespace)
	requests := operator.requests(began)
	t.Logf("%d requests of the operator, %d of them writes, in %s", len(requests), count(requests, request.write), time.Since(began).Round(time.Millisecond))
	if writes := count(requests, request.write); writes > 60 {
		t.Errorf("%d writes while the namespace went", writes)
	}
	operator.stop(t)
}

// ownNamespaceFirst takes the operator's accounts and lease as well, and with them its permission to delete cluster-scoped objects.
// Those go with the CRDs, as the test of the CRDs shows, or by the next operator.
func ownNamespaceFirst(t *testing.T, p *plane, namespace string, _ *operator) {
	p.run(t, "delete", "namespace", namespace, "--timeout=60s")
	await(t, "at most cluster-scoped objects are left", time.Second, func(ctx context.Context) error { return none(p.leftInside(ctx, t, namespace)) })
}

// operatorKilledFirst has nobody to clean up. The next operator does, also what no owner reference ties to the MeshSync.
func operatorKilledFirst(t *testing.T, p *plane, namespace string, operator *operator) {
	operator.kill(t)
	p.run(t, "delete", "meshsync,broker", "-n", namespace, "--all", "--timeout=30s")
	await(t, "only cluster-scoped objects are left", time.Second, func(ctx context.Context) error { return none(p.leftInside(ctx, t, namespace)) })
	next := operator.again(t)
	p.nothingLeftIn(t, namespace)
	next.stop(t)
}

func crdsFirst(t *testing.T, p *plane, namespace string, operator *operator) {
	began := time.Now()
	p.run(t, "delete", "crd", "brokers.meshery.io", "meshsyncs.meshery.io", "--timeout=60s")
	p.nothingLeftIn(t, namespace)
	await(t, "nothing that an operator made is left anywhere", time.Second, func(ctx context.Context) error {
		left, err := controlplane.Labelled(ctx, p.config, meshery.LabelManagedBy+"="+meshery.OperatorName)
		if err != nil {
			return err
		}
		return none(left)
	})
	operator.running(t)
	t.Logf("gone after %s; %d requests of the operator", time.Since(began).Round(time.Millisecond), len(operator.requests(began)))

	// And back: the operator that was there all the time takes up the work.
	p.install(t)
	back := time.Now()
	p.createResources(t, namespace)
	p.settle(t, namespace, anEdit(chance(t), edit{}))
	operator.running(t)
	t.Logf("well again %s after the CRDs were back", time.Since(back).Round(time.Millisecond))
}

func (p *plane) nothingLeftIn(t *testing.T, namespace string) {
	t.Helper()
	await(t, "nothing is left", time.Second, func(ctx context.Context) error { return none(p.left(ctx, t, namespace)) })
}

// left is what an operator made for the resources of a namespace and is still there.
func (p *plane) left(ctx context.Context, t *testing.T, namespace string) []string {
	t.Helper()
	made, err := controlplane.Labelled(ctx, p.config, meshery.LabelOwnerNamespace+"="+namespace)
	if err != nil {
		return []string{err.Error()} // a CRD that is going, for a moment
	}
	return append(made, p.leftInside(ctx, t, namespace)...)
}

// leftInside is what of that is in the namespace itself.
func (p *plane) leftInside(ctx context.Context, t *testing.T, namespace string) []string {
	t.Helper()
	made, err := controlplane.Labelled(ctx, p.config, meshery.LabelManagedBy+"="+meshery.OperatorName)
	if err != nil {
		return []string{err.Error()}
	}
	return slices.DeleteFunc(made, func(line string) bool { return !strings.Contains(line, " "+namespace+"/") })
}

func none(left []string) error {
	if len(left) > 0 {
		return errors.New("left:\n" + strings.Join(left, "\n"))
	}
	return nil
}
