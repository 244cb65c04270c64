package watch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"
)

const (
	// everywhere stands for a namespace in a review of what holds in all of them: none can have this name, so that no RoleBinding
	// adds to the answer.
	everywhere = "*"
	// Where rules do not tell all, as with an authorizer outside of the API server, what they do not allow is asked for one by one:
	// so many at a time, since an edit may be waiting, and each so often.
	maxReviews     = 40
	reviewInterval = 2 * time.Minute
	// reviewPatience is how long an answer may take. Everything else waits for it.
	reviewPatience = 10 * time.Second
)

// access finds out what may be listed and watched, before it is tried. It has one user at a time.
type access struct {
	client  dynamic.Interface
	refused map[scope]refusal // as of the last review by name
}

type refusal struct {
	err error
	at  time.Time
}

// allowed is what an account may do in a namespace.
type allowed struct {
	rules []authorizationv1.ResourceRule
	// complete: what no rule allows is not allowed.
	complete bool
}

// review returns why scopes may not be listed and watched, for those that may not. It costs a request per namespace and, where the
// rules do not tell all, one or two more for some of what they do not allow; the others of these are left to be tried, or stay as they
// were. While the API server does not answer, what was refused stays so.
func (a *access) review(ctx context.Context, scopes []scope) map[scope]error {
	in := map[string]allowed{}
	refused, asked := map[scope]error{}, 0
	for _, s := range scopes {
		may, known := in[s.namespace]
		if !known {
			var err error
			if may, err = a.rules(ctx, s.namespace); err != nil {
				klog.FromContext(ctx).V(2).Info("What may be watched cannot be asked", "reason", err.Error())
				return a.known(scopes)
			}
			in[s.namespace] = may
		}
		before, refusedBefore := a.refused[s]
		missing := missingVerb(may.rules, s.resource)
		switch {
		case missing == "":
			delete(a.refused, s)
			continue
		case may.complete:
			a.refuse(s, missing)
		case refusedBefore && time.Since(before.at) < reviewInterval:
		case asked < maxReviews:
			asked++
			switch missing, err := a.ask(ctx, s); {
			case err != nil: // as before: what was never refused is tried
			case missing != "":
				a.refuse(s, missing)
			default:
				delete(a.refused, s)
			}
		}
		if now, ok := a.refused[s]; ok {
			refused[s] = now.err
		}
	}
	for s := range a.refused {
		if _, wanted := refused[s]; !wanted {
			delete(a.refused, s)
		}
	}
	return refused
}

func (a *access) refuse(s scope, verb string) {
	if a.refused == nil {
		a.refused = map[scope]refusal{}
	}
	in := ""
	if s.namespace != "" {
		in = " in namespace " + s.namespace
	}
	a.refused[s] = refusal{fmt.Errorf("may not %s it%s", verb, in), time.Now()}
}

func (a *access) known(scopes []scope) map[scope]error {
	refused := map[scope]error{}
	for _, s := range scopes {
		if known, ok := a.refused[s]; ok {
			refused[s] = known.err
		}
	}
	return refused
}

// watchVerbs are what it takes to watch.
var watchVerbs = []string{"list", "watch"}

// missingVerb is what of it no rule allows; empty if all is allowed.
func missingVerb(rules []authorizationv1.ResourceRule, resource schema.GroupVersionResource) string {
	has := func(values []string, value string) bool {
		return slices.Contains(values, value) || slices.Contains(values, "*")
	}
	for _, verb := range watchVerbs {
		if !slices.ContainsFunc(rules, func(rule authorizationv1.ResourceRule) bool {
			return len(rule.ResourceNames) == 0 && has(rule.Verbs, verb) && has(rule.APIGroups, resource.Group) && has(rule.Resources, resource.Resource)
		}) {
			return verb
		}
	}
	return ""
}

func (a *access) rules(ctx context.Context, namespace string) (allowed, error) {
	if namespace == "" {
		namespace = everywhere
	}
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	if err := a.create(ctx, "SelfSubjectRulesReview", review); err != nil {
		return allowed{}, err
	}
	return allowed{review.Status.ResourceRules, !review.Status.Incomplete && review.Status.EvaluationError == ""}, nil
}

// ask returns the verb that is not allowed on one scope; empty if both are.
func (a *access) ask(ctx context.Context, s scope) (string, error) {
	for _, verb := range watchVerbs {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: s.namespace, Verb: verb, Group: s.resource.Group, Version: s.resource.Version, Resource: s.resource.Resource,
			},
		}}
		if err := a.create(ctx, "SelfSubjectAccessReview", review); err != nil {
			return "", err
		}
		if !review.Status.Allowed {
			return verb, nil
		}
	}
	return "", nil
}

// create posts a review and reads the answer into it.
func (a *access) create(ctx context.Context, kind string, review any) error {
	gvk := authorizationv1.SchemeGroupVersion.WithKind(kind)
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(review)
	if err != nil {
		return err
	}
	request := &unstructured.Unstructured{Object: fields}
	request.SetGroupVersionKind(gvk)
	ctx, cancel := context.WithTimeout(ctx, reviewPatience)
	defer cancel()
	answer, err := a.client.Resource(gvk.GroupVersion().WithResource(strings.ToLower(kind)+"s")).Create(ctx, request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, review)
}
