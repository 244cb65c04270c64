package controlplane

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// Labelled finds every object of any kind, in any namespace or none, that has a label. What it returns are one line per object, for
// people and for comparing: "services.v1. meshery/meshery-broker", and " (being deleted)" behind it when it is.
func Labelled(ctx context.Context, config *rest.Config, selector string) ([]string, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{} // kinds that are deprecated count too
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	kinds, err := client.ServerPreferredResources()
	if err != nil {
		return nil, err // a CRD that is going, for a moment
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "get"}}, kinds) {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, kind := range list.APIResources {
			resource := group.WithResource(kind.Name)
			labelled, err := objects.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: selector})
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", kind.Name, err)
			}
			for _, object := range labelled.Items {
				line := fmt.Sprintf("%s.%s.%s %s/%s", kind.Name, group.Version, group.Group, object.Namespace, object.Name)
				if object.DeletionTimestamp != nil {
					line += " (being deleted)"
				}
				found = append(found, line)
			}
		}
	}
	return found, nil
}
