package operator

import (
	"path"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	rbacac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// Where the agent finds the files that it needs to get into the broker.
const (
	brokerFilesDir    = "/etc/meshery/broker"
	brokerFilesVolume = "broker-files"
)

// agentGracePeriod is how long an agent that ends has, in seconds, to publish what it has seen, wait until the broker has it, and
// hand over.
const agentGracePeriod = 60

// meshSyncSelector tells the pods of one MeshSync from those of another. A Deployment's selector cannot be changed later.
func meshSyncSelector(meshSync *v1alpha1.MeshSync) map[string]string {
	return map[string]string{
		meshery.LabelApp:       meshery.AppMeshSync,
		meshery.LabelComponent: meshery.ComponentMeshSync,
		meshery.LabelInstance:  meshSync.Name,
	}
}

func meshSyncLabels(meshSync *v1alpha1.MeshSync) map[string]string {
	return ownedLabels(meshSyncSelector(meshSync))
}

// meshSyncAccount is the agent's account and what it may do in its own namespace. Each is harmless only when the one before is ours: a
// binding gives somebody's account rights, or an account somebody's role.
func meshSyncAccount(meshSync *v1alpha1.MeshSync) []any {
	return []any{meshSyncServiceAccount(meshSync), meshSyncRole(meshSync), meshSyncRoleBinding(meshSync)}
}

// meshSyncObjects are the other namespaced objects that make up a MeshSync, in the order in which they are best created. Without a
// watch-list that can be read none is handed out, and an agent without a known broker stays as it is.
func meshSyncObjects(meshSync *v1alpha1.MeshSync, broker target, watchList map[string]string, options *Options) []any {
	var objects []any
	if watchList != nil {
		objects = append(objects, meshSyncWatchList(meshSync, watchList))
	}
	if broker.url != "" {
		objects = append(objects, meshSyncDeployment(meshSync, broker, options))
	}
	return objects
}

func meshSyncServiceAccount(meshSync *v1alpha1.MeshSync) *coreac.ServiceAccountApplyConfiguration {
	return coreac.ServiceAccount(meshSync.Name, meshSync.Namespace).
		WithLabels(meshSyncLabels(meshSync)).
		WithOwnerReferences(ownerReference(meshSync, meshSyncKind))
}

// meshSyncRole lets the agent follow its own watch-list, and write what is its own: its lease, the object by which it measures
// delays, its status. Everything by name.
func meshSyncRole(meshSync *v1alpha1.MeshSync) *rbacac.RoleApplyConfiguration {
	rule := func(group, resource, name string, verbs ...string) *rbacac.PolicyRuleApplyConfiguration {
		return rbacac.PolicyRule().WithAPIGroups(group).WithResources(resource).WithResourceNames(name).WithVerbs(verbs...)
	}
	return rbacac.Role(meshSync.Name, meshSync.Namespace).
		WithLabels(meshSyncLabels(meshSync)).
		WithOwnerReferences(ownerReference(meshSync, meshSyncKind)).
		WithRules(
			rule("", "configmaps", meshery.WatchListConfigMap(meshSync.Name), "get", "list", "watch"),
			rule("", "configmaps", meshery.CanaryConfigMap(meshSync.Name), "get", "list", "watch", "create", "patch"),
			rule("coordination.k8s.io", "leases", meshSync.Name, "get", "create", "update", "patch"),
			rule(meshery.GroupName, "meshsyncs", meshSync.Name, "get", "list", "watch"),
			rule(meshery.GroupName, "meshsyncs/status", meshSync.Name, "get", "patch"),
		)
}

func meshSyncRoleBinding(meshSync *v1alpha1.MeshSync) *rbacac.RoleBindingApplyConfiguration {
	return rbacac.RoleBinding(meshSync.Name, meshSync.Namespace).
		WithLabels(meshSyncLabels(meshSync)).
		WithOwnerReferences(ownerReference(meshSync, meshSyncKind)).
		WithSubjects(meshSyncSubject(meshSync)).
		WithRoleRef(rbacac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("Role").WithName(meshSync.Name))
}

func meshSyncSubject(meshSync *v1alpha1.MeshSync) *rbacac.SubjectApplyConfiguration {
	return rbacac.Subject().
		WithKind(rbacv1.ServiceAccountKind).
		WithName(meshSync.Name).
		WithNamespace(meshSync.Namespace)
}

// meshSyncWatchList hands the list in force to the agent, which follows this object while it runs, and says of which generation of the
// MeshSync it is and what is wrong with that one's. All keys are always there, empty for unset, so that nobody else's stay beside them.
func meshSyncWatchList(meshSync *v1alpha1.MeshSync, data map[string]string) *coreac.ConfigMapApplyConfiguration {
	annotations := map[string]string{meshery.AnnotationGeneration: generationText(meshSync)}
	if fault := watchListFault(meshSync); fault != "" {
		annotations[meshery.AnnotationWatchListError] = shorten(fault, mostMessage)
	}
	return coreac.ConfigMap(meshery.WatchListConfigMap(meshSync.Name), meshSync.Namespace).
		WithLabels(meshSyncLabels(meshSync)).
		WithAnnotations(annotations).
		WithOwnerReferences(ownerReference(meshSync, meshSyncKind)).
		WithData(data)
}

// meshSyncDeployment leaves alone what Meshery Server applies with its own field manager: args, some environment variables
// and a pod annotation.
func meshSyncDeployment(meshSync *v1alpha1.MeshSync, broker target, options *Options) *appsac.DeploymentApplyConfiguration {
	pod := coreac.PodTemplateSpec().
		WithLabels(meshSyncLabels(meshSync)).
		WithSpec(withSettings(hardenedPod().
			WithServiceAccountName(meshSync.Name).
			WithTerminationGracePeriodSeconds(agentGracePeriod).
			WithContainers(meshSyncContainer(meshSync, broker, options)), meshSync.Spec.PodSettings))
	if broker.loginHash != "" {
		pod.WithAnnotations(map[string]string{annotationSecretHash: broker.loginHash})
	}
	if len(broker.files) > 0 {
		pod.Spec.WithVolumes(brokerFiles(broker))
	}
	return appsac.Deployment(meshSync.Name, meshSync.Namespace).
		WithLabels(meshSyncLabels(meshSync)).
		WithOwnerReferences(ownerReference(meshSync, meshSyncKind)).
		WithSpec(appsac.DeploymentSpec().
			WithReplicas(meshSync.Spec.Size).
			// An agent that is replaced goes when the next is ready to take over.
			WithStrategy(appsac.DeploymentStrategy().
				WithType(appsv1.RollingUpdateDeploymentStrategyType).
				WithRollingUpdate(appsac.RollingUpdateDeployment().WithMaxSurge(intstr.FromInt32(1)).WithMaxUnavailable(intstr.FromInt32(0)))).
			WithSelector(metaac.LabelSelector().WithMatchLabels(meshSyncSelector(meshSync))).
			WithTemplate(pod))
}

// brokerFiles has the keys that are read and no others: a Secret with a certificate has its private key beside it.
func brokerFiles(broker target) *coreac.VolumeApplyConfiguration {
	source := coreac.SecretVolumeSource().WithSecretName(broker.files[0].secret)
	for _, file := range broker.files {
		source.WithItems(coreac.KeyToPath().WithKey(file.key).WithPath(file.key))
	}
	return coreac.Volume().WithName(brokerFilesVolume).WithSecret(source)
}

// agentMemoryLimit leaves room for many large messages that a broker does not take at the moment.
const agentMemoryLimit = "1Gi"

func meshSyncContainer(meshSync *v1alpha1.MeshSync, broker target, options *Options) *coreac.ContainerApplyConfiguration {
	image, _ := meshSyncImage(meshSync, options)
	container := coreac.Container().
		WithName(meshery.ContainerMeshSync).
		WithImage(image).
		WithImagePullPolicy(pullPolicy(image)).
		WithEnv(meshSyncEnv(meshSync, broker)...).
		WithPorts(containerPort(meshery.PortAgentName, meshery.PortAgent)).
		WithStartupProbe(httpProbe("/healthz", meshery.PortAgentName).WithPeriodSeconds(1).WithFailureThreshold(60)).
		WithReadinessProbe(httpProbe("/readyz", meshery.PortAgentName).WithPeriodSeconds(5).WithFailureThreshold(2)).
		WithLivenessProbe(httpProbe("/healthz", meshery.PortAgentName).WithPeriodSeconds(20).WithFailureThreshold(3)).
		WithResources(resources("50m", "64Mi", agentMemoryLimit)).
		WithSecurityContext(hardenedContainer())
	if len(broker.files) > 0 {
		container.WithVolumeMounts(coreac.VolumeMount().WithName(brokerFilesVolume).WithMountPath(brokerFilesDir).WithReadOnly(true))
	}
	return container
}

func meshSyncEnv(meshSync *v1alpha1.MeshSync, broker target) []*coreac.EnvVarApplyConfiguration {
	literal := func(name, value string) *coreac.EnvVarApplyConfiguration {
		return coreac.EnvVar().WithName(name).WithValue(value)
	}
	var env []*coreac.EnvVarApplyConfiguration
	if limit := memoryLimit(meshSync.Spec.Resources, agentMemoryLimit); limit > 0 {
		env = append(env, literal("GOMEMLIMIT", strconv.FormatInt(limit/100*90, 10)))
	}
	for _, value := range broker.login { // before the URL, which may refer to one
		env = append(env, secretEnv(value.env, value.secret, value.key))
	}
	for _, file := range broker.files {
		env = append(env, literal(file.env, path.Join(brokerFilesDir, file.key)))
	}
	env = append(env,
		literal(meshery.EnvBrokerURL, broker.url),
		literal(meshery.EnvNamespace, meshSync.Namespace),
		literal(meshery.EnvName, meshSync.Name),
		podNameEnv(meshery.EnvIdentity),
	)
	if verbosity := meshSync.Spec.Verbosity; verbosity != nil {
		env = append(env, literal(meshery.EnvVerbosity, strconv.Itoa(int(*verbosity))))
	}
	return env
}
