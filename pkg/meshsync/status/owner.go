package status

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	mesheryv1alpha1 "meshery.io/operator/pkg/generated/clientset/versioned/typed/meshery/v1alpha1"
)

// Owner returns a function that returns the reference to a MeshSync by which what its agent makes goes with it; nil while none is known.
// It keeps to the last that was there: what is made after the MeshSync was deleted goes, too.
func Owner(client mesheryv1alpha1.MeshSyncsGetter, namespace, name string) func(context.Context) *metaac.OwnerReferenceApplyConfiguration {
	var mu sync.Mutex
	var known *metaac.OwnerReferenceApplyConfiguration
	return func(ctx context.Context) *metaac.OwnerReferenceApplyConfiguration {
		meshSync, err := client.MeshSyncs(namespace).Get(ctx, name, metav1.GetOptions{})
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			known = metaac.OwnerReference().WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("MeshSync").WithName(name).WithUID(meshSync.UID)
		}
		return known
	}
}
