package operator

import (
	"context"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// cacheCollector counts what stands in the caches when it is asked. The informers of several namespaces are one series per kind.
//
// client-go 0.37 has metrics of its own for informers, which do not do here: one provider per process, that cannot be taken back;
// one series per resource, while the operator has an informer per served namespace; and none for metadata informers. Those for
// reflectors are not filled any more.
type cacheCollector struct {
	caches atomic.Pointer[caches]

	objects, synced, version, resources *prometheus.Desc
}

func newCacheCollector() cacheCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(metricsPrefix, "", name), help, labels, nil)
	}
	return cacheCollector{
		objects: desc("informer_objects", "Objects in the caches, by kind.", "kind"),
		synced:  desc("informer_synced", "1 when the caches of a kind have been filled.", "kind"),
		version: desc("informer_resource_version", "The newest resource version that the watches of a kind have seen.", "kind"),
		resources: desc("resources", "Custom resources by kind and by the status of their Ready condition (True, False, Unknown).",
			"kind", "ready"),
	}
}

func (c *cacheCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.objects, c.synced, c.version, c.resources} {
		descs <- desc
	}
}

func (c *cacheCollector) Collect(metrics chan<- prometheus.Metric) {
	caches := c.caches.Load()
	if caches == nil {
		return // this operator stands by
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for kind, now := range caches.kinds() {
		gauge(c.objects, float64(now.objects), kind)
		gauge(c.synced, now.synced, kind)
		gauge(c.version, float64(now.version), kind)
	}
	for kind, byStatus := range caches.readiness() {
		for status, count := range byStatus {
			gauge(c.resources, float64(count), kind, string(status))
		}
	}
}

// kindState is the state of all informers of one kind.
type kindState struct {
	objects int
	synced  float64 // 1 when all are
	version uint64  // the newest
}

func (c *caches) kinds() map[string]kindState {
	kinds := map[string]kindState{}
	for _, watched := range c.watched {
		state, known := kinds[watched.kind]
		if !known {
			state.synced = 1
		}
		state.objects += len(watched.informer.GetStore().ListKeys())
		if !watched.informer.HasSynced() {
			state.synced = 0
		}
		// 0 before the first list.
		version, _ := strconv.ParseUint(watched.informer.LastSyncResourceVersion(), 10, 64)
		state.version = max(state.version, version)
		kinds[watched.kind] = state
	}
	return kinds
}

// readiness counts custom resources by kind and by how their Ready condition stands.
func (c *caches) readiness() map[string]map[metav1.ConditionStatus]int {
	none := func() map[metav1.ConditionStatus]int {
		return map[metav1.ConditionStatus]int{metav1.ConditionTrue: 0, metav1.ConditionFalse: 0, metav1.ConditionUnknown: 0}
	}
	brokers, meshSyncs := none(), none()
	for _, namespace := range c.namespaces {
		allBrokers, _ := namespace.brokers.List(labels.Everything()) // a cache's List of everything cannot fail
		for _, broker := range allBrokers {
			brokers[readyStatus(broker.Status.Conditions)]++
		}
		allMeshSyncs, _ := namespace.meshSyncs.List(labels.Everything())
		for _, meshSync := range allMeshSyncs {
			meshSyncs[readyStatus(meshSync.Status.Conditions)]++
		}
	}
	return map[string]map[metav1.ConditionStatus]int{brokerKind.Kind: brokers, meshSyncKind.Kind: meshSyncs}
}

func readyStatus(conditions []metav1.Condition) metav1.ConditionStatus {
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Status
	}
	return metav1.ConditionUnknown
}

// countErrors counts the lists and watches that fail. client-go logs them. Call it before start.
func (c *caches) countErrors(m *metrics) {
	for _, watched := range c.watched {
		_ = watched.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, reflector *cache.Reflector, err error) {
			m.watchFailed(watched.kind, err)
			cache.DefaultWatchErrorHandler(ctx, reflector, err)
		}) // fails only after the start
	}
}
