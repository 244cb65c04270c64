package operator

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	rbacac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/tools/cache"

	"meshery.io/operator/pkg/apis/meshery"
	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

// target is the broker that an agent publishes to.
type target struct {
	// url is what the agent connects to. A native broker's holds $(BROKER_TOKEN), which Kubernetes replaces when the container
	// starts, so that no pod spec holds the token.
	url string
	// tokenSecret holds the token; empty for a custom broker.
	tokenSecret string
	// tokenHash changes with the token, which the agent reads only when it starts.
	tokenHash string
	// address is host:port, without credentials.
	address string
}

// nativeBroker is the Broker that a MeshSync names, or false when it names a custom URL.
func nativeBroker(meshSync *v1alpha1.MeshSync) (cache.ObjectName, bool) {
	if meshSync.Spec.Broker.Custom.URL != "" {
		return cache.ObjectName{}, false
	}
	name := cache.ObjectName{Namespace: meshSync.Namespace, Name: meshery.BrokerName}
	if native := meshSync.Spec.Broker.Native; native.Name != "" {
		name.Name = native.Name
		if native.Namespace != "" {
			name.Namespace = native.Namespace
		}
	}
	return name, true
}

func nativeTarget(broker *v1alpha1.Broker, token *corev1.Secret) target {
	endpoint := broker.Status.Endpoint.Internal
	return target{
		url:         "nats://$(" + meshery.EnvBrokerToken + ")@" + endpoint,
		tokenSecret: token.Name,
		tokenHash:   secretHash(token),
		address:     endpoint,
	}
}

func customTarget(text string) (target, error) {
	absolute := text
	if !strings.Contains(absolute, "://") {
		absolute = "nats://" + absolute
	}
	parsed, err := url.Parse(absolute)
	if err != nil || parsed.Hostname() == "" {
		// Not the error of url.Parse: it repeats the URL, and with it a password.
		return target{}, &unavailable{v1alpha1.ReasonBrokerURLInvalid, "spec.broker.custom.url is not a URL such as nats://nats.example.com:4222"}
	}
	port := parsed.Port()
	if port == "" {
		port = strconv.Itoa(meshery.PortClient)
	}
	// Kubernetes would expand $(NAME) in the value of an environment variable.
	return target{url: strings.ReplaceAll(text, "$", "$$"), address: net.JoinHostPort(parsed.Hostname(), port)}, nil
}

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

// meshSyncObjects are the namespaced objects that make up a MeshSync, in the order in which they are best created. A
// watch-list that cannot be read does not replace the one that is there, and an agent without a known broker stays as it is.
func meshSyncObjects(meshSync *v1alpha1.MeshSync, broker target, watchListOK bool, options *Options) []any {
	objects := []any{meshSyncServiceAccount(meshSync), meshSyncRole(meshSync), meshSyncRoleBinding(meshSync)}
	if watchListOK {
		objects = append(objects, meshSyncWatchList(meshSync))
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

// meshSyncWatchList hands the watch-list to the agent, which follows this object while it runs. Both keys are always there,
// empty for unset, so that nobody else's stay beside them.
func meshSyncWatchList(meshSync *v1alpha1.MeshSync) *coreac.ConfigMapApplyConfiguration {
	return coreac.ConfigMap(meshery.WatchListConfigMap(meshSync.Name), meshSync.Namespace).
		WithLabels(meshSyncLabels(meshSync)).
		WithOwnerReferences(ownerReference(meshSync, meshSyncKind)).
		WithData(map[string]string{meshery.WhitelistKey: "", meshery.BlacklistKey: ""}).
		WithData(meshSync.Spec.WatchList.Data)
}

// meshSyncDeployment leaves alone what Meshery Server applies with its own field manager: args, some environment variables
// and a pod annotation.
func meshSyncDeployment(meshSync *v1alpha1.MeshSync, broker target, options *Options) *appsac.DeploymentApplyConfiguration {
	pod := coreac.PodTemplateSpec().
		WithLabels(meshSyncLabels(meshSync)).
		WithSpec(withSettings(hardenedPod().
			WithServiceAccountName(meshSync.Name).
			WithTerminationGracePeriodSeconds(60).
			WithContainers(meshSyncContainer(meshSync, broker, options)), meshSync.Spec.PodSettings))
	if broker.tokenHash != "" {
		pod.WithAnnotations(map[string]string{annotationSecretHash: broker.tokenHash})
	}
	return appsac.Deployment(meshSync.Name, meshSync.Namespace).
		WithLabels(meshSyncLabels(meshSync)).
		WithOwnerReferences(ownerReference(meshSync, meshSyncKind)).
		WithSpec(appsac.DeploymentSpec().
			WithReplicas(meshSync.Spec.Size).
			WithSelector(metaac.LabelSelector().WithMatchLabels(meshSyncSelector(meshSync))).
			WithTemplate(pod))
}

func meshSyncContainer(meshSync *v1alpha1.MeshSync, broker target, options *Options) *coreac.ContainerApplyConfiguration {
	image := imageWithTag(options.MeshSyncImage, meshSync.Spec.Version)
	return coreac.Container().
		WithName(meshery.ContainerMeshSync).
		WithImage(image).
		WithImagePullPolicy(pullPolicy(image)).
		WithEnv(meshSyncEnv(meshSync, broker)...).
		WithPorts(containerPort(meshery.PortAgentName, meshery.PortAgent)).
		WithStartupProbe(httpProbe("/healthz", meshery.PortAgentName).WithPeriodSeconds(1).WithFailureThreshold(60)).
		WithReadinessProbe(httpProbe("/readyz", meshery.PortAgentName).WithPeriodSeconds(5).WithFailureThreshold(2)).
		WithLivenessProbe(httpProbe("/healthz", meshery.PortAgentName).WithPeriodSeconds(20).WithFailureThreshold(3)).
		// The limit leaves room for the objects of a large cluster, which the agent holds while it lists them.
		WithResources(resources("100m", "128Mi", "4Gi")).
		WithSecurityContext(hardenedContainer())
}

func meshSyncEnv(meshSync *v1alpha1.MeshSync, broker target) []*coreac.EnvVarApplyConfiguration {
	literal := func(name, value string) *coreac.EnvVarApplyConfiguration {
		return coreac.EnvVar().WithName(name).WithValue(value)
	}
	var env []*coreac.EnvVarApplyConfiguration
	if broker.tokenSecret != "" {
		env = append(env, secretEnv(meshery.EnvBrokerToken, broker.tokenSecret, meshery.BrokerTokenKey))
	}
	env = append(env,
		literal(meshery.EnvBrokerURL, broker.url),
		literal(meshery.EnvNamespace, meshSync.Namespace),
		literal(meshery.EnvName, meshSync.Name),
	)
	if verbosity := meshSync.Spec.Verbosity; verbosity != nil {
		env = append(env, literal(meshery.EnvVerbosity, strconv.Itoa(int(*verbosity))))
	}
	return env
}
