package operator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// editMeshSync merges a spec, as JSON, into that of a MeshSync.
func editMeshSync(t *testing.T, namespace, name, spec string) {
	t.Helper()
	_, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).
		Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":`+spec+`}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// wantMeshSync waits for a condition of a MeshSync and returns it.
func wantMeshSync(t *testing.T, namespace, name, kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	t.Helper()
	var found metav1.Condition
	eventually(t, fmt.Sprintf("%s: %s=%s %s", name, kind, status, reason), func(ctx context.Context) error {
		meshSync, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		got := meta.FindStatusCondition(meshSync.Status.Conditions, kind)
		if got == nil || got.Status != status || got.Reason != reason || got.ObservedGeneration != meshSync.Generation {
			return fmt.Errorf("generation %d has %+v", meshSync.Generation, meshSync.Status.Conditions)
		}
		found = *got
		return nil
	})
	return found
}

// wantAgent waits until a MeshSync's Deployment is as it should be, and returns it.
func wantAgent(t *testing.T, namespace, name, what string, right func(*appsv1.Deployment) bool) *appsv1.Deployment {
	t.Helper()
	var found *appsv1.Deployment
	eventually(t, what, func(ctx context.Context) error {
		live, err := server.admin.kube.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !right(live) {
			return errors.New(describeAgent(live))
		}
		found = live
		return nil
	})
	return found
}

func describeAgent(d *appsv1.Deployment) string {
	container := d.Spec.Template.Spec.Containers[0]
	text, _ := json.Marshal(map[string]any{
		"uid": d.UID, "generation": d.Generation, "replicas": d.Spec.Replicas, "selector": d.Spec.Selector, "annotations": d.Spec.Template.Annotations,
		"image": container.Image, "args": container.Args, "env": container.Env, "volumes": d.Spec.Template.Spec.Volumes,
	})
	return string(text)
}

func anyAgent(*appsv1.Deployment) bool { return true }

// agentEnv reads a variable of the agent: its value, or the Secret and the key that it comes from.
func agentEnv(deployment *appsv1.Deployment, name string) string {
	for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
		switch {
		case variable.Name != name:
		case variable.ValueFrom != nil:
			return variable.ValueFrom.SecretKeyRef.Name + "/" + variable.ValueFrom.SecretKeyRef.Key
		default:
			return variable.Value
		}
	}
	return ""
}

func loginHash(deployment *appsv1.Deployment) string {
	return deployment.Spec.Template.Annotations[annotationSecretHash]
}

// writeSecret creates a Secret, or replaces the data of one.
func writeSecret(t *testing.T, namespace, name string, data map[string]string) {
	t.Helper()
	secrets := server.admin.kube.CoreV1().Secrets(namespace)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{}}
	for key, value := range data {
		secret.Data[key] = []byte(value)
	}
	present, err := secrets.Get(t.Context(), name, metav1.GetOptions{})
	if err == nil {
		present.Data = secret.Data
		_, err = secrets.Update(t.Context(), present, metav1.UpdateOptions{})
	} else {
		_, err = secrets.Create(t.Context(), secret, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// serve lets an operator do in a further namespace what it does in its own.
func serve(t *testing.T, namespace, operatorNamespace string) {
	t.Helper()
	_, err := server.admin.kube.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "op-"},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: "meshery-operator-namespaced"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: operatorNamespace, Name: meshery.OperatorName}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// measured makes an operator serve its metrics, and reads a series of them.
func measured(t *testing.T) (mod func(*Options), read func(ctx context.Context, series string) (float64, error)) {
	t.Helper()
	addr := freeAddr(t)
	return func(o *Options) { o.MetricsAddr = addr }, func(ctx context.Context, series string) (float64, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
		if err != nil {
			return 0, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			if value, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
				return strconv.ParseFloat(value, 64)
			}
		}
		return 0, nil
	}
}

// wantIdle waits until an operator has synced that many MeshSyncs and has nothing more to do, and checks that no sync was, or will
// be, repeated.
func wantIdle(t *testing.T, read func(context.Context, string) (float64, error), syncs int) {
	t.Helper()
	value := func(ctx context.Context, series string) float64 {
		number, err := read(ctx, series)
		if err != nil {
			return -1
		}
		return number
	}
	eventually(t, "the operator is idle", func(ctx context.Context) error {
		done := value(ctx, `meshery_operator_reconcile_total{controller="meshsync",result="success"}`)
		waiting, working := 0.0, 0.0
		for _, queue := range []string{"broker", "meshsync"} {
			waiting += value(ctx, `meshery_operator_workqueue_depth{name="`+queue+`"}`)
			working += value(ctx, `meshery_operator_workqueue_unfinished_work_seconds{name="`+queue+`"}`)
		}
		if done < float64(syncs) || waiting != 0 || working != 0 {
			return fmt.Errorf("%v synced, %v wait, worked for %v s", done, waiting, working)
		}
		return nil
	})
	if retries := value(t.Context(), `meshery_operator_workqueue_retries_total{name="meshsync"}`); retries != 0 {
		t.Errorf("%v syncs are to be repeated", retries)
	}
}

// wantNoWrites stops an operator, starts another that finds everything as it was left, and checks that it writes nothing. What
// Kubernetes changed while none ran, such as the number of pods, may cost a write once; what is needless is written every time.
func wantNoWrites(t *testing.T, namespace string, stop func(), mods ...func(*Options)) {
	t.Helper()
	all, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	before := mutations(t, namespace)
	if len(before) == 0 {
		t.Fatal("the audit log shows no write of the operator at all: this test cannot see any")
	}
	var writes []string
	for range 4 {
		measure, read := measured(t)
		stop := startOperator(t, namespace, append(mods, measure)...)
		wantIdle(t, read, len(all.Items))
		stop()
		after := mutations(t, namespace)
		writes = after[len(before):]
		if len(writes) == 0 {
			return
		}
		before = after
	}
	t.Errorf("every operator writes: %s", writes)
}

func newNamedMeshSync(t *testing.T, namespace, name string, spec v1alpha1.MeshSyncSpec) *v1alpha1.MeshSync {
	t.Helper()
	created, err := server.admin.meshery.MesheryV1alpha1().MeshSyncs(namespace).Create(t.Context(),
		&v1alpha1.MeshSync{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}
