package watch

import (
	"errors"
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

// reviewer is an API server that answers reviews.
type reviewer struct {
	rules  authorizationv1.SubjectRulesReviewStatus
	allows bool // what it says of one kind
	away   bool
	asked  map[string]int // by kind of review
}

func (r *reviewer) access() *access {
	client := fake.NewSimpleDynamicClient(runtime.NewScheme())
	client.PrependReactor("create", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if r.away {
			return true, nil, errors.New("no answer")
		}
		kind := action.(clienttesting.CreateAction).GetObject().GetObjectKind().GroupVersionKind().Kind
		r.asked[kind]++
		var review any = &authorizationv1.SelfSubjectRulesReview{Status: r.rules}
		if kind == "SelfSubjectAccessReview" {
			review = &authorizationv1.SelfSubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: r.allows}}
		}
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(review)
		return true, &unstructured.Unstructured{Object: fields}, err
	})
	return &access{client: client}
}

func TestReview(t *testing.T) {
	rule := authorizationv1.ResourceRule{Verbs: []string{"list", "watch"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}
	named, listed := rule, rule
	named.ResourceNames, listed.Verbs = []string{"one"}, []string{"list"}
	var many []scope
	for i := range 2 * maxReviews {
		many = append(many, scope{schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: fmt.Sprint("kind", i)}, ""})
	}
	one, inNamespace := []scope{{resource: configMaps}}, []scope{{configMaps, "a"}, {configMaps, "b"}}
	tests := map[string]struct {
		rules      []authorizationv1.ResourceRule
		incomplete bool
		allows     bool
		scopes     []scope
		refused    int
		message    string // of one
		asked      string // rules and access reviews
	}{
		"a rule allows it":                                 {rules: []authorizationv1.ResourceRule{rule}, scopes: one, asked: "1 0"},
		"in two namespaces":                                {rules: []authorizationv1.ResourceRule{rule}, scopes: inNamespace, asked: "2 0"},
		"no rule allows it":                                {scopes: one, refused: 1, message: "may not list it", asked: "1 0"},
		"no rule allows it in a namespace":                 {scopes: inNamespace[:1], refused: 1, message: "may not list it in namespace a", asked: "1 0"},
		"a rule for one object is none":                    {rules: []authorizationv1.ResourceRule{named}, scopes: one, refused: 1, message: "may not list it", asked: "1 0"},
		"a rule to list only":                              {rules: []authorizationv1.ResourceRule{listed}, scopes: one, refused: 1, message: "may not watch it", asked: "1 0"},
		"rules do not tell all, and it is allowed":         {incomplete: true, allows: true, scopes: one, asked: "1 2"},
		"rules do not tell all, and it is not":             {incomplete: true, scopes: one, refused: 1, message: "may not list it", asked: "1 1"},
		"rules do not tell all of many: the rest is tried": {incomplete: true, scopes: many, refused: maxReviews, asked: fmt.Sprint("1 ", maxReviews)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := &reviewer{rules: authorizationv1.SubjectRulesReviewStatus{ResourceRules: test.rules, Incomplete: test.incomplete}, allows: test.allows, asked: map[string]int{}}
			a := server.access()
			refused := a.review(t.Context(), test.scopes)
			if len(refused) != test.refused {
				t.Errorf("refused: %v", refused)
			}
			for _, err := range refused {
				if test.message != "" && err.Error() != test.message {
					t.Errorf("got %q, want %q", err, test.message)
				}
			}
			if asked := fmt.Sprint(server.asked["SelfSubjectRulesReview"], server.asked["SelfSubjectAccessReview"]); asked != test.asked {
				t.Errorf("asked %s, want %s", asked, test.asked)
			}
			server.away = true
			if again := a.review(t.Context(), test.scopes); len(again) != test.refused {
				t.Errorf("without an answer: %v", again)
			}
		})
	}
}

func TestWhatWasRefusedIsNotAskedForAtOnceAgain(t *testing.T) {
	server := &reviewer{rules: authorizationv1.SubjectRulesReviewStatus{Incomplete: true}, asked: map[string]int{}}
	a, scopes := server.access(), []scope{{resource: configMaps}}
	a.review(t.Context(), scopes)
	if refused := a.review(t.Context(), scopes); len(refused) != 1 || server.asked["SelfSubjectAccessReview"] != 1 {
		t.Errorf("refused %v after %v", refused, server.asked)
	}
	server.rules.ResourceRules = []authorizationv1.ResourceRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}
	if refused := a.review(t.Context(), scopes); len(refused) != 0 {
		t.Errorf("refused %v although a rule allows it now", refused)
	}
}
