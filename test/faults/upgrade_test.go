package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// TestUpgrade installs over an installation of the earlier operator, by the commands of docs/upgrade.md.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	p.installEarlierOperator(t)
	const namespace = meshery.Namespace
	before, err := p.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	var operator *operator
	for _, block := range documentedCommands(t, "upgrade.md") {
		p.shell(t, block)
		if strings.Contains(block, "apply -f manifests") {
			operator = p.startOperator(t, namespace)
		}
		if strings.Contains(block, "kubectl wait") {
			p.afterTheUpgrade(t, before)
		}
	}
	eventually(t, "the earlier broker is gone, and nothing speaks of it", func(ctx context.Context) error {
		broker, _, err := p.broker(ctx, namespace)
		if err != nil {
			return err
		}
		if c := meta.FindStatusCondition(broker.Status.Conditions, v1alpha1.ConditionWarning); c == nil || c.Status != metav1.ConditionFalse {
			return fmt.Errorf("Warning is %+v", c)
		}
		return p.well(ctx, namespace)
	})
	operator.stop(t)
	p.run(t, "delete", "broker,meshsync", "--all", "-n", namespace, "--timeout=30s")
}

// installation is what an upgrade is to keep or to replace.
type installation struct {
	token              string
	statefulSet, agent types.UID
	generation         int64
	forgotten          bool
}

func (p *plane) installEarlierOperator(t *testing.T) {
	t.Helper()
	p.run(t, "apply", "-f", "testdata/earlier-crds.yaml")
	p.run(t, "wait", "--for=condition=Established", "crd/brokers.meshery.io", "crd/meshsyncs.meshery.io")
	p.run(t, "apply", "-f", "testdata/earlier-operator.yaml")
	p.run(t, "delete", "meshsync", "-n", meshery.Namespace, "forgotten", "--wait=false")
	uid := func(kind, name string) string {
		return p.run(t, "get", kind, "-n", meshery.Namespace, name, "-o", "jsonpath={.metadata.uid}")
	}
	text, err := os.ReadFile("testdata/earlier-objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "objects.yaml")
	objects := strings.NewReplacer("$BROKER_UID", uid("broker", meshery.BrokerName), "$MESHSYNC_UID", uid("meshsync", meshery.MeshSyncName)).Replace(string(text))
	if err := os.WriteFile(file, []byte(objects), 0o600); err != nil {
		t.Fatal(err)
	}
	// It applies with the very names that our field managers have.
	p.run(t, "apply", "--server-side", "--field-manager=meshery-operator-meshsync", "-f", file)
	for _, resource := range []string{"broker/" + meshery.BrokerName, "meshsync/" + meshery.MeshSyncName} {
		p.run(t, "patch", resource, "-n", meshery.Namespace, "--subresource=status", "--type=merge", "-p",
			`{"status":{"conditions":[`+
				`{"type":"Processing","status":"True","reason":"Reconciling","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"},`+
				`{"type":"Ready","status":"True","reason":"ReconciliationSuccessful","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	}
}

func (p *plane) look(ctx context.Context) (installation, error) {
	const namespace = meshery.Namespace
	secret, err := p.kube.CoreV1().Secrets(namespace).Get(ctx, "meshery-nats-auth", metav1.GetOptions{})
	if err != nil {
		return installation{}, err
	}
	statefulSet, err := p.kube.AppsV1().StatefulSets(namespace).Get(ctx, "meshery-nats", metav1.GetOptions{})
	if err != nil {
		return installation{}, err
	}
	deployment, err := p.kube.AppsV1().Deployments(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
	if err != nil {
		return installation{}, err
	}
	_, err = p.meshery.MesheryV1alpha1().MeshSyncs(namespace).Get(ctx, "forgotten", metav1.GetOptions{})
	return installation{string(secret.Data["token"]), statefulSet.UID, deployment.UID, statefulSet.Generation, err == nil}, nil
}

func (p *plane) afterTheUpgrade(t *testing.T, before installation) {
	t.Helper()
	const namespace = meshery.Namespace
	var after installation
	eventually(t, "all is well, and the resource that hung in Terminating is gone", func(ctx context.Context) error {
		var err error
		if after, err = p.look(ctx); err != nil {
			return err
		}
		if after.forgotten {
			return errors.New("MeshSync forgotten is still there")
		}
		return p.well(ctx, namespace)
	})
	if !before.forgotten || after.token != before.token {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if after.agent == before.agent {
		t.Error("the agent's Deployment is still the earlier one")
	}
	if after.statefulSet != before.statefulSet || after.generation != before.generation {
		t.Error("StatefulSet meshery-nats was touched")
	}
	broker, _, err := p.broker(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	meshSync, deployment, err := p.meshSync(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	if finalizers := slices.Concat(broker.Finalizers, meshSync.Finalizers); len(finalizers) > 0 {
		t.Errorf("finalizers %v", finalizers)
	}
	if c := meta.FindStatusCondition(broker.Status.Conditions, v1alpha1.ConditionWarning); c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "meshery-nats") {
		t.Errorf("Warning of the Broker is %+v", c)
	}
	if c := meta.FindStatusCondition(meshSync.Status.Conditions, v1alpha1.ConditionWarning); c == nil || c.Reason != v1alpha1.ReasonVersionReplaced {
		t.Errorf("Warning of the MeshSync is %+v", c)
	}
	if pod := deployment.Spec.Template.Spec; pod.ServiceAccountName != meshery.MeshSyncName || len(pod.Containers) != 1 || len(pod.Containers[0].Command) > 0 {
		t.Errorf("the agent's pods are still partly those of the earlier one: %+v", pod)
	}
	p.agentsAre(t, deployment)
	if answer, err := p.try(t.Context(), "auth", "can-i", "delete", "nodes", "--as=system:serviceaccount:meshery:meshery-operator"); err == nil {
		t.Errorf("may the operator still do everything? %s", answer)
	}
}

// agentsAre complains of pods of an agent that the Deployment did not make.
func (p *plane) agentsAre(t *testing.T, deployment *appsv1.Deployment) {
	t.Helper()
	eventually(t, "the earlier agent's pods are gone", func(ctx context.Context) error {
		pods, err := p.kube.CoreV1().Pods(meshery.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "component=meshsync"})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if pod.Labels[meshery.LabelInstance] != deployment.Spec.Selector.MatchLabels[meshery.LabelInstance] {
				return fmt.Errorf("pod %s with labels %v", pod.Name, pod.Labels)
			}
		}
		return nil
	})
}

var commandBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// documentedCommands are the blocks of commands of a document that are to be run, in order.
func documentedCommands(t *testing.T, document string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs", document))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, match := range commandBlock.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, match[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no commands", document)
	}
	return blocks
}

// shell runs commands as a user would, in a folder with manifests.
func (p *plane) shell(t *testing.T, commands string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir = t.TempDir()
	if err := os.CopyFS(filepath.Join(cmd.Dir, "manifests"), os.DirFS(repository+"/manifests")); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.Kubeconfig, "PATH="+filepath.Dir(p.kubectl)+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", commands, err, out)
	}
}
