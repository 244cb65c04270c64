package faults

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// refusalsLast is how long a refusal stays, which makes back-off show.
const refusalsLast = 8 * time.Second

// The API server answers 429 to every request of the operator.
func throttling(t *testing.T, p *plane) {
	namespace, chance := p.newNamespace(t), chance(t)
	operator := p.startOperator(t, namespace)
	p.createResources(t, namespace)
	last := anEdit(chance, edit{})
	p.settle(t, namespace, last)

	for range rounds {
		lift := p.throttle(t, namespace)
		eventually(t, "the operator is throttled", func(context.Context) error {
			if count(operator.requests(time.Now().Add(-time.Second)), throttled) == 0 {
				return errors.New("no answer 429")
			}
			return nil
		})
		began := time.Now()
		last = anEdit(chance, last)
		if err := last.apply(t.Context(), p, namespace); err != nil {
			t.Fatal(err)
		}
		pass(t, away) // less than the lease may go without being renewed
		refused := count(operator.requests(began), throttled)
		lift()
		eventually(t, "the edit is in force", func(ctx context.Context) error { return last.inForce(ctx, p, namespace) })
		operator.running(t)
		t.Logf("%d requests were throttled in %s; right again %s after it began", refused, away, time.Since(began).Round(time.Millisecond))
		if most := int(8 * away.Seconds()); refused > most {
			t.Errorf("%d requests in %s of throttling: want %d at most", refused, away, most)
		}
	}
}

func throttled(r request) bool { return strings.HasPrefix(r.status, "429") }

// throttle leaves the operator the share of the API server of a single request, and takes it with one that hangs, until lift.
func (p *plane) throttle(t *testing.T, namespace string) (lift func()) {
	t.Helper()
	const hog = "hog"
	level := &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				NominalConcurrencyShares: new(int32(0)),
				LendablePercent:          new(int32(0)),
				BorrowingLimitPercent:    new(int32(0)),
				LimitResponse:            flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject},
			},
		},
	}
	account := func(name string) flowcontrolv1.Subject {
		return flowcontrolv1.Subject{
			Kind:           flowcontrolv1.SubjectKindServiceAccount,
			ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: namespace, Name: name},
		}
	}
	everything := []string{flowcontrolv1.ResourceAll}
	schema := &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: namespace},
			MatchingPrecedence:         10,
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects: []flowcontrolv1.Subject{account(meshery.OperatorName), account(hog)},
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
					Verbs: everything, APIGroups: everything, Resources: everything, Namespaces: everything, ClusterScope: true,
				}},
			}},
		},
	}
	_, stopHanging := p.hangingWebhook(t, namespace, 30, "", "limitranges")
	flow := p.kube.FlowcontrolV1()
	p.run(t, "create", "rolebinding", "-n", namespace, hog, "--clusterrole=cluster-admin", "--serviceaccount="+namespace+":"+hog)
	if _, err := flow.PriorityLevelConfigurations().Create(t.Context(), level, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := flow.FlowSchemas().Create(t.Context(), schema, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	hogging, stop := context.WithCancel(t.Context())
	config := rest.CopyConfig(p.config)
	config.Timeout = 0
	config.Impersonate.UserName = "system:serviceaccount:" + namespace + ":" + hog
	hogs := kubernetes.NewForConfigOrDie(config).CoreV1().LimitRanges(namespace)
	go func() {
		for hogging.Err() == nil {
			_, _ = hogs.Create(hogging, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: hog}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		}
	}()
	return func() {
		stop()
		stopHanging()
		p.run(t, "delete", "flowschema,prioritylevelconfiguration", namespace)
		p.run(t, "delete", "rolebinding", "-n", namespace, hog)
	}
}

// A webhook that has to agree to workloads never answers.
func aWebhookThatHangs(t *testing.T, p *plane) {
	namespace, chance := p.newNamespace(t), chance(t)
	operator := p.startOperator(t, namespace)
	p.createResources(t, namespace)
	last := anEdit(chance, edit{})
	p.settle(t, namespace, last)

	for range rounds {
		asked, lift := p.hangingWebhook(t, namespace, 1, "apps", "deployments", "statefulsets")
		eventually(t, "the webhook is asked", func(ctx context.Context) error {
			_, err := p.try(ctx, "annotate", "deployment", "-n", namespace, meshery.MeshSyncName, "example.com/probe=1", "--overwrite", "--dry-run=server")
			if err == nil || !strings.Contains(err.Error(), webhookName) {
				return fmt.Errorf("it is not yet: %w", err)
			}
			return nil
		})
		before := asked()
		began := time.Now()
		last = edit{last.size%3 + 1, (last.verbosity + 1) % 6} // both change
		if err := last.apply(t.Context(), p, namespace); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the conditions name the webhook", func(ctx context.Context) error {
			broker, _, err := p.broker(ctx, namespace)
			if err != nil {
				return err
			}
			return saying(broker.Status.Conditions, v1alpha1.ReasonApplyFailed, webhookName)
		})
		pass(t, time.Until(began.Add(refusalsLast)))
		attempts, writes := asked()-before, count(operator.requests(began), request.write)
		lift()
		eventually(t, "the edit is in force", func(ctx context.Context) error { return last.inForce(ctx, p, namespace) })
		operator.running(t)
		t.Logf("%d attempts, %d writes of all kinds in %s; right again %s after it began", attempts, writes, refusalsLast, time.Since(began).Round(time.Millisecond))
		// Six of each of two resources: without back-off it would be eight, since each takes a second.
		if attempts < 4 || attempts > 14 || writes > 30 {
			t.Errorf("%d attempts and %d writes in %s", attempts, writes, refusalsLast)
		}
	}
}

