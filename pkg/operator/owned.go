package operator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyac "k8s.io/client-go/applyconfigurations/policy/v1"
	rbacac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

var (
	brokerKind   = mesheryKind("Broker")
	meshSyncKind = mesheryKind("MeshSync")
)

func mesheryKind(name string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Kind: name}
}

// isKind compares group and kind: an owner reference made through another version of the API is as good.
func isKind(reference *metav1.OwnerReference, kind schema.GroupVersionKind) bool {
	version, err := schema.ParseGroupVersion(reference.APIVersion)
	return err == nil && version.Group == kind.Group && reference.Kind == kind.Kind
}

// ownerReference makes the owned object go with its owner. It does not block the owner's deletion.
func ownerReference(owner metav1.Object, kind schema.GroupVersionKind) *metaac.OwnerReferenceApplyConfiguration {
	return metaac.OwnerReference().
		WithAPIVersion(kind.GroupVersion().String()).
		WithKind(kind.Kind).
		WithName(owner.GetName()).
		WithUID(owner.GetUID()).
		WithController(true)
}

// ownedLabels are on everything that the operator makes; the selector ones come with it.
func ownedLabels(selector map[string]string) map[string]string {
	labels := maps.Clone(selector)
	labels[meshery.LabelManagedBy] = meshery.OperatorName
	labels[meshery.LabelPartOf] = meshery.PartOfMeshery
	return labels
}

// ownerOfClusterScoped reads back which custom resource a cluster-scoped object was made for.
func ownerOfClusterScoped(owned metav1.Object) (cache.ObjectName, bool) {
	key := cache.ObjectName{
		Namespace: owned.GetLabels()[meshery.LabelOwnerNamespace],
		Name:      owned.GetLabels()[meshery.LabelOwnerName],
	}
	return key, key.Namespace != "" && key.Name != ""
}

// foreignError says that an object of a wanted name is not ours to touch.
type foreignError struct {
	kind, name string
	owner      string // empty: it was ours, and has lost its owner reference
}

func (e *foreignError) Error() string {
	if e.owner == "" {
		return fmt.Sprintf("%s %s has lost its owner reference: delete it, and it is made again", e.kind, e.name)
	}
	return fmt.Sprintf("%s %s belongs to %s; delete or rename one of the two", e.kind, e.name, e.owner)
}

// recheckForeign is how often an object that belongs to somebody else is looked at again: it is not in our caches, so no
// event tells that it went.
const recheckForeign = 30 * time.Second

// applier brings objects into the wanted state for one controller.
type applier struct {
	clients clients
	caches  *caches
	manager string // the controller's field manager
	metrics *metrics
	// recorder writes Events.
	recorder events.EventRecorder
}

// apply writes every object that is not as wanted, in order, and returns them as they are now. owned says whether an object of the
// wanted name is ours. After an error it goes on: one refused object must not keep the others from being right. Only one that
// belongs to somebody else ends it, because what follows would use that.
func (a *applier) apply(ctx context.Context, namespace string, owned func(metav1.Object) bool, objects []any) ([]metav1.Object, error) {
	var (
		live []metav1.Object
		errs []error
	)
	for _, object := range objects {
		now, err := a.applyOne(ctx, namespace, owned, object)
		if err != nil {
			errs = append(errs, err)
			if isForeign(err) {
				break
			}
			continue
		}
		live = append(live, now)
	}
	return live, errors.Join(errs...)
}

// applyInTurn writes objects of which each depends on the one before: it stops at the first error.
func (a *applier) applyInTurn(ctx context.Context, namespace string, owned func(metav1.Object) bool, objects []any) error {
	for _, object := range objects {
		if _, err := a.applyOne(ctx, namespace, owned, object); err != nil {
			return err
		}
	}
	return nil
}

func isForeign(err error) bool {
	_, foreign := errors.AsType[*foreignError](err)
	return foreign
}

