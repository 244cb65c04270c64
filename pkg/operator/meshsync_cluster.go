package operator

import (
	"context"
	"errors"
	"maps"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	rbacac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// The cluster-scoped objects of a MeshSync are a ClusterRole with what its agent may read, and the binding of the agent's
// ServiceAccount to it. They are written as the grantor, a ServiceAccount that holds the ceiling ClusterRole: the API server lets
// nobody grant more than he holds, so no agent can get more than the ceiling, whatever this code does; and the operator need not
// hold it.

// clusterScopedName cannot meet another MeshSync's: neither a namespace nor a name holds a colon.
func clusterScopedName(key cache.ObjectName) string {
	return "meshery:meshsync:" + key.Namespace + ":" + key.Name
}

// clusterScopedLabels say for which MeshSync an object was made: a namespaced one cannot own it.
func clusterScopedLabels(meshSync *v1alpha1.MeshSync) map[string]string {
	labels := meshSyncLabels(meshSync)
	maps.Copy(labels, map[string]string{
		meshery.LabelOwnerNamespace: meshSync.Namespace,
		meshery.LabelOwnerName:      meshSync.Name,
	})
	return labels
}

// ownedByCRD makes a cluster-scoped object go with the installation.
func ownedByCRD(crd metav1.Object) *metaac.OwnerReferenceApplyConfiguration {
	return metaac.OwnerReference().
		WithAPIVersion(crdResource.GroupVersion().String()).
		WithKind("CustomResourceDefinition").
		WithName(crd.GetName()).
		WithUID(crd.GetUID())
}

func meshSyncClusterRole(meshSync *v1alpha1.MeshSync, crd metav1.Object, granted access) *rbacac.ClusterRoleApplyConfiguration {
	return rbacac.ClusterRole(clusterScopedName(cache.MetaObjectToName(meshSync))).
		WithLabels(clusterScopedLabels(meshSync)).
		WithOwnerReferences(ownedByCRD(crd)).
		WithRules(granted.rules...)
}

func meshSyncClusterRoleBinding(meshSync *v1alpha1.MeshSync, crd metav1.Object) *rbacac.ClusterRoleBindingApplyConfiguration {
	name := clusterScopedName(cache.MetaObjectToName(meshSync))
	return rbacac.ClusterRoleBinding(name).
		WithLabels(clusterScopedLabels(meshSync)).
		WithOwnerReferences(ownedByCRD(crd)).
		WithSubjects(meshSyncSubject(meshSync)).
		WithRoleRef(rbacac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(name))
}

// madeFor tells cluster-scoped objects of ours from those of everybody else.
func madeFor(meshSync cache.ObjectName) func(metav1.Object) bool {
	return func(live metav1.Object) bool {
		key, ok := ownerOfClusterScoped(live)
		return ok && key == meshSync
	}
}

// grant lets the agent read what its MeshSync asks for, as far as the ceiling goes. With a watch-list that cannot be read it has
// what it had. A ServiceAccount that is somebody else's gets nothing.
func (c *meshSyncController) grant(ctx context.Context, meshSync *v1alpha1.MeshSync, watchListOK, accountOurs bool) (granted access, recheck time.Duration, err error) {
	if !accountOurs {
		return access{}, 0, c.deleteClusterScoped(ctx, cache.MetaObjectToName(meshSync))
	}
	if !watchListOK {
		return access{}, 0, nil
	}
	granted, recheck, err = c.access(ctx, meshSync)
	if err != nil {
		return granted, recheck, err
	}
	return granted, recheck, c.applyClusterScoped(ctx, meshSync, granted)
}

// applyClusterScoped writes the role before the binding: nobody may bind a role that does not exist.
func (c *meshSyncController) applyClusterScoped(ctx context.Context, meshSync *v1alpha1.MeshSync, granted access) error {
	crd, ok := c.caches.meshSyncCRD()
	if !ok {
		return errors.New("the CRD of MeshSync is gone")
	}
	objects := []any{meshSyncClusterRole(meshSync, crd, granted), meshSyncClusterRoleBinding(meshSync, crd)}
	_, err := c.apply(ctx, meshSync.Namespace, madeFor(cache.MetaObjectToName(meshSync)), objects)
	return err
}

// deleteClusterScoped removes what no owner reference takes away with a MeshSync.
func (c *meshSyncController) deleteClusterScoped(ctx context.Context, key cache.ObjectName) error {
	name, rbac := clusterScopedName(key), c.clients.grantor.RbacV1()
	return errors.Join(
		discard(ctx, &c.applier, madeFor(key), "ClusterRoleBinding", name, c.caches.clusterRoleBindings, rbac.ClusterRoleBindings()),
		discard(ctx, &c.applier, madeFor(key), "ClusterRole", name, c.caches.clusterRoles, rbac.ClusterRoles()),
	)
}
