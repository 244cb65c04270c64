package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
	"meshery.io/operator/test/controlplane"
)

func TestBrokerAndMeshSyncComeUp(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	startOperator(t, namespace)

	wantReady(t, brokerConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady)
	playKubelet(t, namespace)
	if got := wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed); got.ObservedGeneration != 1 {
		t.Errorf("observed generation %d, want 1", got.ObservedGeneration)
	}
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)

	broker, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Get(t.Context(), meshery.BrokerName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := "meshery-broker." + namespace + ".svc.cluster.local:4222"
	if broker.Status.Endpoint.Internal != address || broker.Status.Endpoint.External != "" {
		t.Errorf("endpoint %+v, want internal %s", broker.Status.Endpoint, address)
	}
	meshSync, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(t.Context(), meshery.MeshSyncName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if meshSync.Status.PublishingTo != address {
		t.Errorf("publishing-to %q, want %s", meshSync.Status.PublishingTo, address)
	}
	secret, err := server.admin.kube.CoreV1().Secrets(namespace).Get(t.Context(), "meshery-nats-auth", metav1.GetOptions{})
	if err != nil || len(secret.Data["token"]) == 0 {
		t.Errorf("token Secret %v, %v", secret, err)
	}
	service, err := server.admin.kube.CoreV1().Services(namespace).Get(t.Context(), meshery.BrokerName, metav1.GetOptions{})
	if err != nil || service.Spec.Type != corev1.ServiceTypeLoadBalancer || len(service.Spec.Ports) != 1 || service.Spec.Ports[0].Name != "client" {
		t.Errorf("Service %+v, %v; want a LoadBalancer with the client port only", service, err)
	}
}

// Whatever makes it run again, an unchanged Broker and MeshSync cost no write.
func TestASecondSyncWritesNothing(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	createMeshSync(t, namespace)
	stop := startOperator(t, namespace)
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
	stop()
	before := mutations(t, namespace)
	if len(before) == 0 {
		t.Fatal("the audit log shows no write of the operator at all: this test cannot see any")
	}

	// A new operator syncs everything that is there. A marker proves when it is through: the Broker is changed, and its status
	// says which generation was synced.
	startOperator(t, namespace)
	touch := []byte(`{"metadata":{"annotations":{"touched":"yes"}}}`)
	for range 3 {
		api := server.admin.meshery.MesheryV1alpha1()
		if _, err := api.Brokers(namespace).Patch(t.Context(), meshery.BrokerName, types.MergePatchType, touch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := api.MeshSyncs(namespace).Patch(t.Context(), meshery.MeshSyncName, types.MergePatchType, touch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	resize := []byte(`{"spec":{"size":2}}`)
	api := server.admin.meshery.MesheryV1alpha1()
	if _, err := api.MeshSyncs(namespace).Patch(t.Context(), meshery.MeshSyncName, types.MergePatchType, resize, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second operator works", func(ctx context.Context) error {
		meshSync, err := api.MeshSyncs(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got := meta.FindStatusCondition(meshSync.Status.Conditions, v1alpha1.ConditionReady); got.ObservedGeneration != 2 {
			return fmt.Errorf("generation %d observed", got.ObservedGeneration)
		}
		return nil
	})
	lists := 0
	for _, write := range mutations(t, namespace)[len(before):] {
		// The resize itself: the watch-list, which says of which generation it is, the Deployment, and the statuses that follow it.
		if strings.Contains(write, "/configmaps/meshery-meshsync-watch-list") {
			lists++
		} else if !strings.Contains(write, "/deployments/") && !strings.Contains(write, "/meshsyncs/meshery-meshsync/status") {
			t.Errorf("needless write: %s", write)
		}
	}
	if lists > 1 {
		t.Errorf("the watch-list was written %d times", lists)
	}
}

func TestChangesByHandAreUndone(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)

	core, apps := server.admin.kube.CoreV1(), server.admin.kube.AppsV1()
	hostile := []byte(`{"spec":{"selector":{"app":"somebody-else"}}}`)
	if _, err := core.Services(namespace).Patch(t.Context(), meshery.BrokerName, types.MergePatchType, hostile, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := apps.Deployments(namespace).Delete(t.Context(), meshery.MeshSyncName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Service and Deployment restored", func(ctx context.Context) error {
		service, err := core.Services(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if service.Spec.Selector["app"] != meshery.AppBroker {
			return fmt.Errorf("selector is %v", service.Spec.Selector)
		}
		deployment, err := apps.Deployments(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if deployment.DeletionTimestamp != nil {
			return errors.New("the Deployment is still being deleted")
		}
		return nil
	})
}

func TestObjectsOfOthersAreNotTouched(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	theirs := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: meshery.BrokerName, Labels: map[string]string{meshery.LabelManagedBy: "Helm"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	services := server.admin.kube.CoreV1().Services(namespace)
	created, err := services.Create(t.Context(), theirs, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	createBroker(t, namespace)
	startOperator(t, namespace)

	got := wantReady(t, brokerConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonConflict)
	if !strings.Contains(got.Message, "Service meshery-broker") || !strings.Contains(got.Message, "Helm") {
		t.Errorf("message %q does not name the Service and its owner", got.Message)
	}
	after, err := services.Get(t.Context(), meshery.BrokerName, metav1.GetOptions{})
	if err != nil || after.ResourceVersion != created.ResourceVersion {
		t.Errorf("the Service was touched: %v, %v", after, err)
	}
}

// The token is generated once; a token that is there already, whoever made it, is kept.
func TestAnExistingTokenIsKept(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	secrets := server.admin.kube.CoreV1().Secrets(namespace)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "meshery-nats-auth"}, StringData: map[string]string{"token": "chosen-by-hand"}}
	created, err := secrets.Create(t.Context(), theirs, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	createBroker(t, namespace)
	startOperator(t, namespace)
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
	after, err := secrets.Get(t.Context(), created.Name, metav1.GetOptions{})
	if err != nil || after.ResourceVersion != created.ResourceVersion {
		t.Errorf("the Secret was touched: %v, %v", after, err)
	}
}

// secretHashes reads what rolls the pods of the Broker and of the MeshSync.
func secretHashes(ctx context.Context, namespace string) (broker, agent string, err error) {
	apps := server.admin.kube.AppsV1()
	set, setErr := apps.StatefulSets(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
	deployment, deploymentErr := apps.Deployments(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
	if err := errors.Join(setErr, deploymentErr); err != nil {
		return "", "", err
	}
	return set.Spec.Template.Annotations[annotationSecretHash], deployment.Spec.Template.Annotations[annotationSecretHash], nil
}

// Server and agent read the token when they start: a new one must roll both, or they would not talk to each other again.
func TestANewTokenRollsBrokerAndAgent(t *testing.T) {
	t.Parallel()
	for name, renew := range map[string]func(t *testing.T, namespace string){
		"the Secret is deleted": func(t *testing.T, namespace string) {
			if err := server.admin.kube.CoreV1().Secrets(namespace).Delete(t.Context(), "meshery-nats-auth", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"the Secret is edited": func(t *testing.T, namespace string) {
			edit := []byte(`{"stringData":{"token":"another"}}`)
			if _, err := server.admin.kube.CoreV1().Secrets(namespace).Patch(t.Context(), "meshery-nats-auth", types.MergePatchType, edit, metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"the Broker is recreated": func(t *testing.T, namespace string) {
			if err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).Delete(t.Context(), meshery.BrokerName, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			createBroker(t, namespace)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := startInstallation(t)
			brokerBefore, agentBefore, err := secretHashes(t.Context(), namespace)
			if err != nil {
				t.Fatal(err)
			}
			renew(t, namespace)
			eventually(t, "both roll", func(ctx context.Context) error {
				broker, agent, err := secretHashes(ctx, namespace)
				if err == nil && (broker == brokerBefore || broker == "" || agent == agentBefore || agent == "") {
					err = fmt.Errorf("broker %s (was %s), agent %s (was %s)", broker, brokerBefore, agent, agentBefore)
				}
				return err
			})
		})
	}
}

// The Brokers "meshery" and "meshery-broker" would have their token in a Secret of the same name.
func TestABrokerDoesNotUseTheTokenOfAnother(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	other, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).
		Create(t.Context(), &v1alpha1.Broker{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret := newBrokerSecret(other, secretSpec{name: "meshery-nats-auth", key: "token"})
	if _, err := server.admin.kube.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	createBroker(t, namespace)
	startOperator(t, namespace)
	got := wantReady(t, brokerConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonConflict)
	if !strings.Contains(got.Message, "Secret meshery-nats-auth belongs to Broker other") {
		t.Errorf("message %q", got.Message)
	}
}

// "kubectl wait --for=condition=Ready" must not be told that a change is done before it has begun.
func TestAChangeIsNeverReadyBeforeItRolledOut(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	startOperator(t, namespace)
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)

	brokers := server.admin.meshery.MesheryV1alpha1().Brokers(namespace)
	changed, err := brokers.Patch(t.Context(), meshery.BrokerName, types.MergePatchType, []byte(`{"spec":{"version":"9.9.9"}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	events, err := brokers.Watch(t.Context(), metav1.ListOptions{ResourceVersion: changed.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		broker, ok := event.Object.(*v1alpha1.Broker)
		if !ok {
			t.Fatalf("event %+v", event)
		}
		got := meta.FindStatusCondition(broker.Status.Conditions, v1alpha1.ConditionReady)
		if got.ObservedGeneration == 2 {
			if got.Status != metav1.ConditionFalse {
				t.Errorf("the first status of the new generation is %+v", got)
			}
			return
		}
	}
}

// The existing operator, or somebody, may have left values in fields that ours sets only sometimes.
func TestStatusAndWatchListHoldNothingOfOthers(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)

	brokers, configMaps := server.admin.meshery.MesheryV1alpha1().Brokers(namespace), server.admin.kube.CoreV1().ConfigMaps(namespace)
	if _, err := brokers.Patch(t.Context(), meshery.BrokerName, types.MergePatchType,
		[]byte(`{"status":{"endpoint":{"external":"stale:1"}}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if _, err := configMaps.Patch(t.Context(), "meshery-meshsync-watch-list", types.MergePatchType,
		[]byte(`{"data":{"blacklist":"[\"pods.v1.\"]"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are put right", func(ctx context.Context) error {
		broker, brokerErr := brokers.Get(ctx, meshery.BrokerName, metav1.GetOptions{})
		config, configErr := configMaps.Get(ctx, "meshery-meshsync-watch-list", metav1.GetOptions{})
		if err := errors.Join(brokerErr, configErr); err != nil {
			return err
		}
		if broker.Status.Endpoint.External != "" || config.Data["blacklist"] != "" {
			return fmt.Errorf("external %q, blacklist %q", broker.Status.Endpoint.External, config.Data["blacklist"])
		}
		return nil
	})
}

// Meshery Server applies these to the agent's Deployment with a field manager of its own, and both list keys to the MeshSync.
func TestWhatMesheryServerAppliesSurvives(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)

	asServer := metav1.PatchOptions{FieldManager: "meshery-server", Force: new(true)}
	deployment := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"meshery-meshsync"},"spec":{"template":{
		"metadata":{"annotations":{"meshery.io/restarted-at":"2026-08-01T00:00:00Z"}},
		"spec":{"containers":[{"name":"meshsync","args":["--outputNamespaces=a,b"],"env":[
			{"name":"DEBUG","value":"true"},{"name":"MESHSYNC_REDACT_SECRETS","value":"true"},{"name":"MESHSYNC_BROKER_CONTENT_DEDUP","value":"false"}]}]}}}}`
	custom := `{"apiVersion":"meshery.io/v1alpha1","kind":"MeshSync","metadata":{"name":"meshery-meshsync"},"spec":{"size":2,
		"watch-list":{"data":{"whitelist":"[{\"Resource\":\"pods.v1.\",\"Events\":[\"ADDED\"]}]","blacklist":""}}}}`
	deployments := server.admin.kube.AppsV1().Deployments(namespace)
	if _, err := deployments.Patch(t.Context(), meshery.MeshSyncName, types.ApplyPatchType, []byte(deployment), asServer); err != nil {
		t.Fatal(err)
	}
	if _, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Patch(t.Context(), meshery.MeshSyncName, types.ApplyPatchType, []byte(custom), asServer); err != nil {
		t.Fatal(err)
	}

	eventually(t, "the resize arrives", func(ctx context.Context) error {
		live, err := deployments.Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if *live.Spec.Replicas != 2 {
			return fmt.Errorf("%d replicas", *live.Spec.Replicas)
		}
		container := live.Spec.Template.Spec.Containers[0]
		env := map[string]string{}
		for _, variable := range container.Env {
			env[variable.Name] = variable.Value
		}
		if len(container.Args) != 1 || env["DEBUG"] != "true" || env["MESHSYNC_REDACT_SECRETS"] != "true" || env["BROKER_URL"] == "" ||
			live.Spec.Template.Annotations["meshery.io/restarted-at"] == "" {
			t.Errorf("the Server's fields are gone: args %v, env %v, annotations %v", container.Args, env, live.Spec.Template.Annotations)
		}
		return nil
	})
	eventually(t, "the watch-list arrives", func(ctx context.Context) error {
		config, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Get(ctx, "meshery-meshsync-watch-list", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !strings.Contains(config.Data["whitelist"], "pods.v1.") {
			return fmt.Errorf("data is %v", config.Data)
		}
		return nil
	})
}

// A watch-list that cannot be read leaves the last good one in force; entries that cannot be used are named.
func TestABadWatchListIsSaidAndNotFollowed(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)

	set := func(whitelist string) {
		patch, _ := json.Marshal(map[string]any{"spec": map[string]any{"watch-list": map[string]any{"data": map[string]any{"whitelist": whitelist}}}})
		if _, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Patch(t.Context(), meshery.MeshSyncName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	const good = `[{"Resource":"pods.v1.","Events":["ADDED"]}]`
	set(good)
	list := func(ctx context.Context) (string, error) {
		config, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Get(ctx, "meshery-meshsync-watch-list", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		return config.Data["whitelist"], nil
	}
	eventually(t, "the good list arrives", func(ctx context.Context) error {
		if got, err := list(ctx); err != nil || got != good {
			return fmt.Errorf("list %q, %w", got, err)
		}
		return nil
	})
	set(`[{"Resource":`)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonWatchListInvalid)
	if got, err := list(t.Context()); err != nil || got != good {
		t.Errorf("list %q, %v; want the last good one", got, err)
	}
}

func TestAMeshSyncWaitsForItsBroker(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createMeshSync(t, namespace)
	startOperator(t, namespace)
	got := wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonBrokerNotFound)
	if !strings.Contains(got.Message, namespace+"/meshery-broker") {
		t.Errorf("message %q does not name the Broker", got.Message)
	}
	createBroker(t, namespace)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
}

// An agent's ClusterRole and its binding are the objects that no owner reference takes away with its MeshSync.
func TestClusterScopedObjectsGoWithTheirMeshSync(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	meshSync := createMeshSync(t, namespace)
	stop := startOperator(t, namespace)
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)

	bindings := server.admin.kube.RbacV1().ClusterRoleBindings()
	name := "meshery:meshsync:" + namespace + ":" + meshery.MeshSyncName
	binding, err := bindings.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if owners := binding.OwnerReferences; len(owners) != 1 || owners[0].Kind != "CustomResourceDefinition" {
		t.Errorf("owners %+v, want the CRD", owners)
	}
	roles := server.admin.kube.RbacV1().ClusterRoles()
	if role, err := roles.Get(t.Context(), name, metav1.GetOptions{}); err != nil || len(role.OwnerReferences) != 1 || role.OwnerReferences[0].Kind != "CustomResourceDefinition" {
		t.Errorf("role %+v, %v; want one that the CRD owns", role, err)
	}
	stop()
	// While no operator runs.
	if err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Delete(t.Context(), meshSync.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	startOperator(t, namespace)
	eventually(t, "role and binding are gone", func(ctx context.Context) error {
		_, bindingErr := bindings.Get(ctx, name, metav1.GetOptions{})
		_, roleErr := roles.Get(ctx, name, metav1.GetOptions{})
		if !apierrors.IsNotFound(bindingErr) || !apierrors.IsNotFound(roleErr) {
			return fmt.Errorf("binding: %w, role: %w", bindingErr, roleErr)
		}
		return nil
	})
}

// What the manifests bring along is created once; what a user deletes stays deleted.
func TestFirstResourcesAreCreatedOnce(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	configMaps := server.admin.kube.CoreV1().ConfigMaps(namespace)
	first := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: firstResources}, Data: map[string]string{
		"broker.yaml": "apiVersion: meshery.io/v1alpha1\nkind: Broker\nmetadata: {name: meshery-broker}\nspec: {size: 3}\n",
	}}
	if _, err := configMaps.Create(t.Context(), first, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	brokers := server.admin.meshery.MesheryV1alpha1().Brokers(namespace)
	stop := startOperator(t, namespace)
	recorded := func(ctx context.Context) error {
		config, err := configMaps.Get(ctx, firstResources, metav1.GetOptions{})
		if err == nil && config.Annotations[annotationCreated] == "" {
			err = fmt.Errorf("not recorded: %v", config.Annotations)
		}
		return err
	}
	eventually(t, "creation recorded", recorded)
	if broker, err := brokers.Get(t.Context(), meshery.BrokerName, metav1.GetOptions{}); err != nil || broker.Spec.Size != 3 {
		t.Fatalf("Broker %v, %v", broker, err)
	}
	stop()
	if err := brokers.Delete(t.Context(), meshery.BrokerName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	createMeshSync(t, namespace)
	startOperator(t, namespace)
	// It has looked at the ConfigMap by the time that it says that there is no Broker, or a moment later; either way a Broker
	// that it created would turn the condition.
	wantReady(t, meshSyncConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonBrokerNotFound)
	if _, err := brokers.Get(t.Context(), meshery.BrokerName, metav1.GetOptions{}); ignoreNotFound(err) != nil || err == nil {
		t.Errorf("the deleted Broker came back (%v)", err)
	}
}

// Two operators take turns: the second leads as soon as the first has ended cleanly.
func TestLeadershipIsHandedOver(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	elect := func(o *Options) { o.LeaderElect = true }
	lease := func(ctx context.Context) (string, error) {
		lease, err := server.admin.kube.CoordinationV1().Leases(namespace).Get(ctx, meshery.OperatorName, metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return "", err
		}
		return *lease.Spec.HolderIdentity, nil
	}
	stop := startOperator(t, namespace, elect)
	createBroker(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady)
	stop()
	if holder, err := lease(t.Context()); err != nil || holder != "" {
		t.Errorf("after a clean end the lease is held by %q (%v)", holder, err)
	}
	startOperator(t, namespace, elect)
	playKubelet(t, namespace)
	wantReady(t, brokerConditions(namespace), metav1.ConditionTrue, v1alpha1.ReasonBrokerDeployed)
}

// A nats-server reads the configuration with the environment that the pod gives it; tokens that look like something else than
// text included.
func TestNATSAcceptsTheConfiguration(t *testing.T) {
	t.Parallel()
	natsServer, err := controlplane.Binary(t.Context(), "nats-server")
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int32{1, 3} {
		broker := newBroker(func(b *v1alpha1.Broker) { b.Spec.Size = size })
		config := filepath.Join(t.TempDir(), natsConfigKey)
		if err := os.WriteFile(config, []byte(natsConfig(broker)), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{newToken(), "12345", "1e9", "8MB", "true", "2026-11-20T00:00:00Z", "with space", "$HOME", "#x", "a@b:c/d"} {
			check := exec.CommandContext(t.Context(), natsServer, "-t", "--config", config)
			check.Env = []string{
				"POD_NAME=meshery-broker-0", "ROUTES_PASSWORD=" + newToken(),
				"NATS_TOKEN=" + strings.ReplaceAll(`"$(BROKER_TOKEN)"`, "$(BROKER_TOKEN)", token),
				"ROUTES=" + strings.ReplaceAll(natsRoutes(broker), "$(ROUTES_PASSWORD)", newToken()),
			}
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("size %d, token %s: %v\n%s", size, token, err, out)
			}
		}
	}
}

// Not parallel: an operator that serves every namespace would do the work of the other tests' operators.
func TestFurtherNamespacesAreServedWhenAsked(t *testing.T) {
	for name, test := range map[string]struct {
		watch func(own, further string) []string
		bound func(further string) (in string)
	}{
		"named": {
			func(own, further string) []string { return []string{own, further} },
			func(further string) string { return further },
		},
		"all": {
			func(string, string) []string { return []string{"*"} },
			func(string) string { return "" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			own, further, unasked := newNamespace(t), newNamespace(t), newNamespace(t)
			bind(t, test.bound(further), clusterRole("meshery-operator-namespaced"), own, meshery.OperatorName)
			createBroker(t, unasked)
			createBroker(t, further)
			createMeshSync(t, further)
			stop := startOperator(t, own, func(o *Options) { o.WatchNamespaces = test.watch(own, further) })
			wantReady(t, brokerConditions(further), metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady)
			wantReady(t, meshSyncConditions(further), metav1.ConditionFalse, v1alpha1.ReasonMeshSyncPodsNotReady)
			if name == "all" {
				wantReady(t, brokerConditions(unasked), metav1.ConditionFalse, v1alpha1.ReasonBrokerPodsNotReady)
			}
			stop()
			if conditions, err := brokerConditions(unasked)(t.Context()); err != nil || name == "named" && len(conditions) > 0 {
				t.Errorf("a namespace that is not served: %+v, %v", conditions, err)
			}
		})
	}
}
