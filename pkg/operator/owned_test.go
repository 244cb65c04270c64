package operator

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
)

// staleCache shows an object that is gone.
type staleCache struct{ gone *corev1.ConfigMap }

func (c staleCache) Get(string) (*corev1.ConfigMap, error) { return c.gone, nil }

// emptyCache has heard that the object is gone, after what is wanted was derived from it.
type emptyCache struct{}

func (emptyCache) Get(name string) (*corev1.ConfigMap, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{}, name)
}

// What is wanted may come from the object that is there, such as volumes that cannot be changed: one that was deleted meanwhile is
// not made anew from that.
func TestAnObjectThatIsGoneIsNotMadeAnewFromTheCache(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	configMaps := server.admin.kube.CoreV1().ConfigMaps(namespace)
	gone := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "x", UID: "0a1b"}}
	writer := &applier{manager: "test", metrics: newMetrics(prometheus.NewRegistry())}
	want := coreac.ConfigMap("x", namespace).WithData(map[string]string{"a": "b"})
	for name, cached := range map[string]cachedObjects[*corev1.ConfigMap]{
		"the cache has not heard of it":    staleCache{gone},
		"the cache has heard of it by now": pinned[*corev1.ConfigMap]{emptyCache{}, gone.UID},
		"another has taken its place":      pinned[*corev1.ConfigMap]{staleCache{gone}, "2c3d"},
	} {
		_, err := ensure(t.Context(), writer, func(metav1.Object) bool { return true }, "ConfigMap", "x", want, cached, configMaps, coreac.ExtractConfigMap)
		if !apierrors.IsConflict(err) {
			t.Errorf("%s: got %v, want a conflict", name, err)
		}
		if _, err := configMaps.Get(t.Context(), "x", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: it was made anew: %v", name, err)
		}
	}
}