// find picks the object of one type and name, or nil.
func find[T object](objects []metav1.Object, name string) T {
	for _, candidate := range objects {
		if found, ok := candidate.(T); ok && found.GetName() == name {
			return found
		}
	}
	var none T
	return none
}

func (a *applier) applyOne(ctx context.Context, namespace string, owned func(metav1.Object) bool, object any) (metav1.Object, error) {
	live, err := a.ensureOne(ctx, namespace, owned, object)
	if !apierrors.IsInvalid(err) || a.replacePorts(ctx, namespace, object) != nil {
		return live, err
	}
	return a.ensureOne(ctx, namespace, owned, object)
}

func (a *applier) ensureOne(ctx context.Context, namespace string, owned func(metav1.Object) bool, object any) (metav1.Object, error) {
	c := a.caches.in(namespace)
	core, apps, rbac := a.clients.kube.CoreV1(), a.clients.kube.AppsV1(), a.clients.kube.RbacV1()
	switch want := object.(type) {
	case *coreac.ConfigMapApplyConfiguration:
		return ensure(ctx, a, owned, "ConfigMap", *want.Name, want, c.configMaps.ConfigMaps(namespace), core.ConfigMaps(namespace), coreac.ExtractConfigMap)
	case *coreac.ServiceApplyConfiguration:
		return ensure(ctx, a, owned, "Service", *want.Name, want, c.services.Services(namespace), core.Services(namespace), coreac.ExtractService)
	case *coreac.ServiceAccountApplyConfiguration:
		return ensure(ctx, a, owned, "ServiceAccount", *want.Name, want, c.serviceAccounts.ServiceAccounts(namespace), core.ServiceAccounts(namespace), coreac.ExtractServiceAccount)
	case *appsac.StatefulSetApplyConfiguration:
		var statefulSets cachedObjects[*appsv1.StatefulSet] = c.statefulSets.StatefulSets(namespace)
		if derivedFrom := want.UID; derivedFrom != nil {
			want.UID = nil // which is not applied
			defer func() { want.UID = derivedFrom }()
			statefulSets = pinned[*appsv1.StatefulSet]{statefulSets, *derivedFrom}
		}
		return ensure(ctx, a, owned, "StatefulSet", *want.Name, want, statefulSets, apps.StatefulSets(namespace), appsac.ExtractStatefulSet)
	case *appsac.DeploymentApplyConfiguration:
		return ensure(ctx, a, owned, "Deployment", *want.Name, want, c.deployments.Deployments(namespace), apps.Deployments(namespace), appsac.ExtractDeployment)
	case *coreac.SecretApplyConfiguration:
		return ensure(ctx, a, owned, "Secret", *want.Name, want, c.secrets.Secrets(namespace), core.Secrets(namespace), coreac.ExtractSecret)
	case *policyac.PodDisruptionBudgetApplyConfiguration:
		disruptions := a.clients.kube.PolicyV1().PodDisruptionBudgets(namespace)
		return ensure(ctx, a, owned, "PodDisruptionBudget", *want.Name, want, c.disruptions.PodDisruptionBudgets(namespace), disruptions, policyac.ExtractPodDisruptionBudget)
	case *rbacac.RoleApplyConfiguration:
		return ensure(ctx, a, owned, "Role", *want.Name, want, c.roles.Roles(namespace), rbac.Roles(namespace), rbacac.ExtractRole)
	case *rbacac.RoleBindingApplyConfiguration:
		return ensure(ctx, a, owned, "RoleBinding", *want.Name, want, c.roleBindings.RoleBindings(namespace), rbac.RoleBindings(namespace), rbacac.ExtractRoleBinding)
	case *rbacac.ClusterRoleApplyConfiguration:
		return ensure(ctx, a, owned, "ClusterRole", *want.Name, want, a.caches.clusterRoles, a.clients.grantor.RbacV1().ClusterRoles(), rbacac.ExtractClusterRole)
	case *rbacac.ClusterRoleBindingApplyConfiguration:
		return ensure(ctx, a, owned, "ClusterRoleBinding", *want.Name, want, a.caches.clusterRoleBindings, a.clients.grantor.RbacV1().ClusterRoleBindings(), rbacac.ExtractClusterRoleBinding)
	default:
		return nil, fmt.Errorf("apply %T: the operator does not own this kind", object)
	}
}

