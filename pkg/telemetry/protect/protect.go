// Package protect keeps what is served over HTTP for those accounts of a cluster that may read it.
package protect

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
)

const (
	// reviewTimeout is how long the API server may take to answer.
	reviewTimeout = 5 * time.Second
	// refusalLife and entryLife are how long a verdict stands: a token that was revoked works on for entryLife at most.
	refusalLife = 10 * time.Second
	entryLife   = time.Minute
	// acquaintance is how long somebody who was let in is asked about without waiting in the line of strangers.
	acquaintance = time.Hour
	verdictsKept = 256 // of each kind
)

// Handler lets a request through to next only with a bearer token of somebody who may "get" the request's path, a non-resource
// URL, by the cluster's own RBAC. Without a token, or with one that the API server does not know, the answer is 401; to those who
// may not it is 403; and 503 while the API server cannot be asked.
//
// Everybody who reaches the port can make it ask about tokens that he made up: strangers limits that, and who is too many gets 429.
// Those who were let in before are not limited by it.
//
// k8s.io/apiserver has authenticators and authorizers that do this and much more. It would bring half an API server into the
// module's dependencies, for two requests.
func Handler(next http.Handler, client kubernetes.Interface, strangers flowcontrol.PassiveRateLimiter) http.Handler {
	return newHandler(next, client, strangers, time.Now)
}

func newHandler(next http.Handler, client kubernetes.Interface, strangers flowcontrol.PassiveRateLimiter, now func() time.Time) http.Handler {
	d := &doorkeeper{
		client: client, strangers: strangers, now: now,
		entered: cache.NewLRUExpireCache(verdictsKept), refused: cache.NewLRUExpireCache(verdictsKept),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := d.verdict(r)
		switch {
		case err != nil:
			klog.FromContext(r.Context()).V(2).Info("The API server cannot be asked who may read metrics", "err", err)
			http.Error(w, "the API server cannot be asked whether this token may read this: try again later", http.StatusServiceUnavailable)
		case v.status != http.StatusOK:
			if v.status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			http.Error(w, v.reason, v.status)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

type doorkeeper struct {
	client    kubernetes.Interface
	strangers flowcontrol.PassiveRateLimiter
	now       func() time.Time
	// entered holds when a question was last answered with yes, and refused what else the answer was. They are apart so that no
	// number of refusals pushes out a reader.
	entered, refused *cache.LRUExpireCache
}

// verdict is what becomes of a request, and why.
type verdict struct {
	status int
	reason string
}

// question is what a verdict answers. It holds a digest, so that no token stays in memory.
type question struct {
	token [sha256.Size]byte
	path  string
}

func (d *doorkeeper) verdict(r *http.Request) (verdict, error) {
	token := bearerToken(r)
	if token == "" {
		return verdict{http.StatusUnauthorized, "want the header Authorization: Bearer, with the token of an account of this cluster"}, nil
	}
	asked := question{sha256.Sum256([]byte(token)), r.URL.Path}
	last, known := d.entered.Get(asked)
	if known && d.now().Sub(last.(time.Time)) < entryLife {
		return verdict{http.StatusOK, ""}, nil
	}
	if refusal, ok := d.refused.Get(asked); ok {
		return refusal.(verdict), nil
	}
	if !known && !d.strangers.TryAccept() {
		return verdict{http.StatusTooManyRequests, "too many tokens that were not seen before: try again later"}, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
	defer cancel()
	v, err := d.review(ctx, token, r.URL.Path)
	switch {
	case err != nil:
	case v.status == http.StatusOK:
		d.entered.Add(asked, d.now(), acquaintance)
	default:
		d.entered.Remove(asked)
		d.refused.Add(asked, v, refusalLife)
	}
	return v, err
}

func bearerToken(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// review asks the API server who it is and whether he may.
func (d *doorkeeper) review(ctx context.Context, token, path string) (verdict, error) {
	who, err := d.client.AuthenticationV1().TokenReviews().Create(ctx,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return verdict{}, fmt.Errorf("review token: %w", err)
	}
	if !who.Status.Authenticated {
		return verdict{http.StatusUnauthorized, "the API server does not accept this token"}, nil
	}
	user := who.Status.User
	extra := map[string]authorizationv1.ExtraValue{}
	for key, value := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	may, err := d.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return verdict{}, fmt.Errorf("review access: %w", err)
	}
	if !may.Status.Allowed {
		return verdict{http.StatusForbidden, fmt.Sprintf("%s may not get %s: bind it to a ClusterRole that allows this nonResourceURL", user.Username, path)}, nil
	}
	return verdict{http.StatusOK, ""}, nil
}
