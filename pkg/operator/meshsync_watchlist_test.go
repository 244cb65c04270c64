package operator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// define makes a CRD and waits until discovery tells of it. It is gone after the test.
func define(t *testing.T, plural, singular, kind, group string) {
	t.Helper()
	client, err := dynamic.NewForConfig(server.config)
	if err != nil {
		t.Fatal(err)
	}
	crds, name := client.Resource(crdResource), plural+"."+group
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced",
			"names": map[string]any{"plural": plural, "singular": singular, "kind": kind},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	}}
	if _, err := crds.Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := crds.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	eventually(t, name+" is served", func(ctx context.Context) error {
		list, err := server.admin.kube.Discovery().ServerResourcesForGroupVersionWithContext(ctx, group+"/v1")
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list.APIResources, func(resource metav1.APIResource) bool { return resource.Name == plural }) {
			return nil
		}
		return errors.New("not yet")
	})
}

// editWhitelist sets the whitelist alone.
func editWhitelist(t *testing.T, namespace string, entries ...string) {
	t.Helper()
	editMeshSync(t, namespace, meshery.MeshSyncName, `{"watch-list":{"data":{"whitelist":"[\"`+strings.Join(entries, `\",\"`)+`\"]","blacklist":""}}}`)
}

// A list that names kinds in other words than discovery does gives the same rights, also for kinds that were defined a moment ago.
func TestRightsFollowOtherNamesAndWildcards(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	group := namespace + ".example.com"
	soon := func(what string, want map[string]bool) {
		t.Helper()
		start := time.Now()
		wantAccess(t, namespace, want)
		if took := time.Since(start); took > atOnce {
			t.Errorf("%s: rights came after %v: nobody asked what is served now", what, took)
		} else {
			t.Logf("%s: rights after %v", what, took)
		}
	}
	// A name in full gives rights before the kind is served.
	editWhitelist(t, namespace, "pods.v1.", "widgets.v1."+group)
	soon("in full", map[string]bool{"pods": true, "secrets": false, "widgets." + group: true, "gadgets." + group: false})
	define(t, "gadgets", "gadget", "Gadget", group)
	editWhitelist(t, namespace, "po", "gadget")
	soon("by its singular", map[string]bool{"pods": true, "widgets." + group: false, "gadgets." + group: true})

	// In the form of a plural, but not one.
	editWhitelist(t, namespace, "node.v1.", "gadget.v1."+group)
	soon("in the form of a plural", map[string]bool{"pods": false, "nodes": true, "node": false, "gadgets." + group: true, "gadget." + group: false})

	define(t, "devices", "device", "Device", "further."+group)
	editWhitelist(t, namespace, "po", "Device.further."+group)
	soon("soon after another question", map[string]bool{"pods": true, "gadgets." + group: false, "devices.further." + group: true})

	editWhitelist(t, namespace, "*.batch", "*."+group)
	soon("by wildcards", map[string]bool{"pods": false, "jobs.batch": true, "cronjobs.batch": true, "gadgets." + group: true, "devices.further." + group: false})

	// What the blacklist takes away it takes away in any words.
	patchMeshSync(t, namespace, `{"spec":{"watch-list":{"data":{"whitelist":"[\"pods.v1.\",\"secrets.v1.\"]","blacklist":"[\"Secret\"]"}}}}`)
	soon("less a blacklist", map[string]bool{"pods": true, "secrets": false, "jobs.batch": false})

	// Nor may be read what discovery leaves out, though it is named in full.
	editMeshSync(t, namespace, meshery.MeshSyncName, `{"watch-list":{"data":{"whitelist":"[\"pods.v1.\",\"nodes.v1.\"]","blacklist":""}},"discovery":{"maxTier":1}}`)
	soon("less the last tiers", map[string]bool{"pods": false, "nodes": true})
}

// An agent that sees a new list can read what it names.
func TestRightsAreWrittenBeforeTheList(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	before, err := auditSize()
	if err != nil {
		t.Fatal(err)
	}
	editWhitelist(t, namespace, "serviceaccounts.v1.")
	wantWatchList(t, namespace, func(config *corev1.ConfigMap) bool {
		return strings.Contains(config.Data["whitelist"], "serviceaccounts")
	})
	eventually(t, "both writes are in the audit log", func(context.Context) error {
		events, err := readAudit(before)
		if err != nil {
			return err
		}
		var written []string
		for _, event := range events {
			if event.User.Username == operatorUser(namespace) && event.isWrite() &&
				(event.ObjectRef.Resource == "clusterroles" || event.ObjectRef.Resource == "configmaps") {
				written = append(written, event.Verb+" "+event.ObjectRef.Resource)
			}
		}
		if got := strings.Join(written, ", "); got != "patch clusterroles, patch configmaps" {
			return fmt.Errorf("written: %s", got)
		}
		return nil
	})
}