// cachedObjects is the part of a lister, apiObjects the part of a client, that ensure needs.
type cachedObjects[T any] interface {
	Get(name string) (T, error)
}

type apiObjects[T, C any] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	Apply(ctx context.Context, want C, options metav1.ApplyOptions) (T, error)
}

// pinned knows one object only. What is wanted was derived from it, and must not be applied to another of its name, or to none.
type pinned[T metav1.Object] struct {
	objects cachedObjects[T]
	uid     types.UID
}

func (p pinned[T]) Get(name string) (T, error) {
	live, err := p.objects.Get(name)
	if apierrors.IsNotFound(err) || err == nil && live.GetUID() != p.uid {
		err = apierrors.NewConflict(schema.GroupResource{}, name, errors.New("the object that is wanted otherwise is gone"))
	}
	return live, err
}

// withUID is an apply configuration that may say of which object it is.
type withUID[C any] interface {
	WithUID(uid types.UID) C
}

// ensure applies want unless the live object already has every field of it, and no field that was applied once and is not
// wanted any more, and returns the object as it is then. The cache shows labelled objects only, so what it does not know is read from the API before it is touched.
func ensure[T object, C withUID[C]](
	ctx context.Context, a *applier, owned func(metav1.Object) bool, kind, name string, want C,
	cached cachedObjects[T], api apiObjects[T, C], extract func(T, string) (C, error),
) (T, error) {
	var none T
	live, err := cached.Get(name)
	if apierrors.IsNotFound(err) {
		live, err = api.Get(ctx, name, metav1.GetOptions{})
	}
	exists := err == nil
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return none, fmt.Errorf("read %s %s: %w", kind, name, err)
	case !owned(live):
		return none, &foreignError{kind: kind, name: name, owner: ownerOf(live)}
	default:
		applied, err := extract(live, a.manager)
		if err != nil {
			return none, fmt.Errorf("compare %s %s: %w", kind, name, err)
		}
		if equality.Semantic.DeepEqual(applied, want) {
			return live, nil
		}
	}

	if exists { // and has not been deleted meanwhile: what is wanted may come from it, such as volumes that cannot be changed
		want = want.WithUID(live.GetUID())
	}
	live, err = api.Apply(ctx, want, metav1.ApplyOptions{FieldManager: a.manager, Force: true})
	a.metrics.wrote(kind, err)
	if err != nil {
		return none, fmt.Errorf("apply %s %s: %w", kind, name, err)
	}
	klog.FromContext(ctx).V(2).Info("Applied object", "kind", kind, "object", klog.KObj(live), "existed", exists)
	return live, nil
}

// deletable is the part of a client that discard needs.
type deletable interface {
	Delete(ctx context.Context, name string, options metav1.DeleteOptions) error
}

// discard deletes an object of ours that is not wanted any more, if it is there.
func discard[T object](ctx context.Context, a *applier, owned func(metav1.Object) bool, kind, name string, cached cachedObjects[T], api deletable) error {
	live, err := cached.Get(name)
	if err != nil || !owned(live) || live.GetDeletionTimestamp() != nil {
		return ignoreNotFound(err)
	}
	return a.remove(ctx, kind, live, api)
}

