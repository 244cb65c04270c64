package operator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	rbacac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/watchlist"
)

// The cluster-scoped objects of a MeshSync are a ClusterRole with what its agent may read, and the binding of the agent's
// ServiceAccount to it. They are written as the grantor, a ServiceAccount that holds the ceiling ClusterRole: the API server lets
// nobody grant more than he holds, so no agent can get more than the ceiling, whatever this code does; and the operator need not
// hold it.

// clusterScopedName cannot meet another MeshSync's: neither a namespace nor a name holds a colon.
func clusterScopedName(key cache.ObjectName) string {
	return "meshery:meshsync:" + key.Namespace + ":" + key.Name
}

// clusterScopedLabels say for which MeshSync an object was made, which a namespaced one cannot own, and by whom.
func clusterScopedLabels(meshSync *v1alpha1.MeshSync, operatorNamespace string) map[string]string {
	labels := meshSyncLabels(meshSync)
	maps.Copy(labels, map[string]string{
		meshery.LabelOwnerNamespace:    meshSync.Namespace,
		meshery.LabelOwnerName:         meshSync.Name,
		meshery.LabelOperatorNamespace: operatorNamespace,
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

func meshSyncClusterRole(meshSync *v1alpha1.MeshSync, crd metav1.Object, operatorNamespace string, granted access) *rbacac.ClusterRoleApplyConfiguration {
	return rbacac.ClusterRole(clusterScopedName(cache.MetaObjectToName(meshSync))).
		WithLabels(clusterScopedLabels(meshSync, operatorNamespace)).
		WithOwnerReferences(ownedByCRD(crd)).
		WithRules(granted.rules...)
}

func meshSyncClusterRoleBinding(meshSync *v1alpha1.MeshSync, crd metav1.Object, operatorNamespace string) *rbacac.ClusterRoleBindingApplyConfiguration {
	name := clusterScopedName(cache.MetaObjectToName(meshSync))
	return rbacac.ClusterRoleBinding(name).
		WithLabels(clusterScopedLabels(meshSync, operatorNamespace)).
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

// grant lets the agent read what its MeshSync asks for, as far as the ceiling goes.
func (c *meshSyncController) grant(ctx context.Context, meshSync *v1alpha1.MeshSync, view *meshSyncView) error {
	crd, ok := c.caches.meshSyncCRD()
	if !ok {
		return errors.New("the CRD of MeshSync is gone")
	}
	granted, err := c.access(ctx, meshSync, view)
	if err != nil {
		return err
	}
	err = c.applyInTurn(ctx, meshSync.Namespace, madeFor(cache.MetaObjectToName(meshSync)), []any{
		meshSyncClusterRole(meshSync, crd, c.options.Namespace, granted),
		meshSyncClusterRoleBinding(meshSync, crd, c.options.Namespace),
	})
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("the operator may not grant what the agent is to read: let it impersonate ServiceAccount %s, and bind that one to ClusterRoles %s and %s, "+
			"as manifests/22-grantor-rbac.yaml does (%s)", meshery.GrantorName, c.options.MeshSyncClusterRole, meshery.GrantorName, firstLine(err))
	}
	if err == nil {
		view.granted = &granted
	}
	return err
}

// access says what the agent may read.
func (c *meshSyncController) access(ctx context.Context, meshSync *v1alpha1.MeshSync, view *meshSyncView) (access, error) {
	resolution, err := c.resolve(ctx, meshSync, view)
	if err != nil {
		return access{}, err
	}
	ceiling, exists := c.caches.ceiling()
	granted := meshSyncAccess(wantedKinds(resolution), meshSync.Spec.Sessions, ceiling)
	granted.noCeiling = !exists
	return granted, nil
}

// resolve says which kinds the list in force means.
func (c *meshSyncController) resolve(ctx context.Context, meshSync *v1alpha1.MeshSync, view *meshSyncView) (resolution watchlist.Resolution, err error) {
	list, err := watchlist.Parse(view.watchList)
	if err != nil || view.watchList == nil { // somebody has put into the ConfigMap what cannot be read, or there is none
		return watchlist.Resolution{}, nil
	}
	resolution, view.recheck, err = c.served.resolve(ctx, list, c.newlyEdited(meshSync))
	return resolution, err
}

// revoke removes the rights of an agent, which no owner reference takes away with its MeshSync.
func (c *meshSyncController) revoke(ctx context.Context, key cache.ObjectName) error {
	name, rbac := clusterScopedName(key), c.clients.grantor.RbacV1()
	return errors.Join(
		discard(ctx, &c.applier, madeFor(key), "ClusterRoleBinding", name, c.caches.clusterRoleBindings, rbac.ClusterRoleBindings()),
		discard(ctx, &c.applier, madeFor(key), "ClusterRole", name, c.caches.clusterRoles, rbac.ClusterRoles()),
	)
}

// revokeElsewhere does so in a namespace that this operator served and does not serve any more: nobody would otherwise. What another
// operator granted is that one's.
func (c *meshSyncController) revokeElsewhere(ctx context.Context, key cache.ObjectName) error {
	role, err := c.caches.clusterRoles.Get(clusterScopedName(key))
	if err != nil || role.Labels[meshery.LabelOperatorNamespace] != c.options.Namespace {
		return ignoreNotFound(err)
	}
	return c.revoke(ctx, key)
}

// firstLine is enough of an error of the API server's that lists every rule.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
