package operator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// servedKindsAge is how old the answer to "what is served" may be. A MeshSync whose list has no whitelist is looked at again as
// often, so that its agent may read a new kind soon.
const servedKindsAge = time.Minute

// servedKinds remembers what the API server serves.
type servedKinds struct {
	client discovery.ServerResourcesInterfaceWithContext
	now    func() time.Time

	mu    sync.Mutex
	kinds []schema.GroupVersionResource
	asked time.Time
}

// get returns the kinds that can be listed and watched. A group that does not answer at the moment is left out by the API server;
// what it had before is kept, so that its agents do not lose it.
func (s *servedKinds) get(ctx context.Context) ([]schema.GroupVersionResource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kinds != nil && s.now().Sub(s.asked) < servedKindsAge {
		return s.kinds, nil
	}
	_, lists, err := s.client.ServerGroupsAndResourcesWithContext(ctx)
	failed, partly := discovery.GroupDiscoveryFailedErrorGroups(err)
	if err != nil && !partly {
		return nil, fmt.Errorf("discover kinds: %w", err)
	}
	kinds := watchable(lists)
	for _, known := range s.kinds {
		if _, silent := failed[known.GroupVersion()]; silent {
			kinds = append(kinds, known)
		}
	}
	s.kinds, s.asked = kinds, s.now()
	return kinds, nil
}

func watchable(lists []*metav1.APIResourceList) []schema.GroupVersionResource {
	var kinds []schema.GroupVersionResource
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue // a group version that the API server itself cannot route
		}
		for _, kind := range list.APIResources {
			if !strings.Contains(kind.Name, "/") && slices.Contains(kind.Verbs, "list") && slices.Contains(kind.Verbs, "watch") {
				kinds = append(kinds, gv.WithResource(kind.Name))
			}
		}
	}
	return kinds
}
