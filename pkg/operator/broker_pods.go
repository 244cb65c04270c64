package operator

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

const (
	// annotationConfigHash and annotationSecretHash roll the pods when nats.conf, or a Secret that they read when they start,
	// changes.
	annotationConfigHash = "meshery.io/config-hash"
	annotationSecretHash = "meshery.io/secret-hash"
	// annotationServers says of how many servers a pod's cluster is.
	annotationServers = "meshery.io/servers"

	brokerMemoryLimit = "512Mi"
	// brokerGracePeriod is more than lame-duck mode takes, in seconds.
	brokerGracePeriod = 60
	// brokerMinReady is how long, in seconds, a server of a cluster has to catch up with the others before the next is replaced.
	brokerMinReady = 10
)

func brokerStatefulSet(broker *v1alpha1.Broker, secrets []*corev1.Secret, options *Options) *appsac.StatefulSetApplyConfiguration {
	pod := coreac.PodTemplateSpec().
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithAnnotations(map[string]string{
			annotationConfigHash: shortHash(natsConfig(broker)),
			annotationSecretHash: secretHash(readByServers(broker, secrets)...),
			annotationServers:    strconv.Itoa(int(broker.Spec.Size)),
		}).
		WithSpec(withSettings(brokerPod(broker, imageWithTag(options.BrokerImage, broker.Spec.Version)), broker.Spec.PodSettings))
	spec := appsac.StatefulSetSpec().
		WithReplicas(broker.Spec.Size).
		WithServiceName(meshery.HeadlessService(broker.Name)).
		// Servers of a cluster wait for each other: none would become ready if they started one after the other.
		WithPodManagementPolicy(appsv1.ParallelPodManagement).
		WithSelector(metaac.LabelSelector().WithMatchLabels(brokerSelector(broker))).
		WithTemplate(pod)
	if broker.Spec.Size > 1 {
		spec.WithMinReadySeconds(brokerMinReady)
	}
	if storage := broker.Spec.JetStream.Storage; storage != nil {
		spec.WithVolumeClaimTemplates(dataClaim(storage)).WithPersistentVolumeClaimRetentionPolicy(claimRetention(storage))
	}
	return appsac.StatefulSet(broker.Name, broker.Namespace).
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithOwnerReferences(ownerReference(broker, brokerKind)).
		WithSpec(spec)
}

func brokerPod(broker *v1alpha1.Broker, image string) *coreac.PodSpecApplyConfiguration {
	container := natsContainer(broker, image)
	pod := hardenedPod().
		WithAutomountServiceAccountToken(false).
		WithTerminationGracePeriodSeconds(brokerGracePeriod).
		WithVolumes(coreac.Volume().WithName("config").
			WithConfigMap(coreac.ConfigMapVolumeSource().WithName(meshery.BrokerConfig(broker.Name))))
	if broker.Spec.JetStream.Storage == nil {
		pod.WithVolumes(emptyDir(dataVolume))
	}
	if broker.Spec.TLS != nil {
		pod.WithVolumes(tlsVolume(broker.Spec.TLS))
		container.WithVolumeMounts(coreac.VolumeMount().WithName(tlsVolumeName).WithMountPath(natsTLSDir).WithReadOnly(true))
	}
	if broker.Spec.Size > 1 {
		pod.WithVolumes(emptyDir("pid")).WithTopologySpreadConstraints(
			spread(broker, corev1.LabelHostname), spread(broker, corev1.LabelTopologyZone))
		asClusterMember(broker, container)
	}
	return pod.WithContainers(container)
}

func emptyDir(name string) *coreac.VolumeApplyConfiguration {
	return coreac.Volume().WithName(name).WithEmptyDir(coreac.EmptyDirVolumeSource())
}

// spread keeps servers apart where there is room for it.
func spread(broker *v1alpha1.Broker, topologyKey string) *coreac.TopologySpreadConstraintApplyConfiguration {
	return coreac.TopologySpreadConstraint().
		WithMaxSkew(1).
		WithTopologyKey(topologyKey).
		WithWhenUnsatisfiable(corev1.ScheduleAnyway).
		WithLabelSelector(metaac.LabelSelector().WithMatchLabels(brokerSelector(broker)))
}

