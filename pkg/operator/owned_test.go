package operator

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
)

// staleCache shows an object that is gone.
type staleCache struct{ gone *corev1.ConfigMap }

func (c staleCache) Get(string) (*corev1.ConfigMap, error) { return c.gone, nil }

// What is wanted may come from the object that is there, such as volumes that cannot be changed: one that was deleted meanwhile is
// not made anew from that.
func TestAnObjectThatIsGoneIsNotMadeAnewFromTheCache(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	configMaps := server.admin.kube.CoreV1().ConfigMaps(namespace)
	gone := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "x", UID: "0a1b"}}
	writer := &applier{manager: "test", metrics: newMetrics(prometheus.NewRegistry())}
	want := coreac.ConfigMap("x", namespace).WithData(map[string]string{"a": "b"})
	_, err := ensure(t.Context(), writer, func(metav1.Object) bool { return true }, "ConfigMap", "x", want, staleCache{gone}, configMaps, coreac.ExtractConfigMap)
	if !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	if _, err := configMaps.Get(t.Context(), "x", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("it was made anew: %v", err)
	}
}
