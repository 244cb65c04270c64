package operator

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

func TestWhatAnAgentIsToldOfItsBroker(t *testing.T) {
	const gi = 1 << 30
	quantity := func(text string) *resource.Quantity { return new(resource.MustParse(text)) }
	for name, test := range map[string]struct {
		broker     func(*v1alpha1.Broker)
		publishers int
		publishing v1alpha1.MeshSyncPublishing
		want       meshery.Delivery // but for Monitor
	}{
		"one server":    {func(*v1alpha1.Broker) {}, 1, v1alpha1.MeshSyncPublishing{}, meshery.Delivery{StreamReplicas: 1, StreamMaxBytes: gi / 4 * 3}},
		"two servers":   {func(b *v1alpha1.Broker) { b.Spec.Size = 2 }, 1, v1alpha1.MeshSyncPublishing{}, meshery.Delivery{StreamReplicas: 1, StreamMaxBytes: gi / 4 * 3}},
		"three servers": {func(b *v1alpha1.Broker) { b.Spec.Size = 3 }, 1, v1alpha1.MeshSyncPublishing{}, meshery.Delivery{StreamReplicas: 3, StreamMaxBytes: gi / 4 * 3}},
		"five servers":  {func(b *v1alpha1.Broker) { b.Spec.Size = 5 }, 1, v1alpha1.MeshSyncPublishing{}, meshery.Delivery{StreamReplicas: 3, StreamMaxBytes: gi / 4 * 3}},
		"three agents":  {func(*v1alpha1.Broker) {}, 3, v1alpha1.MeshSyncPublishing{}, meshery.Delivery{StreamReplicas: 1, StreamMaxBytes: gi / 4}},
		"more storage": {
			func(b *v1alpha1.Broker) { b.Spec.JetStream.MaxStorage = quantity("4Gi") }, 1, v1alpha1.MeshSyncPublishing{},
			meshery.Delivery{StreamReplicas: 1, StreamMaxBytes: 3 * gi},
		},
		"a volume": {
			func(b *v1alpha1.Broker) {
				b.Spec.JetStream.Storage = &v1alpha1.BrokerStorage{Size: resource.MustParse("1000k")}
			}, 1, v1alpha1.MeshSyncPublishing{},
			meshery.Delivery{StreamReplicas: 1, StreamMaxBytes: 450_000 / 4 * 3},
		},
		"without JetStream": {
			func(b *v1alpha1.Broker) { b.Spec.Size, b.Spec.JetStream.Enabled = 3, new(false) }, 1,
			v1alpha1.MeshSyncPublishing{BytesPerSecond: quantity("10Mi")}, meshery.Delivery{BytesPerSecond: 10 << 20},
		},
		"limits": {
			func(*v1alpha1.Broker) {}, 1, v1alpha1.MeshSyncPublishing{MessagesPerSecond: 100, BytesPerSecond: quantity("1.5k")},
			meshery.Delivery{MessagesPerSecond: 100, BytesPerSecond: 1500, StreamReplicas: 1, StreamMaxBytes: gi / 4 * 3},
		},
		"limits of 0": {
			func(*v1alpha1.Broker) {}, 1, v1alpha1.MeshSyncPublishing{BytesPerSecond: quantity("0")},
			meshery.Delivery{StreamReplicas: 1, StreamMaxBytes: gi / 4 * 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			options := DefaultOptions()
			test.want.Monitor = "meshery-broker-headless.meshery.svc.cluster.local:8222"
			if got := limited(deliveryTo(newBroker(test.broker), test.publishers, &options), test.publishing); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	stale := meshery.Delivery{MessagesPerSecond: 5, BytesPerSecond: 5, StreamReplicas: 3}
	if got := limited(stale, v1alpha1.MeshSyncPublishing{}); got != (meshery.Delivery{StreamReplicas: 3}) {
		t.Errorf("limits that were removed stay: %v", got)
	}
}

// deliveryOf is what an agent of the tests is told of a Broker in a namespace.
func deliveryOf(namespace, broker string, replicas int, maxBytes int64) meshery.Delivery {
	return meshery.Delivery{StreamReplicas: replicas, StreamMaxBytes: maxBytes, Monitor: broker + "-headless." + namespace + ".svc.cluster.local:8222"}
}

// wantDelivery waits until a MeshSync's agent is told that.
func wantDelivery(t *testing.T, namespace, name string, want meshery.Delivery) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is told %v", name, want), func(ctx context.Context) error {
		config, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Get(ctx, meshery.WatchListConfigMap(name), metav1.GetOptions{})
		if err != nil {
			return err
		}
		got, err := meshery.ParseDelivery(config.Data["delivery"])
		if err == nil && got != want {
			err = fmt.Errorf("it is told %v", got)
		}
		return err
	})
}

