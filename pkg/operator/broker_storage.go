package operator

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

const (
	dataVolume = "data"
	// defaultMaxStorage is 1Gi, for servers without a volume of their own.
	defaultMaxStorage = 1 << 30
)

// maxFileStore is how many bytes each server keeps in files. Of a volume it takes 45 %: what an earlier size of the Broker left is
// on it too (natsStoreDir), and a tenth is for what JetStream does not count.
func maxFileStore(jetStream *v1alpha1.BrokerJetStream) int64 {
	limit := int64(defaultMaxStorage)
	if storage := jetStream.Storage; storage != nil {
		limit = storage.Size.Value() - storage.Size.Value()/20*11
	}
	if most := jetStream.MaxStorage; most != nil {
		limit = most.Value()
		if storage := jetStream.Storage; storage != nil { // the volume may be an earlier, smaller one (keepStorage)
			limit = min(limit, storage.Size.Value())
		}
	}
	return limit
}

// dataClaim spells the API server's defaults out: the list of claims is owned as a whole, defaults included.
func dataClaim(storage *v1alpha1.BrokerStorage) *coreac.PersistentVolumeClaimApplyConfiguration {
	claim := (&coreac.PersistentVolumeClaimApplyConfiguration{}).
		WithName(dataVolume).
		WithSpec(coreac.PersistentVolumeClaimSpec().
			WithAccessModes(corev1.ReadWriteOnce).
			WithVolumeMode(corev1.PersistentVolumeFilesystem).
			WithResources(coreac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: storage.Size}))).
		WithStatus(coreac.PersistentVolumeClaimStatus().WithPhase(corev1.ClaimPending))
	claim.Spec.StorageClassName = storage.StorageClassName
	return claim
}

func claimRetention(storage *v1alpha1.BrokerStorage) *appsac.StatefulSetPersistentVolumeClaimRetentionPolicyApplyConfiguration {
	policy := appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	if storage.Retain {
		policy = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	return appsac.StatefulSetPersistentVolumeClaimRetentionPolicy().WithWhenDeleted(policy).WithWhenScaled(policy)
}

// keepStorage is the Broker with the volumes that its servers have. Kubernetes does not let a StatefulSet's volumes change: when
// the spec asks for others, everything else is as it asks all the same, and the finding says what to do.
func keepStorage(broker *v1alpha1.Broker, live *appsv1.StatefulSet) (*v1alpha1.Broker, []finding) {
	if live == nil {
		return broker, nil
	}
	want, has := broker.Spec.JetStream.Storage, storageOf(live)
	if sameVolumes(want, has) {
		return broker, nil
	}
	kept := broker.DeepCopy()
	if want != nil && has != nil {
		has.Retain = want.Retain // that can be changed
	}
	kept.Spec.JetStream.Storage = has
	return kept, []finding{{v1alpha1.ReasonStorageImmutable, storageImmutable(broker, has)}}
}

func storageImmutable(broker *v1alpha1.Broker, has *v1alpha1.BrokerStorage) string {
	remedy := fmt.Sprintf("kubectl delete statefulset -n %s %s", broker.Namespace, broker.Name)
	if has != nil && has.Retain { // the volumes first: the new servers would take them again
		remedy = fmt.Sprintf("kubectl delete pvc --wait=false -n %s -l %s && %s", broker.Namespace, labels.FormatLabels(brokerSelector(broker)), remedy)
	}
	return fmt.Sprintf("spec.jetstream.storage asks for %s, but the servers have %s, and Kubernetes does not let that change. Put it back, or have the servers made anew,"+
		" which loses what they keep until MeshSync has published it again: %s", describeStorage(broker.Spec.JetStream.Storage), describeStorage(has), remedy)
}

func describeStorage(storage *v1alpha1.BrokerStorage) string {
	switch {
	case storage == nil:
		return "no volumes"
	case storage.StorageClassName == nil:
		return fmt.Sprintf("volumes of %s of the default class", &storage.Size)
	default:
		return fmt.Sprintf("volumes of %s of class %q", &storage.Size, *storage.StorageClassName)
	}
}

// storageOf reads back what a StatefulSet was made with, nil for no volumes.
func storageOf(live *appsv1.StatefulSet) *v1alpha1.BrokerStorage {
	for i := range live.Spec.VolumeClaimTemplates {
		if claim := &live.Spec.VolumeClaimTemplates[i]; claim.Name == dataVolume {
			policy := live.Spec.PersistentVolumeClaimRetentionPolicy
			return &v1alpha1.BrokerStorage{
				Size:             claim.Spec.Resources.Requests[corev1.ResourceStorage],
				StorageClassName: claim.Spec.StorageClassName,
				Retain:           policy != nil && policy.WhenDeleted == appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
			}
		}
	}
	return nil
}

func sameVolumes(a, b *v1alpha1.BrokerStorage) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Size.Cmp(b.Size) == 0 && equalPointers(a.StorageClassName, b.StorageClassName)
}