const webhookName = "never-answers.example.com"

// saying complains unless Ready and Degraded give a reason, with a text in the message.
func saying(conditions []metav1.Condition, reason, text string) error {
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionDegraded} {
		c := meta.FindStatusCondition(conditions, kind)
		if c == nil || c.Reason != reason || !strings.Contains(c.Message, text) {
			return fmt.Errorf("want %s with reason %s and %q, conditions are %+v", kind, reason, text, conditions)
		}
	}
	return nil
}

// hangingWebhook makes the API server ask about some kinds of objects of a namespace where nobody answers, until lift.
func (p *plane) hangingWebhook(t *testing.T, namespace string, timeout int32, group string, resources ...string) (asked func() int, lift func()) {
	t.Helper()
	questions := make(chan struct{}, 1000)
	over := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		questions <- struct{}{}
		<-over
	}))
	webhooks := p.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err := webhooks.Create(t.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name:                    webhookName,
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             new(admissionv1.SideEffectClassNone),
			FailurePolicy:           new(admissionv1.Fail),
			TimeoutSeconds:          &timeout,
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			ClientConfig: admissionv1.WebhookClientConfig{
				URL:      &server.URL,
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	asked = func() int { return len(questions) }
	lift = func() {
		if err := webhooks.Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		close(over)
		server.Close()
	}
	return asked, lift
}

// A quota admits no pods.
func aQuotaWithoutPods(t *testing.T, p *plane) {
	for range rounds {
		namespace := p.newNamespace(t)
		quotas := p.kube.CoreV1().ResourceQuotas(namespace)
		quota := &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Name: "no-pods"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
		}
		if _, err := quotas.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		operator := p.startOperator(t, namespace)
		p.createResources(t, namespace)
		eventually(t, "the MeshSync says that the quota refuses its pods", func(ctx context.Context) error {
			meshSync, _, err := p.meshSync(ctx, namespace)
			if err != nil {
				return err
			}
			ready := meta.FindStatusCondition(meshSync.Status.Conditions, v1alpha1.ConditionReady)
			degraded := meta.FindStatusCondition(meshSync.Status.Conditions, v1alpha1.ConditionDegraded)
			const text = "exceeded quota: no-pods"
			if ready == nil || !strings.Contains(ready.Message, text) || degraded.Reason != v1alpha1.ReasonPodsFailing || !strings.Contains(degraded.Message, text) {
				return fmt.Errorf("Ready is %+v, Degraded %+v", ready, degraded)
			}
			return nil
		})
		eventually(t, "the Broker says where to look", func(ctx context.Context) error {
			broker, _, err := p.broker(ctx, namespace)
			if err != nil {
				return err
			}
			ready := meta.FindStatusCondition(broker.Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || !strings.Contains(ready.Message, "see kubectl describe statefulset -n "+namespace+" "+meshery.BrokerName) {
				return fmt.Errorf("Ready is %+v", ready)
			}
			return nil
		})
		if err := quotas.Delete(t.Context(), quota.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		lifted := time.Now()
		eventually(t, "all is well", func(ctx context.Context) error { return p.well(ctx, namespace) })
		operator.stop(t)
		t.Logf("well %s after the quota was lifted", time.Since(lifted).Round(time.Millisecond))
	}
}
