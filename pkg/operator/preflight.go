package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"meshery.io/operator/pkg/apis/meshery"
)

const (
	// The preflight looks again after 1, 2, 4, 8, 16 s and then every 30 s; from the start again when something has changed.
	preflightFirst = time.Second
	preflightLast  = 30 * time.Second
	// preflightTimeout is how long the API server may take to answer one question, of which preflightParallel are asked at a time.
	preflightTimeout  = 10 * time.Second
	preflightParallel = 8
)

// preflight looks whether everything is there that the operator needs, before it begins. What is missing then is said in one line;
// without it the same would be said by dozens of watches that fail for ever.
type preflight struct {
	client      kubernetes.Interface
	grantor     kubernetes.Interface // the same, as the grantor
	host        string
	resources   []schema.GroupVersionResource // to be served
	permissions []permission
	options     *Options
}

func newPreflight(config *rest.Config, options *Options) (*preflight, error) {
	// Some dozens of questions per served namespace, once: preflightParallel is limit enough.
	config = withRate(config, -1, 0)
	config.Timeout = preflightTimeout
	client, err := kubernetes.NewForConfig(config)
	granting, grantingErr := kubernetes.NewForConfig(asGrantor(config, options.Namespace))
	url, _, urlErr := rest.DefaultServerUrlFor(config)
	if err := errors.Join(err, grantingErr, urlErr); err != nil {
		return nil, fmt.Errorf("set up API client: %w", err)
	}
	return &preflight{
		client:  client,
		grantor: granting,
		host:    url.Host,
		resources: []schema.GroupVersionResource{
			brokerKind.GroupVersion().WithResource("brokers"),
			meshSyncKind.GroupVersion().WithResource("meshsyncs"),
		},
		permissions: permissions(options),
		options:     options,
	}, nil
}

// wait returns nil when nothing is missing, and an error only when ctx ended before. Meanwhile it tells notReady what is missing.
func (p *preflight) wait(ctx context.Context, notReady func(error)) error {
	logger := klog.FromContext(ctx)
	said, delay := "", preflightFirst
	for {
		missing, optional := p.look(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if missing == "" {
			if said != "" {
				logger.Info("Nothing is missing any more")
			}
			if len(optional) > 0 {
				logger.Info("Some permissions are missing that the operator can do without", "missing", strings.Join(optional, ". "))
			}
			return nil
		}
		notReady(errors.New("missing: " + missing))
		if missing != said {
			logger.Error(nil, "The operator cannot work yet and waits", "missing", missing)
			said, delay = missing, preflightFirst
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(delay):
		}
		delay = min(2*delay, preflightLast)
	}
}

// look says what is missing, and what else the operator may not do that it can do without.
func (p *preflight) look(ctx context.Context) (missing string, optional []string) {
	notServed, err := p.notServed(ctx)
	if err != nil {
		return p.unreachable(ctx, err), nil
	}
	answers, err := p.ask(ctx)
	if err != nil {
		return p.unreachable(ctx, err), nil
	}
	var parts []string
	if len(notServed) > 0 {
		parts = append(parts, "CRDs "+strings.Join(notServed, " and ")+" are not installed (kubectl apply -f manifests)")
	}
	needed, optional := describeDenied(answers, p.options.Namespace)
	if len(needed) > 0 {
		parts = append(parts, "this account lacks permissions: "+strings.Join(needed, ". "))
	}
	return strings.Join(parts, ". "), optional
}

func (p *preflight) unreachable(ctx context.Context, err error) string {
	klog.FromContext(ctx).V(2).Info("The API server cannot be asked", "err", err)
	return fmt.Sprintf("an answer of the API server %s: %s", p.host, causeOf(err))
}

// notServed are the CRDs that the API server does not serve.
func (p *preflight) notServed(ctx context.Context) ([]string, error) {
	var names []string
	for _, resource := range p.resources {
		list := &metav1.APIResourceList{}
		err := p.client.Discovery().RESTClient().Get().AbsPath("/apis/" + resource.GroupVersion().String()).Do(ctx).Into(list)
		if apierrors.IsForbidden(err) {
			return nil, nil // a cluster that hides what it serves: the watches will tell
		}
		if ignoreNotFound(err) != nil {
			return nil, err
		}
		if !slices.ContainsFunc(list.APIResources, func(served metav1.APIResource) bool { return served.Name == resource.Resource }) {
			names = append(names, resource.GroupResource().String())
		}
	}
	return names, nil
}

// ask asks for every permission, in every namespace in which it is needed; for the grantor's only who may act as the grantor.
func (p *preflight) ask(ctx context.Context) ([]answer, error) {
	answers, err := p.askFor(ctx, p.client, p.permissions)
	if err != nil || slices.ContainsFunc(answers, func(a answer) bool { return slices.Contains(a.denied, "impersonate") }) {
		return answers, err
	}
	granting, err := p.askFor(ctx, p.grantor, grantorPermissions())
	for i := range granting {
		granting[i].account = meshery.GrantorName
	}
	return append(answers, granting...), err
}

func (p *preflight) askFor(ctx context.Context, client kubernetes.Interface, permissions []permission) ([]answer, error) {
	var all []answer
	for _, permission := range permissions {
		for _, namespace := range p.options.namespacesOf(permission) {
			all = append(all, answer{permission: permission, namespace: namespace})
		}
	}
	var group errgroup.Group
	group.SetLimit(preflightParallel)
	for i := range all {
		group.Go(func() (err error) {
			all[i].denied, err = deniedVerbs(ctx, client, all[i].permission, all[i].namespace)
			return err
		})
	}
	return all, group.Wait()
}

func deniedVerbs(ctx context.Context, client kubernetes.Interface, permission permission, namespace string) ([]string, error) {
	resource, subresource, _ := strings.Cut(permission.resource, "/")
	var denied []string
	for _, verb := range permission.verbs {
		review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: verb, Group: permission.group,
				Resource: resource, Subresource: subresource, Name: permission.name,
			}},
		}, metav1.CreateOptions{})
		switch {
		case apierrors.IsForbidden(err):
			return nil, nil // a cluster where one may not even ask: the first use will tell
		case err != nil:
			return nil, err
		case !review.Status.Allowed:
			denied = append(denied, verb)
		}
	}
	return denied, nil
}
