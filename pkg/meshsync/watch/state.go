package watch

import (
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// outagePatience is how long the API server may be away before what was seen of it counts as old. A watch that ends in the ordinary
// way is there again in less.
const outagePatience = 30 * time.Second

// state says how far a watch is, and why it is no further.
func (w *watch) state() (v1alpha1.ResourceState, error) {
	if denial := w.denial.Load(); denial != nil {
		return v1alpha1.ResourceForbidden, *denial
	}
	failure, now, listed := w.failure.Load(), time.Now(), cache.IsDone(w.synced)
	switch {
	case failure.over(now) && !listed:
		return v1alpha1.ResourceSyncing, errors.New("waiting for its first list")
	case failure.over(now) && since(w.asked.Load(), now) >= outagePatience:
		return v1alpha1.ResourceFailed, errors.New("the API server does not answer")
	case failure.over(now) && since(w.listing.Load(), now) >= outagePatience:
		return v1alpha1.ResourceFailed, errors.New("the API server has not sent all of it again yet")
	case failure.over(now):
		return v1alpha1.ResourceSynced, nil
	case apierrors.IsForbidden(failure.err):
		return v1alpha1.ResourceForbidden, failure.err
	case apierrors.IsNotFound(failure.err), apierrors.IsMethodNotSupported(failure.err):
		return v1alpha1.ResourceNotServed, failure.err
	case listed && now.Sub(failure.since) < outagePatience:
		return v1alpha1.ResourceSynced, nil
	default:
		return v1alpha1.ResourceFailed, failure.err
	}
}

// isRefused tells an API server that does not let us from one that cannot right now. What is refused is reported, and not waited for.
func isRefused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsBadRequest(err)
}

// isDenied reports whether the watch was refused from the start.
func (w *watch) isDenied() bool { return w.denial.Load() != nil }

// forbiddenNow reports whether the watch is not permitted, as far as is known.
func (w *watch) forbiddenNow() bool {
	state, _ := w.state()
	return state == v1alpha1.ResourceForbidden
}

// missing returns why what the watch covers counts as not seen; nil if it was, or never will be.
func (w *watch) missing() error {
	state, err := w.state()
	if state == v1alpha1.ResourceSyncing || state == v1alpha1.ResourceFailed && !isRefused(err) {
		return err
	}
	return nil
}
