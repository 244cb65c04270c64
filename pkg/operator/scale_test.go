package operator

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// envScale is how many Brokers and MeshSyncs to make, instead of few. With it the requests of a minute at rest are counted too.
const envScale = "MESHERY_SCALE"

const perNamespace = 10

// A restart with many Brokers and MeshSyncs, of several namespaces, syncs each once, and reads and writes nothing.
func TestARestartOfManyCostsNothing(t *testing.T) {
	t.Parallel()
	pairs, full := 10, false
	if text := os.Getenv(envScale); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil || number < 1 {
			t.Fatalf("%s=%q: want a number of Brokers and MeshSyncs, such as 100", envScale, text)
		}
		pairs, full = number, true
	}
	own, namespaces := scaleNamespaces(t, max(2, pairs/perNamespace))
	watch := "--watch-namespaces=" + strings.Join(namespaces, ",")

	first := startOperatorProcess(t, own, watch)
	began := time.Now()
	createPairs(t, namespaces, pairs)
	eventually(t, "all are ready", func(ctx context.Context) error { return allReady(ctx, namespaces, pairs) })
	created := time.Since(began)
	eventually(t, "the first operator is done", func(ctx context.Context) error { return first.settled(ctx, pairs) })
	owned, err := first.owned(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first.stop(t)

	before, err := auditSize()
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	second := startOperatorProcess(t, own, watch)
	eventually(t, "the second operator has synced all", func(ctx context.Context) error { return second.settled(ctx, pairs) })
	settled := time.Since(began)
	restart := requestsSince(t, own, before)
	if writes := restart.writes(); len(writes) > 0 {
		t.Errorf("the restart wrote %s", strings.Join(writes, ", "))
	}
	if gets := restart["get"] - restart["get leases"]; gets > 1 { // the first resources
		t.Errorf("the restart read %d objects one by one: %v", gets, restart)
	}
	failed, err := second.metric(t.Context(), `meshery_operator_reconcile_total{controller="broker",result="error"}`)
	if err != nil || failed > 0 {
		t.Errorf("%v syncs failed, %v", failed, err)
	}
	syncs, _ := second.metric(t.Context(), "meshery_operator_reconcile_total{")
	heap, _ := second.metric(t.Context(), "go_memstats_heap_alloc_bytes ")
	resident, _ := second.metric(t.Context(), "process_resident_memory_bytes ")
	t.Logf(`%d Brokers and %d MeshSyncs in %d namespaces, %d cores
objects owned         %v
create all until Ready %s
restart until settled %s, %v syncs
requests of restart   %v
memory                heap %.0f MiB, resident %.0f MiB`,
		pairs, pairs, len(namespaces), runtime.NumCPU(), owned, created.Round(10*time.Millisecond), settled.Round(10*time.Millisecond),
		syncs, restart, heap/(1<<20), resident/(1<<20))
	if full {
		atRest(t, own)
	}
}

// atRest counts what an operator asks in a minute in which nothing happens.
func atRest(t *testing.T, own string) {
	before, err := auditSize()
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Minute)
	minute := requestsSince(t, own, before)
	t.Logf("requests of a minute at rest: %v", minute)
	if writes := minute.writes(); len(writes) > 0 {
		t.Errorf("at rest the operator wrote %s", strings.Join(writes, ", "))
	}
}

// scaleNamespaces makes an operator's own namespace and more that it may serve.
func scaleNamespaces(t *testing.T, count int) (own string, namespaces []string) {
	t.Helper()
	own = newNamespace(t)
	account := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: own, Name: meshery.OperatorName}
	for range count {
		namespace := newNamespace(t)
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "op-"},
			RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: "meshery-operator-namespaced"}, Subjects: []rbacv1.Subject{account},
		}
		if _, err := server.admin.kube.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		namespaces = append(namespaces, namespace)
	}
	return own, namespaces
}

// createPairs makes Brokers, and MeshSyncs that publish to them, evenly in the namespaces.
func createPairs(t *testing.T, namespaces []string, pairs int) {
	t.Helper()
	api := server.admin.meshery.MesheryV1alpha1()
	var group errgroup.Group
	group.SetLimit(8)
	for i := range pairs {
		namespace := namespaces[i%len(namespaces)]
		group.Go(func() error {
			broker := &v1alpha1.Broker{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("broker-", i)}}
			if _, err := api.Brokers(namespace).Create(t.Context(), broker, metav1.CreateOptions{}); err != nil {
				return err
			}
			meshSync := &v1alpha1.MeshSync{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("meshsync-", i)}}
			meshSync.Spec.Broker.Native.Name = broker.Name
			_, err := api.MeshSyncs(namespace).Create(t.Context(), meshSync, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// allReady plays the kubelet for the pods that there are, and says which custom resource is not ready.
func allReady(ctx context.Context, namespaces []string, pairs int) error {
	ready := 0
	for _, namespace := range namespaces {
		if err := startPods(ctx, namespace); err != nil {
			return err
		}
		brokers, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range brokers.Items {
			if meta.IsStatusConditionTrue(brokers.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
				ready++
			}
		}
		meshSyncs, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range meshSyncs.Items {
			if meta.IsStatusConditionTrue(meshSyncs.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
				ready++
			}
		}
	}
	if ready != 2*pairs {
		return fmt.Errorf("%d of %d are ready", ready, 2*pairs)
	}
	return nil
}

// startPods reports all pods of a namespace as ready.
func startPods(ctx context.Context, namespace string) error {
	pods := server.admin.kube.CoreV1().Pods(namespace)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	running := []byte(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`)
	for i := range list.Items {
		if pod := &list.Items[i]; pod.Status.Phase != corev1.PodRunning {
			if _, err := pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, running, metav1.PatchOptions{}, "status"); ignoreNotFound(err) != nil {
				return err
			}
		}
	}
	return nil
}

// owned counts the objects that the operator made, as its caches know them.
func (p *operatorProcess) owned(ctx context.Context) (float64, error) {
	_, body, err := fetch(ctx, p.metrics)
	sum := sumOf(body, "meshery_operator_informer_objects{")
	for _, not := range []string{"Broker", "MeshSync", "Pod", "SecretMetadata", "CustomResourceDefinitionMetadata"} {
		sum -= sumOf(body, `meshery_operator_informer_objects{kind="`+not+`"}`)
	}
	return sum, err
}

// requests counts requests by verb, and by verb and resource.
type requests map[string]int

func requestsSince(t *testing.T, own string, before int64) requests {
	t.Helper()
	events, err := readAudit(before)
	if err != nil {
		t.Fatal(err)
	}
	found := requests{}
	for _, event := range events {
		if event.account() != operatorUser(own) || event.ObjectRef == nil {
			continue
		}
		found[event.Verb]++
		found[event.Verb+" "+event.ObjectRef.Resource]++
		if event.isWrite() {
			found["write "+event.Verb+" "+event.resource()]++
		}
	}
	return found
}

func (r requests) writes() []string {
	var writes []string
	for key, count := range r {
		if write, ok := strings.CutPrefix(key, "write "); ok {
			writes = append(writes, fmt.Sprintf("%d × %s", count, write))
		}
	}
	return writes
}

// String leaves out the sums, which say nothing of their own.
func (r requests) String() string {
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(r)) {
		if strings.Contains(key, " ") && !strings.HasPrefix(key, "write ") {
			texts = append(texts, fmt.Sprintf("%d %s", r[key], key))
		}
	}
	return strings.Join(texts, ", ")
}
