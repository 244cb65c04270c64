package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// What the Kubebuilder operator leaves behind when this one takes over its custom resources.
const (
	// earlierBrokerFinalizer and earlierMeshSyncFinalizer would keep a resource from ever being deleted.
	earlierBrokerFinalizer   = "broker.meshery.io/finalizer"
	earlierMeshSyncFinalizer = "meshsync.meshery.io/finalizer"
	// earlierBroker is the name of its StatefulSet, and of the Service before it.
	earlierBroker = "meshery-nats"
)

// patcher is the part of a client that removeFinalizer needs.
type patcher[T any] interface {
	Patch(ctx context.Context, name string, kind types.PatchType, patch []byte, options metav1.PatchOptions, subresources ...string) (T, error)
}

// removeFinalizer takes one finalizer from a resource, if it is there. A resource that is being deleted may go by that.
func removeFinalizer[T metav1.Object](ctx context.Context, a *applier, kind string, live T, finalizer string, api patcher[T]) error {
	if !slices.Contains(live.GetFinalizers(), finalizer) {
		return nil
	}
	kept := slices.DeleteFunc(slices.Clone(live.GetFinalizers()), func(name string) bool { return name == finalizer })
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": live.GetResourceVersion(), // the list is replaced as a whole
		"finalizers":      kept,
	}})
	if err == nil {
		_, err = api.Patch(ctx, live.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: a.manager})
		err = ignoreNotFound(err)
		a.metrics.wrote(kind, err)
	}
	if err != nil {
		return fmt.Errorf("remove finalizer %s: %w", finalizer, err)
	}
	klog.FromContext(ctx).V(2).Info("Removed finalizer", "finalizer", finalizer)
	return nil
}

// earlierServers warns of NATS servers that the Kubebuilder operator made for the same Broker. They hold a load balancer and the
// connections of clients: when they go is for a person to say.
func (c *caches) earlierServers(broker *v1alpha1.Broker) []finding {
	key := cache.NewObjectName(broker.Namespace, earlierBroker).String()
	object, exists, _ := c.in(broker.Namespace).earlierBrokers.GetByKey(key) // an indexer cannot fail
	live, ok := object.(metav1.Object)
	if !exists || !ok || !metav1.IsControlledBy(live, broker) {
		return nil
	}
	return []finding{{v1alpha1.ReasonEarlierBroker, fmt.Sprintf(
		"The NATS servers of the earlier operator still run. When no client uses them any more: "+
			"kubectl delete -n %[1]s --ignore-not-found statefulset/%[2]s service/%[2]s service/%[2]s-headless configmap/%[2]s-config", broker.Namespace, earlierBroker)}}
}
