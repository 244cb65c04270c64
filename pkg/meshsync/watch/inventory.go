package watch

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
)

// inventory lists and watches objects without anything but apiVersion, kind and metadata. The API server leaves out the rest, so
// that it is never sent.
type inventory struct {
	dynamic.ResourceInterface // for what a watch does not use
	metadata                  metadata.ResourceInterface
	gvk                       schema.GroupVersionKind // metadata calls every object a PartialObjectMetadata
}

func (i inventory) List(ctx context.Context, options metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	found, err := i.metadata.List(ctx, options)
	if err != nil {
		return nil, err
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(i.gvk.GroupVersion().WithKind(i.gvk.Kind + "List"))
	list.SetResourceVersion(found.ResourceVersion)
	list.SetContinue(found.Continue)
	list.SetRemainingItemCount(found.RemainingItemCount)
	for n := range found.Items {
		object, err := i.object(&found.Items[n])
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, *object)
	}
	return list, nil
}

func (i inventory) Watch(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
	events, err := i.metadata.Watch(ctx, options)
	if err != nil {
		return nil, err
	}
	return through(events, func(event apiwatch.Event) apiwatch.Event {
		if partial, ok := event.Object.(*metav1.PartialObjectMetadata); ok {
			object, err := i.object(partial)
			if err != nil {
				return apiwatch.Event{Type: apiwatch.Error, Object: &apierrors.NewInternalError(err).ErrStatus}
			}
			event.Object = object
		}
		return event
	}), nil
}

// object makes an object of its own kind.
func (i inventory) object(partial *metav1.PartialObjectMetadata) (*unstructured.Unstructured, error) {
	partial.ManagedFields = nil
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&partial.ObjectMeta)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{Object: map[string]any{"metadata": fields}}
	object.SetGroupVersionKind(i.gvk)
	return object, nil
}