// wantWatchList waits until the ConfigMap of the watch-list is as it should be, and returns it.
func wantWatchList(t *testing.T, namespace string, right func(*corev1.ConfigMap) bool) *corev1.ConfigMap {
	t.Helper()
	var found *corev1.ConfigMap
	eventually(t, "the watch-list is as wanted", func(ctx context.Context) error {
		config, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Get(ctx, meshery.WatchListConfigMap(meshery.MeshSyncName), metav1.GetOptions{})
		if err == nil && !right(config) {
			err = fmt.Errorf("annotations %v, data %v", config.Annotations, config.Data)
		}
		found = config
		return err
	})
	return found
}

// The agent learns from the ConfigMap alone which spec it is following, what else that says, and what is wrong with it.
func TestTheWatchListSaysWhatItIsOf(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	live := func() *v1alpha1.MeshSync {
		t.Helper()
		meshSync, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(t.Context(), meshery.MeshSyncName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return meshSync
	}
	// newest waits for the ConfigMap of the newest generation.
	newest := func() *corev1.ConfigMap {
		t.Helper()
		generation := generationText(live())
		return wantWatchList(t, namespace, func(config *corev1.ConfigMap) bool { return config.Annotations["meshery.io/generation"] == generation })
	}
	const fault = "meshery.io/watch-list-error"
	wantData := func(config *corev1.ConfigMap, data map[string]string) {
		t.Helper()
		data["delivery"] = deliveryOf(namespace, meshery.BrokerName, 1, 3<<28).String() // whatever the list says
		if !maps.Equal(config.Data, data) {
			t.Errorf("data %v, want %v", config.Data, data)
		}
	}

	editWhitelist(t, namespace, "pods.v1.")
	editMeshSync(t, namespace, meshery.MeshSyncName, `{"discovery":{"depth":"inventory","namespaces":{"exclude":["kube-system"]}}}`)
	good := map[string]string{
		"whitelist": `["pods.v1."]`, "blacklist": "",
		"discovery": `{"namespaces":{"exclude":["kube-system"]},"depth":"inventory","maxTier":3,"onRemoval":"Delete"}`,
	}
	config := newest()
	wantData(config, good)
	if text, there := config.Annotations[fault]; there {
		t.Errorf("%s is %q", fault, text)
	}

	// While the list cannot be read nothing else is handed out either, whatever else is edited.
	editMeshSync(t, namespace, meshery.MeshSyncName, `{"watch-list":{"data":{"whitelist":"[\"secrets.v1.\"","blacklist":"[\"pods.v1.\"]"}},"discovery":{"depth":"full"}}`)
	config = newest()
	wantData(config, good)
	if text := config.Annotations[fault]; !strings.HasPrefix(text, "spec.watch-list: whitelist is not a JSON array") {
		t.Errorf("%s is %q", fault, text)
	}
	editMeshSync(t, namespace, meshery.MeshSyncName, `{"verbosity":3}`)
	wantData(newest(), good)

	editMeshSync(t, namespace, meshery.MeshSyncName, `{"watch-list":{"data":{"whitelist":"","blacklist":"[\"pods.v1.\"]","discovery":"{\"maxTier\":1}"}},"discovery":null}`)
	config = newest()
	wantData(config, map[string]string{"whitelist": "", "blacklist": `["pods.v1."]`, "discovery": ""})
	if text, there := config.Annotations[fault]; there {
		t.Errorf("%s is still %q", fault, text)
	}
	if got := wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionWarning, metav1.ConditionTrue, v1alpha1.ReasonWatchListKeys).Message; !strings.Contains(got, "spec.discovery") {
		t.Errorf("message %q does not say where discovery belongs", got)
	}

	// Nobody else's key stays beside ours, whoever wrote it.
	byHand := []byte(`{"data":{"discovery":"{\"maxTier\":1}"}}`)
	if _, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Patch(t.Context(), config.Name, types.MergePatchType, byHand, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	wantWatchList(t, namespace, func(config *corev1.ConfigMap) bool { return config.Data["discovery"] == "" })
}

// There is no last good list in the beginning.
func TestAListThatWasNeverGoodIsNotHandedOut(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createBroker(t, namespace)
	newNamedMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.MeshSyncSpec{WatchList: v1alpha1.WatchList{Data: map[string]string{"whitelist": "pods"}}})
	startOperator(t, namespace)
	wantMeshSync(t, namespace, meshery.MeshSyncName, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWatchListInvalid)
	name := meshery.WatchListConfigMap(meshery.MeshSyncName)
	if config, err := server.admin.kube.CoreV1().ConfigMaps(namespace).Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("handed out: %v, %v", config.Data, err)
	}
	wantAccess(t, namespace, map[string]bool{"pods": false, "customresourcedefinitions.apiextensions.k8s.io": true})
	editWhitelist(t, namespace, "pods.v1.")
	wantWatchList(t, namespace, func(config *corev1.ConfigMap) bool { return config.Data["whitelist"] == `["pods.v1."]` })
}