// No edit of what an agent follows while it runs touches its pods: neither one of the MeshSync nor one of its Broker, wherever that is.
func TestDeliveryEditsChangeOnlyTheConfigMap(t *testing.T) {
	t.Parallel()
	const gi = 1 << 30
	namespace, further := newNamespace(t), newNamespace(t)
	serve(t, further, namespace)
	both := func(o *Options) { o.WatchNamespaces = []string{namespace, further} }
	createBroker(t, further)
	agents := map[string]string{"here": further, "elsewhere": namespace} // and their namespaces
	for name, in := range agents {
		newNamedMeshSync(t, in, name, v1alpha1.MeshSyncSpec{Broker: v1alpha1.MeshSyncBroker{Native: v1alpha1.NativeBroker{Name: meshery.BrokerName, Namespace: further}}})
	}
	stop := startOperator(t, namespace, both)
	generations := map[string]int64{}
	for name, in := range agents {
		generations[name] = wantAgent(t, in, name, name+" is there", anyAgent).Generation
	}
	wantBoth := func(want meshery.Delivery) {
		t.Helper()
		for name, in := range agents {
			wantDelivery(t, in, name, want)
		}
	}
	wantBoth(deliveryOf(further, meshery.BrokerName, 1, gi/8*3)) // half of three quarters each
	written := len(mutations(t, namespace))

	patchBroker(t, further, `{"size":3}`)
	wantBoth(deliveryOf(further, meshery.BrokerName, 3, gi/8*3))
	patchBroker(t, further, `{"jetstream":{"maxStorage":"2Gi"}}`)
	wantBoth(deliveryOf(further, meshery.BrokerName, 3, gi/4*3))
	patchBroker(t, further, `{"jetstream":{"enabled":false}}`)
	wantBoth(deliveryOf(further, meshery.BrokerName, 0, 0))
	patchBroker(t, further, `{"size":1,"jetstream":null}`)
	wantBoth(deliveryOf(further, meshery.BrokerName, 1, gi/8*3))

	editMeshSync(t, namespace, "elsewhere", `{"publishing":{"messagesPerSecond":100,"bytesPerSecond":"10Mi"}}`)
	limited := deliveryOf(further, meshery.BrokerName, 1, gi/8*3)
	limited.MessagesPerSecond, limited.BytesPerSecond = 100, 10<<20
	wantDelivery(t, namespace, "elsewhere", limited)
	editMeshSync(t, namespace, "elsewhere", `{"publishing":{"messagesPerSecond":null}}`)
	limited.MessagesPerSecond = 0
	wantDelivery(t, namespace, "elsewhere", limited)
	editMeshSync(t, namespace, "elsewhere", `{"publishing":null}`)
	wantBoth(deliveryOf(further, meshery.BrokerName, 1, gi/8*3))

	for name, in := range agents {
		wantMeshSync(t, in, name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
		if after := wantAgent(t, in, name, name+" is there", anyAgent); after.Generation != generations[name] {
			t.Errorf("the Deployment was changed: %s", describeAgent(after))
		}
	}
	for _, write := range mutations(t, namespace)[written:] {
		if strings.Contains(write, "/deployments/") {
			t.Errorf("needless write: %s", write)
		}
	}
	wantNoWrites(t, namespace, stop, both)
}

// JetStream sets aside what a stream may hold, so that all agents of a Broker must have room in it. Who comes and goes is noticed by
// the others.
func TestMeshSyncsShareWhatTheirBrokerStores(t *testing.T) {
	t.Parallel()
	const all = 3 << 28
	namespace := newNamespace(t)
	for _, name := range []string{"b1", "b2"} {
		if _, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Create(t.Context(), &v1alpha1.Broker{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	on := func(broker string) v1alpha1.MeshSyncSpec {
		return v1alpha1.MeshSyncSpec{Broker: v1alpha1.MeshSyncBroker{Native: v1alpha1.NativeBroker{Name: broker}}}
	}
	newNamedMeshSync(t, namespace, "m1", on("b1"))
	stop := startOperator(t, namespace)
	wantDelivery(t, namespace, "m1", deliveryOf(namespace, "b1", 1, all))
	newNamedMeshSync(t, namespace, "m2", on("b1"))
	wantDelivery(t, namespace, "m2", deliveryOf(namespace, "b1", 1, all/2))
	wantDelivery(t, namespace, "m1", deliveryOf(namespace, "b1", 1, all/2))
	newNamedMeshSync(t, namespace, "m3", on("b1"))
	for _, name := range []string{"m1", "m2", "m3"} {
		wantDelivery(t, namespace, name, deliveryOf(namespace, "b1", 1, all/3))
	}
	editMeshSync(t, namespace, "m2", `{"broker":{"native":{"name":"b2"}}}`)
	wantDelivery(t, namespace, "m2", deliveryOf(namespace, "b2", 1, all))
	wantDelivery(t, namespace, "m1", deliveryOf(namespace, "b1", 1, all/2))
	wantDelivery(t, namespace, "m3", deliveryOf(namespace, "b1", 1, all/2))
	editMeshSync(t, namespace, "m3", `{"broker":{"native":null,"custom":{"url":"nats://b"}}}`)
	wantDelivery(t, namespace, "m3", meshery.Delivery{})
	wantDelivery(t, namespace, "m1", deliveryOf(namespace, "b1", 1, all))
	editMeshSync(t, namespace, "m2", `{"broker":{"native":{"name":"b1"}}}`)
	wantDelivery(t, namespace, "m1", deliveryOf(namespace, "b1", 1, all/2))
	if err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Delete(t.Context(), "m2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantDelivery(t, namespace, "m1", deliveryOf(namespace, "b1", 1, all))
	wantNoWrites(t, namespace, stop)
}

// An agent whose broker is not known at the moment stays as it is. Its limits are the spec's all the same.
func TestWhatIsToldOfABrokerStaysWhileItIsNotKnown(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	patchBroker(t, namespace, `{"size":3}`)
	createMeshSync(t, namespace)
	stop := startOperator(t, namespace)
	want := deliveryOf(namespace, meshery.BrokerName, 3, 3<<28)
	wantDelivery(t, namespace, meshery.MeshSyncName, want)

	editMeshSync(t, namespace, meshery.MeshSyncName, `{"broker":{"native":{"name":"another"}},"publishing":{"messagesPerSecond":3}}`)
	wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonBrokerNotFound)
	want.MessagesPerSecond = 3
	wantDelivery(t, namespace, meshery.MeshSyncName, want)
	// Nor does it matter that the list cannot be read.
	editMeshSync(t, namespace, meshery.MeshSyncName, `{"watch-list":{"data":{"whitelist":"nonsense"}},"publishing":{"messagesPerSecond":4}}`)
	want.MessagesPerSecond = 4
	wantDelivery(t, namespace, meshery.MeshSyncName, want)
	editMeshSync(t, namespace, meshery.MeshSyncName, `{"broker":null}`)
	wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWatchListInvalid)
	patchBroker(t, namespace, `{"size":1}`)
	want.StreamReplicas = 1
	wantDelivery(t, namespace, meshery.MeshSyncName, want)
	wantNoWrites(t, namespace, stop)
}