func natsContainer(broker *v1alpha1.Broker, image string) *coreac.ContainerApplyConfiguration {
	container := coreac.Container().
		WithName(meshery.ContainerNATS).
		WithImage(image).
		WithImagePullPolicy(pullPolicy(image)).
		WithArgs("--config", natsConfigDir+"/"+natsConfigKey).
		WithEnv(
			podNameEnv("POD_NAME"),
			secretEnv("BROKER_TOKEN", meshery.BrokerTokenSecret(broker.Name), meshery.BrokerTokenKey),
			// In quotes, so that a token of the user's that looks like a number or a size stays text.
			coreac.EnvVar().WithName("NATS_TOKEN").WithValue(quoted("BROKER_TOKEN")),
		).
		WithPorts(
			containerPort(meshery.PortClientName, meshery.PortClient),
			containerPort(portRoutesName, portRoutes),
			containerPort(meshery.PortMonitorName, meshery.PortMonitor),
		).
		// A server alone is up when it has read back its streams.
		WithStartupProbe(httpProbe("/healthz", meshery.PortMonitorName).WithPeriodSeconds(2).WithFailureThreshold(150)).
		WithReadinessProbe(httpProbe("/healthz?js-server-only=true", meshery.PortMonitorName).WithPeriodSeconds(5).WithFailureThreshold(3)).
		WithLivenessProbe(httpProbe("/healthz?js-enabled-only=true", meshery.PortMonitorName).WithPeriodSeconds(30).WithFailureThreshold(3)).
		WithResources(resources("100m", "64Mi", brokerMemoryLimit)).
		WithSecurityContext(hardenedContainer()).
		WithVolumeMounts(
			coreac.VolumeMount().WithName("config").WithMountPath(natsConfigDir).WithReadOnly(true),
			coreac.VolumeMount().WithName(dataVolume).WithMountPath(natsDataDir),
		)
	if limit := memoryLimit(broker.Spec.Resources, brokerMemoryLimit); limit > 0 {
		container.WithEnv(coreac.EnvVar().WithName("GOMEMLIMIT").WithValue(strconv.FormatInt(limit/100*85, 10)))
	}
	return container
}

// asClusterMember adds what a server among others needs. It starts without asking for a majority, which is there only when enough
// servers of a changed cluster were replaced, and goes through lame-duck mode: one that is alone has nowhere to send its clients.
func asClusterMember(broker *v1alpha1.Broker, container *coreac.ContainerApplyConfiguration) {
	container.
		WithEnv(
			secretEnv("ROUTES_PASSWORD", routesSecret(broker.Name), routesPasswordKey),
			coreac.EnvVar().WithName("ROUTES").WithValue(natsRoutes(broker)),
		).
		WithStartupProbe(httpProbe("/healthz?js-enabled-only=true", meshery.PortMonitorName).WithPeriodSeconds(2).WithFailureThreshold(150)).
		WithVolumeMounts(coreac.VolumeMount().WithName("pid").WithMountPath(natsPIDDir)).
		WithLifecycle(coreac.Lifecycle().WithPreStop(coreac.LifecycleHandler().WithExec(
			// The server ignores the signal that comes next, and ends when its clients are gone.
			coreac.ExecAction().WithCommand("nats-server", "-sl=ldm="+natsPIDFile))))
}

// quoted is the value of another environment variable, as text in nats.conf.
func quoted(variable string) string { return `"$(` + variable + `)"` }

// memoryLimit in bytes that a user has set, or the one otherwise; 0 for none.
func memoryLimit(settings *corev1.ResourceRequirements, otherwise string) int64 {
	if settings == nil {
		limit := resource.MustParse(otherwise)
		return limit.Value()
	}
	return settings.Limits.Memory().Value()
}
