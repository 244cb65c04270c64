package operator

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

const (
	portRoutes     = 6222
	portRoutesName = "routes"

	// maxPayload is what a message may weigh: room for the largest object that etcd stores (1.5 MiB), escaped.
	maxPayload = "8MB"

	natsConfigKey     = "nats.conf"
	natsConfigDir     = "/etc/nats"
	routesUser        = "routes"
	routesPasswordKey = "password"

	// annotationConfigHash and annotationSecretHash roll the pods when nats.conf, or a Secret that they read when they start,
	// changes.
	annotationConfigHash = "meshery.io/config-hash"
	annotationSecretHash = "meshery.io/secret-hash"
)

// brokerObjects are the objects that make up a Broker, in the order in which they are best created. Its Secrets come first
// and apart, because they are created once and never changed (brokerSecrets). While one of them is missing the servers stay as
// they are.
func brokerObjects(broker *v1alpha1.Broker, secrets []*corev1.Secret, options *Options) []any {
	objects := []any{brokerConfigMap(broker), brokerHeadlessService(broker), brokerService(broker)}
	if len(secrets) == len(brokerSecrets(broker)) {
		objects = append(objects, brokerStatefulSet(broker, secrets, options))
	}
	return objects
}

// brokerSelector tells the pods of one Broker from those of another. A StatefulSet's selector cannot be changed later.
func brokerSelector(broker *v1alpha1.Broker) map[string]string {
	return map[string]string{
		meshery.LabelApp:      meshery.AppBroker,
		meshery.LabelName:     meshery.NameNATS,
		meshery.LabelInstance: broker.Name,
	}
}

func routesSecret(broker string) string { return broker + "-routes" }

// secretSpec is a Secret with one generated value.
type secretSpec struct {
	name, key string
}

// brokerSecrets are the Secrets that a Broker needs: what clients show, and what the servers of one cluster show each other.
func brokerSecrets(broker *v1alpha1.Broker) []secretSpec {
	return []secretSpec{
		{name: meshery.BrokerTokenSecret(broker.Name), key: meshery.BrokerTokenKey},
		{name: routesSecret(broker.Name), key: routesPasswordKey},
	}
}

// newBrokerSecret fills a Secret with a new random value.
func newBrokerSecret(broker *v1alpha1.Broker, secret secretSpec) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:      secret.name,
			Namespace: broker.Namespace,
			Labels:    ownedLabels(brokerSelector(broker)),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: brokerKind.GroupVersion().String(),
				Kind:       brokerKind.Kind,
				Name:       broker.Name,
				UID:        broker.UID,
				Controller: new(true),
			}},
		},
		Data: map[string][]byte{secret.key: []byte(newToken())},
	}
}

// newToken has 130 random bits or more in letters and digits. It begins with a letter, because nats.conf would read a value that
// begins like a number as one.
func newToken() string { return "t" + rand.Text() }

func brokerConfigMap(broker *v1alpha1.Broker) *coreac.ConfigMapApplyConfiguration {
	return coreac.ConfigMap(meshery.BrokerConfig(broker.Name), broker.Namespace).
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithOwnerReferences(ownerReference(broker, brokerKind)).
		WithData(map[string]string{natsConfigKey: natsConfig(broker)})
}

// natsConfig is nats.conf. Values that begin with $ come from the pod's environment, so that no secret stands here.
func natsConfig(broker *v1alpha1.Broker) string {
	var conf strings.Builder
	fmt.Fprintf(&conf, `server_name: $POD_NAME
port: %d
http_port: %d
max_payload: %s
authorization {
  token: $NATS_TOKEN
}
`, meshery.PortClient, meshery.PortMonitor, maxPayload)
	if broker.Spec.Size > 1 {
		fmt.Fprintf(&conf, `cluster {
  name: %q
  port: %d
  # Clients keep to the addresses that they were given: a pod's own is of no use outside the cluster.
  no_advertise: true
  authorization {
    user: %s
    password: $ROUTES_PASSWORD
  }
  routes: $ROUTES
}
`, broker.Namespace+"."+broker.Name, portRoutes, routesUser)
	}
	return conf.String()
}

// natsRoutes is where every server of the cluster finds the others, as a value for nats.conf.
func natsRoutes(broker *v1alpha1.Broker) string {
	routes := make([]string, 0, broker.Spec.Size)
	for ordinal := range broker.Spec.Size {
		routes = append(routes, fmt.Sprintf("nats://%s:$(ROUTES_PASSWORD)@%s-%d.%s:%d",
			routesUser, broker.Name, ordinal, meshery.HeadlessService(broker.Name), portRoutes))
	}
	return "[" + strings.Join(routes, ", ") + "]"
}

// brokerHeadlessService gives every server a DNS name, from before it is ready: servers must find each other to become so.
func brokerHeadlessService(broker *v1alpha1.Broker) *coreac.ServiceApplyConfiguration {
	return coreac.Service(meshery.HeadlessService(broker.Name), broker.Namespace).
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithOwnerReferences(ownerReference(broker, brokerKind)).
		WithSpec(coreac.ServiceSpec().
			WithClusterIP(corev1.ClusterIPNone).
			WithPublishNotReadyAddresses(true).
			WithSelector(brokerSelector(broker)).
			WithPorts(
				servicePort(meshery.PortClientName, meshery.PortClient),
				servicePort(portRoutesName, portRoutes),
				servicePort(meshery.PortMonitorName, meshery.PortMonitor),
			))
}