// remove deletes an object, and what it owns after it. One that took its place meanwhile is another, and stays.
func (a *applier) remove(ctx context.Context, kind string, live metav1.Object, api deletable) error {
	err := ignoreNotFound(api.Delete(ctx, live.GetName(), metav1.DeleteOptions{
		Preconditions:     metav1.NewUIDPreconditions(string(live.GetUID())),
		PropagationPolicy: new(metav1.DeletePropagationBackground),
	}))
	a.metrics.wrote(kind, err)
	if err != nil {
		return fmt.Errorf("delete %s %s: %w", kind, live.GetName(), err)
	}
	klog.FromContext(ctx).V(2).Info("Deleted object", "kind", kind, "object", klog.KObj(live))
	return nil
}

// ownerOf describes for a person whose an object is that is not ours.
func ownerOf(live metav1.Object) string {
	if controller := metav1.GetControllerOfNoCopy(live); controller != nil {
		return controller.Kind + " " + controller.Name
	}
	switch manager := live.GetLabels()[meshery.LabelManagedBy]; manager {
	case "":
		return "somebody else (it has no controlling owner)"
	case meshery.OperatorName:
		return ""
	default:
		return manager + " (its " + meshery.LabelManagedBy + " label)"
	}
}

// secret reads a Secret of the operator's from the cache, and one that a user made from the API.
func (a *applier) secret(ctx context.Context, name cache.ObjectName) (*corev1.Secret, error) {
	cached, err := a.caches.in(name.Namespace).secrets.Secrets(name.Namespace).Get(name.Name)
	if !apierrors.IsNotFound(err) {
		return cached, err
	}
	return a.clients.kube.CoreV1().Secrets(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
}

// wroteStatus counts, logs and announces a status write. A resource that went meanwhile needs none.
func (a *applier) wroteStatus(ctx context.Context, kind string, regarding runtime.Object, before, after []metav1.Condition, err error) error {
	if ignoreNotFound(err) == nil {
		err = nil
	}
	a.metrics.wrote(kind, err)
	if err != nil {
		return fmt.Errorf("apply status: %w", err)
	}
	announce(a.recorder, regarding, before, after)
	logStatus(klog.FromContext(ctx), before, after)
	return nil
}

// logStatus tells at level 0 when a resource becomes ready or stops being so.
func logStatus(logger klog.Logger, before, after []metav1.Condition) {
	now := meta.FindStatusCondition(after, v1alpha1.ConditionReady)
	if now == nil {
		return
	}
	if old := meta.FindStatusCondition(before, v1alpha1.ConditionReady); old == nil || old.Status != now.Status {
		logger.Info("Readiness changed", "ready", now.Status, "reason", now.Reason, "message", now.Message)
		return
	}
	logger.V(2).Info("Wrote status", "ready", now.Status, "reason", now.Reason)
}

// controlledBy tells the objects that a custom resource made from those of everybody else, and of an earlier resource of the
// same name.
func controlledBy(owner metav1.Object) func(metav1.Object) bool {
	return func(live metav1.Object) bool { return metav1.IsControlledBy(live, owner) }
}

// retry says what the worker loop does about errors that the status tells already: nothing about those that an event will end,
// look again now and then for those that only a person can end, and try again for all others.
func retry(err error) (time.Duration, error) {
	var (
		recheck time.Duration
		failed  []error
		foreign *foreignError
		waiting *unavailable
	)
	for _, err := range flatten(err) {
		switch {
		case errors.As(err, &waiting):
		case errors.As(err, &foreign):
			recheck = recheckForeign
		default:
			failed = append(failed, err)
		}
	}
	return recheck, errors.Join(failed...)
}

// soonest is the earliest of several times to look again, of which 0 is never.
func soonest(times ...time.Duration) time.Duration {
	var first time.Duration
	for _, at := range times {
		if at > 0 && (first == 0 || at < first) {
			first = at
		}
	}
	return first
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err == nil {
			return nil
		}
		return []error{err}
	}
	var errs []error
	for _, err := range joined.Unwrap() {
		errs = append(errs, flatten(err)...)
	}
	return errs
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
