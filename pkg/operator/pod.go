package operator

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// nonRoot is the user and group of every container: a number, because the images need not know a name for it.
const nonRoot = 65532

// hardenedPod is how every pod of ours starts out: it meets Kubernetes' "restricted" pod security standard.
func hardenedPod() *coreac.PodSpecApplyConfiguration {
	return coreac.PodSpec().
		WithEnableServiceLinks(false).
		WithSecurityContext(coreac.PodSecurityContext().
			WithRunAsNonRoot(true).
			WithRunAsUser(nonRoot).
			WithRunAsGroup(nonRoot).
			WithFSGroup(nonRoot).
			WithSeccompProfile(coreac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault)))
}

func hardenedContainer() *coreac.SecurityContextApplyConfiguration {
	return coreac.SecurityContext().
		WithAllowPrivilegeEscalation(false).
		WithReadOnlyRootFilesystem(true).
		WithCapabilities(coreac.Capabilities().WithDrop("ALL"))
}

// withSettings puts a user's settings over our own, in a pod of one container. What the user does not set stays as it is, so that
// a setting that is removed is no longer applied.
func withSettings(pod *coreac.PodSpecApplyConfiguration, settings v1alpha1.PodSettings) *coreac.PodSpecApplyConfiguration {
	if settings.Resources != nil {
		pod.Containers[0].Resources = &coreac.ResourceRequirementsApplyConfiguration{}
		overlay(settings.Resources, pod.Containers[0].Resources)
		settings.Resources = nil // a pod has a field of that name too, which means something else
	}
	overlay(settings, pod)
	return pod
}

// overlay copies the fields that value sets to the fields of the same names in an apply configuration.
func overlay(value, configuration any) {
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, configuration)
	}
	if err != nil {
		panic(fmt.Sprintf("%T and %T do not fit: %v", value, configuration, err)) // a matter of the types; no value causes it
	}
}

// resources has no CPU limit: throttling an agent or a broker that catches up only makes it later.
func resources(requestCPU, requestMemory, limitMemory string) *coreac.ResourceRequirementsApplyConfiguration {
	return coreac.ResourceRequirements().
		WithRequests(corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse(requestCPU),
			corev1.ResourceMemory: resource.MustParse(requestMemory),
		}).
		WithLimits(corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limitMemory)})
}

func httpProbe(path, port string) *coreac.ProbeApplyConfiguration {
	return coreac.Probe().
		WithTimeoutSeconds(5).
		WithHTTPGet(coreac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(port)))
}

func containerPort(name string, port int32) *coreac.ContainerPortApplyConfiguration {
	return coreac.ContainerPort().WithName(name).WithContainerPort(port).WithProtocol(corev1.ProtocolTCP)
}

func secretEnv(name, secret, key string) *coreac.EnvVarApplyConfiguration {
	return coreac.EnvVar().WithName(name).
		WithValueFrom(coreac.EnvVarSource().WithSecretKeyRef(coreac.SecretKeySelector().WithName(secret).WithKey(key)))
}

func podNameEnv(name string) *coreac.EnvVarApplyConfiguration {
	return coreac.EnvVar().WithName(name).
		WithValueFrom(coreac.EnvVarSource().WithFieldRef(coreac.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath("metadata.name")))
}