// brokerService is where clients connect. The monitoring port asks nobody for a token, so only a Service that ends inside the
// cluster carries it.
func brokerService(broker *v1alpha1.Broker) *coreac.ServiceApplyConfiguration {
	want := broker.Spec.Service
	serviceType := brokerServiceType(broker)
	spec := coreac.ServiceSpec().
		WithType(serviceType).
		WithSelector(brokerSelector(broker)).
		WithPorts(servicePort(meshery.PortClientName, meshery.PortClient))
	switch serviceType {
	case corev1.ServiceTypeClusterIP:
		spec.WithPorts(servicePort(meshery.PortMonitorName, meshery.PortMonitor))
	case corev1.ServiceTypeLoadBalancer:
		spec.LoadBalancerClass = want.LoadBalancerClass
		spec.WithLoadBalancerSourceRanges(want.LoadBalancerSourceRanges...)
	}
	return coreac.Service(broker.Name, broker.Namespace).
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithAnnotations(want.Annotations).
		WithOwnerReferences(ownerReference(broker, brokerKind)).
		WithSpec(spec)
}

// brokerServiceType repeats the schema's default for a Broker that was stored before there was one.
func brokerServiceType(broker *v1alpha1.Broker) corev1.ServiceType {
	if broker.Spec.Service.Type == "" {
		return corev1.ServiceTypeLoadBalancer
	}
	return broker.Spec.Service.Type
}

func servicePort(name string, port int32) *coreac.ServicePortApplyConfiguration {
	return coreac.ServicePort().
		WithName(name).
		WithProtocol(corev1.ProtocolTCP).
		WithPort(port).
		WithTargetPort(intstr.FromString(name))
}

func brokerStatefulSet(broker *v1alpha1.Broker, secrets []*corev1.Secret, options *Options) *appsac.StatefulSetApplyConfiguration {
	pod := coreac.PodTemplateSpec().
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithAnnotations(map[string]string{
			annotationConfigHash: shortHash(natsConfig(broker)),
			annotationSecretHash: secretHash(secrets...),
		}).
		WithSpec(withSettings(hardenedPod().
			WithAutomountServiceAccountToken(false).
			WithTerminationGracePeriodSeconds(60).
			WithContainers(natsContainer(broker, imageWithTag(options.BrokerImage, broker.Spec.Version))).
			WithVolumes(coreac.Volume().
				WithName("config").
				WithConfigMap(coreac.ConfigMapVolumeSource().WithName(meshery.BrokerConfig(broker.Name)))), broker.Spec.PodSettings))
	return appsac.StatefulSet(broker.Name, broker.Namespace).
		WithLabels(ownedLabels(brokerSelector(broker))).
		WithOwnerReferences(ownerReference(broker, brokerKind)).
		WithSpec(appsac.StatefulSetSpec().
			WithReplicas(broker.Spec.Size).
			WithServiceName(meshery.HeadlessService(broker.Name)).
			// Servers of a cluster wait for each other: none would become ready if they started one after the other.
			WithPodManagementPolicy(appsv1.ParallelPodManagement).
			WithSelector(metaac.LabelSelector().WithMatchLabels(brokerSelector(broker))).
			WithTemplate(pod))
}

// secretHash changes with the content of Secrets, and tells nothing of it.
func secretHash(secrets ...*corev1.Secret) string {
	var all strings.Builder
	for _, secret := range secrets {
		// The UID makes the hash useless for guessing a short password.
		fmt.Fprintf(&all, "%s %s %q\n", secret.Name, secret.UID, secret.Data)
	}
	return shortHash(all.String())
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

func natsContainer(broker *v1alpha1.Broker, image string) *coreac.ContainerApplyConfiguration {
	container := coreac.Container().
		WithName(meshery.ContainerNATS).
		WithImage(image).
		WithImagePullPolicy(pullPolicy(image)).
		WithArgs("--config", natsConfigDir+"/"+natsConfigKey).
		WithEnv(
			coreac.EnvVar().WithName("POD_NAME").WithValueFrom(coreac.EnvVarSource().
				WithFieldRef(coreac.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath("metadata.name"))),
			secretEnv("BROKER_TOKEN", meshery.BrokerTokenSecret(broker.Name), meshery.BrokerTokenKey),
			// In quotes, so that a token of the user's that looks like a number or a size stays text.
			coreac.EnvVar().WithName("NATS_TOKEN").WithValue(`"$(BROKER_TOKEN)"`),
		).
		WithPorts(
			containerPort(meshery.PortClientName, meshery.PortClient),
			containerPort(portRoutesName, portRoutes),
			containerPort(meshery.PortMonitorName, meshery.PortMonitor),
		).
		WithStartupProbe(httpProbe("/healthz", meshery.PortMonitorName).WithPeriodSeconds(2).WithFailureThreshold(150)).
		WithReadinessProbe(httpProbe("/healthz?js-server-only=true", meshery.PortMonitorName).WithPeriodSeconds(5).WithFailureThreshold(3)).
		WithLivenessProbe(httpProbe("/healthz?js-enabled-only=true", meshery.PortMonitorName).WithPeriodSeconds(30).WithFailureThreshold(3)).
		WithResources(resources("100m", "64Mi", "256Mi")).
		WithSecurityContext(hardenedContainer()).
		WithVolumeMounts(coreac.VolumeMount().WithName("config").WithMountPath(natsConfigDir).WithReadOnly(true))
	if broker.Spec.Size > 1 {
		container.WithEnv(
			secretEnv("ROUTES_PASSWORD", routesSecret(broker.Name), routesPasswordKey),
			coreac.EnvVar().WithName("ROUTES").WithValue(natsRoutes(broker)),
		)
	}
	return container
}
