package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

func TestPodSettingsGoOverOurOwn(t *testing.T) {
	for name, test := range map[string]struct{ settings, want string }{
		"none": {
			`{}`,
			`{"containers":[{"name":"c","resources":{"limits":{"memory":"2Mi"},"requests":{"cpu":"1m","memory":"1Mi"}}}],"enableServiceLinks":false}`,
		},
		"resources take the place of ours as a whole, and are the container's": {
			`{"resources":{"limits":{"cpu":"2"}}}`,
			`{"containers":[{"name":"c","resources":{"limits":{"cpu":"2"}}}],"enableServiceLinks":false}`,
		},
		"no resources at all": {
			`{"resources":{}}`,
			`{"containers":[{"name":"c","resources":{}}],"enableServiceLinks":false}`,
		},
		"everything else": {
			`{"resources":{},"nodeSelector":{"disk":"ssd"},"tolerations":[{"key":"a","operator":"Exists","tolerationSeconds":0}],
			  "affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"z","operator":"In","values":["1"]}]}]}}},
			  "imagePullSecrets":[{"name":"p"}],"priorityClassName":"high"}`,
			`{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"z","operator":"In","values":["1"]}]}]}}},` +
				`"containers":[{"name":"c","resources":{}}],"enableServiceLinks":false,"imagePullSecrets":[{"name":"p"}],"nodeSelector":{"disk":"ssd"},` +
				`"priorityClassName":"high","tolerations":[{"key":"a","operator":"Exists","tolerationSeconds":0}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var settings v1alpha1.PodSettings
			if err := json.Unmarshal([]byte(test.settings), &settings); err != nil {
				t.Fatal(err)
			}
			pod := coreac.PodSpec().WithEnableServiceLinks(false).
				WithContainers(coreac.Container().WithName("c").WithResources(resources("1m", "1Mi", "2Mi")))
			text, err := json.Marshal(withSettings(pod, settings))
			if err != nil {
				t.Fatal(err)
			}
			var got any
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if text, _ = json.Marshal(got); string(text) != test.want { // with sorted keys
				t.Errorf("got  %s\nwant %s", text, test.want)
			}
		})
	}
}

// Settings reach both workloads while they run, and go again with their fields.
func TestPodSettingsAreLive(t *testing.T) {
	t.Parallel()
	namespace := startInstallation(t)
	set := func(settings string) {
		t.Helper()
		patch := []byte(`{"spec":` + settings + `}`)
		api := server.admin.meshery.MesheryV1alpha1()
		_, brokerErr := api.Brokers(namespace).Patch(t.Context(), meshery.BrokerName, types.MergePatchType, patch, metav1.PatchOptions{})
		_, meshSyncErr := api.MeshSyncs(namespace).Patch(t.Context(), meshery.MeshSyncName, types.MergePatchType, patch, metav1.PatchOptions{})
		if err := errors.Join(brokerErr, meshSyncErr); err != nil {
			t.Fatal(err)
		}
	}
	eventuallyPods := func(what string, check func(*corev1.PodSpec) bool) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) error {
			apps := server.admin.kube.AppsV1()
			set, setErr := apps.StatefulSets(namespace).Get(ctx, meshery.BrokerName, metav1.GetOptions{})
			deployment, deploymentErr := apps.Deployments(namespace).Get(ctx, meshery.MeshSyncName, metav1.GetOptions{})
			if err := errors.Join(setErr, deploymentErr); err != nil {
				return err
			}
			for _, pod := range []*corev1.PodSpec{&set.Spec.Template.Spec, &deployment.Spec.Template.Spec} {
				if !check(pod) {
					return fmt.Errorf("pod is %+v", pod)
				}
			}
			return nil
		})
	}
	set(`{"resources":{"limits":{"memory":"900Mi"}},"nodeSelector":{"disk":"ssd"},"tolerations":[{"key":"a","operator":"Exists"}],
		"affinity":{"podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1,"podAffinityTerm":{"topologyKey":"zone"}}]}},
		"imagePullSecrets":[{"name":"p"}],"priorityClassName":"high"}`)
	eventuallyPods("settings arrive", func(pod *corev1.PodSpec) bool {
		resources := pod.Containers[0].Resources
		return resources.Limits.Memory().String() == "900Mi" && len(resources.Requests) == 0 &&
			pod.NodeSelector["disk"] == "ssd" && len(pod.Tolerations) == 1 && pod.Affinity != nil && pod.Affinity.PodAntiAffinity != nil &&
			len(pod.ImagePullSecrets) == 1 && pod.PriorityClassName == "high"
	})
	set(`{"resources":null,"nodeSelector":null,"tolerations":null,"affinity":null,"imagePullSecrets":null,"priorityClassName":null}`)
	eventuallyPods("settings are gone", func(pod *corev1.PodSpec) bool {
		resources := pod.Containers[0].Resources
		return resources.Limits.Memory().String() != "900Mi" && len(resources.Requests) == 2 &&
			len(pod.NodeSelector) == 0 && len(pod.Tolerations) == 0 && pod.Affinity == nil && len(pod.ImagePullSecrets) == 0 && pod.PriorityClassName == ""
	})
}
