package deliver

import (
	"slices"
	"sync"
	"sync/atomic"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/pkg/meshsync/publish"
	"meshery.io/operator/pkg/watchlist"
)

// mostTrimmed is how many objects status names.
const mostTrimmed = 20

// trimmed is the objects that were published without some of their parts.
type trimmed struct {
	some atomic.Bool

	mu      sync.Mutex
	objects []v1alpha1.TrimmedObject // the last is the newest
}

// put notes that an object was published without some parts.
func (t *trimmed) put(key publish.Key, without []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	object := trimmedObject(key)
	object.Without = without
	t.objects = append(slices.DeleteFunc(t.objects, sameObject(object)), object)
	t.objects = t.objects[max(0, len(t.objects)-mostTrimmed):]
	t.some.Store(true)
}

// drop notes that an object is gone, or was published as a whole.
func (t *trimmed) drop(key publish.Key) {
	if !t.some.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.objects = slices.DeleteFunc(t.objects, sameObject(trimmedObject(key)))
	t.some.Store(len(t.objects) > 0)
}

func (t *trimmed) list() []v1alpha1.TrimmedObject {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.objects)
}

func trimmedObject(key publish.Key) v1alpha1.TrimmedObject {
	return v1alpha1.TrimmedObject{Resource: watchlist.Format(key.Resource), Namespace: key.Namespace, Name: key.Name}
}

func sameObject(a v1alpha1.TrimmedObject) func(b v1alpha1.TrimmedObject) bool {
	return func(b v1alpha1.TrimmedObject) bool {
		return a.Resource == b.Resource && a.Namespace == b.Namespace && a.Name == b.Name
	}
}
