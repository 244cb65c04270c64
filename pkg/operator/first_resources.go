package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/generated/clientset/versioned/scheme"
)

const (
	// firstResources is the ConfigMap with the Broker and the MeshSync that a new installation starts with. kubectl cannot
	// create them in the same command as their CRDs.
	firstResources = "meshery-first-resources"
	// annotationCreated records there that they were created, so that what a user deletes later stays deleted. kubectl apply
	// does not touch it.
	annotationCreated = "meshery.io/created-at"

	firstResourcesManager = "meshery-operator-first-resources"
	// Tried again after 5, 10, 20 s and so on.
	firstResourcesRetry = 5 * time.Second
	firstResourcesLast  = 5 * time.Minute
)

// strictly is how first resources are decoded. The API server's own strictness would not see a field that was dropped before.
var strictly = serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()

// createFirstResources creates what firstResources holds, once in the life of an installation. It tries until it succeeds or
// ctx ends. If the operator dies between creating and recording, the next one finds them there and records it.
func createFirstResources(ctx context.Context, clients clients, namespace string) {
	try := func() error { return tryFirstResources(ctx, clients, namespace) }
	tryUntilDone(ctx, firstResourcesRetry, firstResourcesLast, try, func(err error) {
		utilruntime.HandleErrorWithContext(ctx, err, "Could not create the first resources, will retry", "configMap", klog.KRef(namespace, firstResources))
	})
}

// tryUntilDone tries until it succeeds or ctx ends, ever more seldom while the same is wrong, and says it once.
func tryUntilDone(ctx context.Context, first, last time.Duration, try func() error, say func(error)) {
	said, delay := "", first
	for {
		err := try()
		if err == nil || ctx.Err() != nil {
			return
		}
		if text := steady(err.Error()); text != said {
			say(err)
			said, delay = text, first
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, last)
	}
}

func tryFirstResources(ctx context.Context, clients clients, namespace string) error {
	configMaps := clients.kube.CoreV1().ConfigMaps(namespace)
	config, err := configMaps.Get(ctx, firstResources, metav1.GetOptions{})
	if err != nil {
		return ignoreNotFound(err) // an installation without first resources
	}
	if config.Annotations[annotationCreated] != "" {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(config.Data)) {
		if err := createFirstResource(ctx, clients, namespace, config.Data[key]); err != nil {
			return fmt.Errorf("key %s of ConfigMap %s: %w", key, firstResources, err)
		}
	}
	_, err = configMaps.Apply(ctx,
		coreac.ConfigMap(firstResources, namespace).
			WithAnnotations(map[string]string{annotationCreated: time.Now().UTC().Format(time.RFC3339)}),
		metav1.ApplyOptions{FieldManager: firstResourcesManager})
	return err
}

func createFirstResource(ctx context.Context, clients clients, namespace, text string) error {
	decoded, _, err := strictly.Decode([]byte(text), nil, nil)
	if err != nil {
		return err
	}
	api := clients.meshery.MesheryV1alpha1()
	options := metav1.CreateOptions{FieldManager: firstResourcesManager, FieldValidation: metav1.FieldValidationStrict}
	switch resource := decoded.(type) {
	case *v1alpha1.Broker:
		_, err = api.Brokers(namespace).Create(ctx, resource, options)
	case *v1alpha1.MeshSync:
		_, err = api.MeshSyncs(namespace).Create(ctx, resource, options)
	default:
		return fmt.Errorf("a %T cannot be a first resource: want a Broker or a MeshSync", decoded)
	}
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil
	case err != nil:
		return err
	}
	klog.FromContext(ctx).Info("Created first resource", "kind", decoded.GetObjectKind().GroupVersionKind().Kind)
	return nil
}
