package operator

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
)

// What cannot be understood is not created as something else, and is said with its key and field.
func TestFirstResourcesAreReadStrictly(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	clients, err := newClients(as(t, namespace, meshery.OperatorName), namespace)
	if err != nil {
		t.Fatal(err)
	}
	configMaps := server.admin.kube.CoreV1().ConfigMaps(namespace)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: firstResources}}
	if config, err = configMaps.Create(t.Context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const broker = "apiVersion: meshery.io/v1alpha1\nkind: Broker\nmetadata: {name: meshery-broker}\n"
	for text, want := range map[string]string{
		broker + "spec: {sizes: 1}":          `unknown field "spec.sizes"`,
		broker + "spec: {size: 1, size: 2}":  `key "size" already set`,
		broker + "spec: {size: 11}":          "spec.size",
		broker + "spec: {size: many}":        "size",
		"apiVersion: v2\nkind: Broker":       `"Broker"`,
		broker + "spec: {size: 1}\nstat: {}": `unknown field "stat"`,
	} {
		config.Data = map[string]string{"broker.yaml": text}
		if config, err = configMaps.Update(t.Context(), config, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		err := tryFirstResources(t.Context(), clients, namespace)
		if err == nil || !strings.HasPrefix(err.Error(), "key broker.yaml of ConfigMap meshery-first-resources: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v, want the key and %s", text, err, want)
		}
	}
	brokers, err := server.admin.meshery.MesheryV1alpha1().Brokers(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(brokers.Items) > 0 {
		t.Errorf("created %v, %v", brokers.Items, err)
	}
}

func TestTheSameProblemIsSaidOnce(t *testing.T) {
	problems := []string{"a", "a", "read tcp 10.0.0.5:1->10.0.0.1:443: b", "read tcp 10.0.0.5:2->10.0.0.1:443: b", "a"}
	var said []string
	tries := 0
	tryUntilDone(t.Context(), time.Microsecond, time.Millisecond, func() error {
		if tries++; tries > len(problems) {
			return nil
		}
		return errors.New(problems[tries-1])
	}, func(err error) { said = append(said, err.Error()) })
	if want := []string{problems[0], problems[2], problems[4]}; tries != len(problems)+1 || !slices.Equal(said, want) {
		t.Errorf("after %d tries said %q, want %q", tries, said, want)
	}
}
