package protect

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/util/flowcontrol"
)

// reviewer stands for the API server: it lets those in who are welcome. The real one is asked in package operator.
type reviewer struct {
	mu      sync.Mutex
	welcome map[string]bool
	reviews int
}

func (r *reviewer) client() *fake.Clientset {
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reviews++
		review.Status.Authenticated = r.welcome[review.Spec.Token]
		return true, review, nil
	})
	client.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		review.Status.Allowed = true
		return true, review, nil
	})
	return client
}

func TestStrangersDoNotStarveReaders(t *testing.T) {
	const burst = 5
	r := &reviewer{welcome: map[string]bool{"reader": true}}
	now := time.Now()
	handler := newHandler(http.NotFoundHandler(), r.client(), flowcontrol.NewTokenBucketPassiveRateLimiter(0.001, burst), func() time.Time { return now })
	ask := func(token string) int {
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Authorization", "Bearer "+token)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		return recorder.Code
	}
	const letIn = http.StatusNotFound // what is behind the door
	step := func(what, token string, code, reviews int) {
		t.Helper()
		before := r.reviews
		if got := ask(token); got != code || r.reviews-before != reviews {
			t.Errorf("%s: %d, %d reviews; want %d, %d", what, got, r.reviews-before, code, reviews)
		}
	}
	step("the reader is new", "reader", letIn, 1)
	for i := range 2 * verdictsKept {
		ask(fmt.Sprint("made-up-", i))
	}
	if r.reviews != burst {
		t.Errorf("%d reviews, want %d", r.reviews, burst)
	}
	step("one stranger more", "stranger", http.StatusTooManyRequests, 0)
	step("the reader is remembered", "reader", letIn, 0)
	now = now.Add(entryLife)
	step("he is asked about again, before strangers", "reader", letIn, 1)
	step("and remembered", "reader", letIn, 0)

	r.welcome["reader"] = false
	step("his token is revoked, which is not known yet", "reader", letIn, 0)
	now = now.Add(entryLife)
	step("now it is", "reader", http.StatusUnauthorized, 1)
	step("that is remembered too", "reader", http.StatusUnauthorized, 0)
}
