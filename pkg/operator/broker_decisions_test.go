package operator

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshery.io/operator/pkg/apis/meshery/v1alpha1"
)

func withSize(size int32) func(*v1alpha1.Broker) {
	return func(b *v1alpha1.Broker) { b.Spec.Size = size }
}

func TestExternalEndpoint(t *testing.T) {
	loadBalancer := func(ingress ...corev1.LoadBalancerIngress) *corev1.Service {
		return &corev1.Service{
			Spec:   corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: ingress}},
		}
	}
	nodePort := func(port int32) *corev1.Service {
		return &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Name: "client", Port: 4222, NodePort: port}}}}
	}
	clusterIP := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP}}
	const (
		ofClusterIP    = corev1.ServiceTypeClusterIP
		ofNodePort     = corev1.ServiceTypeNodePort
		ofLoadBalancer = corev1.ServiceTypeLoadBalancer
	)
	for name, test := range map[string]struct {
		wanted   corev1.ServiceType
		override string
		service  *corev1.Service
		node     nodeAddress
		want     string
		reason   string
	}{
		"no Service yet": {wanted: ofLoadBalancer, reason: "LoadBalancerPending"},
		"a Broker from before there was a default":     {service: loadBalancer(corev1.LoadBalancerIngress{IP: "192.0.2.7"}), want: "192.0.2.7:4222", reason: "LoadBalancer"},
		"a ClusterIP is not reachable":                 {wanted: ofClusterIP, service: clusterIP, reason: "InClusterOnly"},
		"a ClusterIP that was a load balancer":         {wanted: ofClusterIP, service: loadBalancer(corev1.LoadBalancerIngress{IP: "192.0.2.7"}), reason: "InClusterOnly"},
		"a load balancer is pending":                   {wanted: ofLoadBalancer, service: loadBalancer(), reason: "LoadBalancerPending"},
		"a load balancer that is no Service of it yet": {wanted: ofLoadBalancer, service: nodePort(30001), node: nodeAddress{host: "198.51.100.1"}, reason: "LoadBalancerPending"},
		"a load balancer has an IP":                    {wanted: ofLoadBalancer, service: loadBalancer(corev1.LoadBalancerIngress{IP: "192.0.2.7"}), want: "192.0.2.7:4222", reason: "LoadBalancer"},
		"an IPv6 address is put in brackets":           {wanted: ofLoadBalancer, service: loadBalancer(corev1.LoadBalancerIngress{IP: "2001:db8::7"}), want: "[2001:db8::7]:4222", reason: "LoadBalancer"},
		"a load balancer has a host name":              {wanted: ofLoadBalancer, service: loadBalancer(corev1.LoadBalancerIngress{Hostname: "lb.example.com"}), want: "lb.example.com:4222", reason: "LoadBalancer"},
		"a first ingress that is empty is passed":      {wanted: ofLoadBalancer, service: loadBalancer(corev1.LoadBalancerIngress{}, corev1.LoadBalancerIngress{IP: "192.0.2.8"}), want: "192.0.2.8:4222", reason: "LoadBalancer"},
		"a node port":                                  {wanted: ofNodePort, service: nodePort(30001), node: nodeAddress{host: "198.51.100.1"}, want: "198.51.100.1:30001", reason: "NodePort"},
		"a node port of an IPv6 node":                  {wanted: ofNodePort, service: nodePort(30001), node: nodeAddress{host: "2001:db8::1"}, want: "[2001:db8::1]:30001", reason: "NodePort"},
		"a node port of unknown nodes":                 {wanted: ofNodePort, service: nodePort(30001), node: nodeAddress{unknown: "because"}, reason: "NodeAddressUnknown"},
		"a node port that is not allocated":            {wanted: ofNodePort, service: nodePort(0), node: nodeAddress{host: "198.51.100.1"}, reason: "NodeAddressUnknown"},
		"a node port whose Service is of another type": {wanted: ofNodePort, service: clusterIP, node: nodeAddress{host: "198.51.100.1"}, reason: "NodeAddressUnknown"},
		"an override wins":                             {wanted: ofLoadBalancer, override: "nats.example.com:443", service: loadBalancer(corev1.LoadBalancerIngress{IP: "192.0.2.7"}), want: "nats.example.com:443", reason: "Override"},
		"an override needs no Service":                 {wanted: ofNodePort, override: "nats.example.com:443", want: "nats.example.com:443", reason: "Override"},
		"an override of a ClusterIP":                   {wanted: ofClusterIP, override: "[2001:db8::9]:4222", service: clusterIP, want: "[2001:db8::9]:4222", reason: "Override"},
	} {
		t.Run(name, func(t *testing.T) {
			broker := newBroker(func(b *v1alpha1.Broker) {
				b.Spec.Service = v1alpha1.BrokerService{Type: test.wanted, ExternalEndpointOverride: test.override}
			})
			got, condition := externalEndpoint(broker, test.service, test.node)
			status := metav1.ConditionFalse
			if test.want != "" {
				status = metav1.ConditionTrue
			}
			if got != test.want || condition.Reason != test.reason || condition.Status != status || condition.Message == "" {
				t.Errorf("got %q, %+v; want %q, %s", got, condition, test.want, test.reason)
			}
		})
	}
}

func TestNodeAddress(t *testing.T) {
	node := func(name string, ready corev1.ConditionStatus, addresses ...corev1.NodeAddress) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}, Addresses: addresses,
		}}
	}
	internal := func(ip string) corev1.NodeAddress {
		return corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip}
	}
	external := func(ip string) corev1.NodeAddress {
		return corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: ip}
	}
	const yes, no = corev1.ConditionTrue, corev1.ConditionUnknown
	for name, test := range map[string]struct {
		nodes []corev1.Node
		want  string
	}{
		"no nodes":                     {nil, ""},
		"none is ready":                {[]corev1.Node{node("a", no, internal("10.0.0.1"))}, ""},
		"one without addresses":        {[]corev1.Node{node("a", yes)}, ""},
		"the first by name":            {[]corev1.Node{node("b", yes, internal("10.0.0.2")), node("a", yes, internal("10.0.0.1"))}, "10.0.0.1"},
		"the first that is ready":      {[]corev1.Node{node("a", no, internal("10.0.0.1")), node("b", yes, internal("10.0.0.2"))}, "10.0.0.2"},
		"the external one of two":      {[]corev1.Node{node("a", yes, internal("10.0.0.1"), external("192.0.2.1"))}, "192.0.2.1"},
		"an external one of any node":  {[]corev1.Node{node("a", yes, internal("10.0.0.1")), node("b", yes, external("192.0.2.2"))}, "192.0.2.2"},
		"an address that is no IP too": {[]corev1.Node{node("a", yes, corev1.NodeAddress{Type: corev1.NodeHostName, Address: "a"}, internal("fd00::1"))}, "fd00::1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := addressOf(test.nodes)
			if got.host != test.want || (got.host == "") != (got.unknown != "") {
				t.Errorf("got %+v, want %q", got, test.want)
			}
		})
	}
}

// podOf is a server's pod, of a cluster of so many servers.
func podOf(name, servers string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationServers: servers}}}
}

func TestBrokerProgressing(t *testing.T) {
	done := rollout{observed: true, want: 3, pods: 3, updated: 3, ready: 3}
	for name, test := range map[string]struct {
		rollout rollout
		mod     func(*v1alpha1.Broker)
		pods    []*corev1.Pod
		reason  string
		message []string
		not     string
	}{
		"the first servers start": {
			rollout: rollout{observed: true, want: 3, pods: 3, updated: 3}, pods: []*corev1.Pod{podOf("b-0", "3")},
			reason: v1alpha1.ReasonRollingOut, not: "lost",
		},
		"a server of a smaller cluster is left": {
			rollout: rollout{observed: true, want: 3, pods: 3, updated: 2, ready: 3}, pods: []*corev1.Pod{podOf("b-0", "1"), podOf("b-1", "3")},
			reason: v1alpha1.ReasonResizing, message: []string{"changes to 3", "JetStream", "MeshSync publishes it again"},
		},
		"a server that is too many is left": {
			rollout: rollout{observed: true, want: 3, pods: 5, updated: 3, ready: 3}, pods: []*corev1.Pod{podOf("b-4", "5"), podOf("b-1", "3")},
			reason: v1alpha1.ReasonResizing, message: []string{"changes to 3"},
		},
		"without JetStream nothing is lost": {
			rollout: rollout{observed: true, want: 3, pods: 3, updated: 2, ready: 3}, pods: []*corev1.Pod{podOf("b-0", "1")},
			mod:    func(b *v1alpha1.Broker) { b.Spec.JetStream.Enabled = new(false) },
			reason: v1alpha1.ReasonResizing, not: "lost",
		},
		"pods that are refused": {
			rollout: rollout{observed: true, want: 3, pods: 1, updated: 1, ready: 1}, pods: []*corev1.Pod{podOf("b-0", "3")},
			reason: v1alpha1.ReasonRollingOut, message: []string{"pods that are not there: 2", "quota", "kubectl describe statefulset -n meshery meshery-broker"},
		},
		"nothing was begun, so none is missed": {
			rollout: rollout{want: 3}, reason: v1alpha1.ReasonRollingOut, not: "quota",
		},
		"done": {rollout: done, pods: []*corev1.Pod{podOf("b-0", "3")}, reason: v1alpha1.ReasonRolloutComplete},
	} {
		t.Run(name, func(t *testing.T) {
			mods := []func(*v1alpha1.Broker){withSize(3)}
			if test.mod != nil {
				mods = append(mods, test.mod)
			}
			got := brokerProgressing(newBroker(mods...), test.rollout, test.pods, nil)
			if got.Reason != test.reason || test.not != "" && strings.Contains(got.Message, test.not) {
				t.Errorf("got %+v, want %s without %q", got, test.reason, test.not)
			}
			for _, want := range test.message {
				if !strings.Contains(got.Message, want) {
					t.Errorf("message %q does not say %q", got.Message, want)
				}
			}
		})
	}
}

func storage(size, class string, retain bool) *v1alpha1.BrokerStorage {
	storage := &v1alpha1.BrokerStorage{Size: resource.MustParse(size), Retain: retain}
	if class != "" {
		storage.StorageClassName = &class
	}
	return storage
}

func TestVolumesStayAsTheyAre(t *testing.T) {
	options := DefaultOptions()
	statefulSet := func(storage *v1alpha1.BrokerStorage) *appsv1.StatefulSet {
		t.Helper()
		broker := newBroker(func(b *v1alpha1.Broker) { b.Spec.JetStream.Storage = storage })
		text, err := json.Marshal(brokerStatefulSet(broker, nil, &options))
		if err != nil {
			t.Fatal(err)
		}
		live := new(appsv1.StatefulSet)
		if err := json.Unmarshal(text, live); err != nil {
			t.Fatal(err)
		}
		return live
	}
	const deletesServers, deletesVolumes = "kubectl delete statefulset -n meshery meshery-broker", "kubectl delete pvc --wait=false -n meshery -l app.kubernetes.io/instance=meshery-broker,"
	for name, test := range map[string]struct {
		live      *appsv1.StatefulSet
		want, has *v1alpha1.BrokerStorage
		message   []string // none: it can be done
	}{
		"no servers yet":                {nil, storage("1Gi", "", false), storage("1Gi", "", false), nil},
		"the same, written otherwise":   {statefulSet(storage("1Gi", "a", false)), storage("1024Mi", "a", false), storage("1024Mi", "a", false), nil},
		"none and none":                 {statefulSet(nil), nil, nil, nil},
		"retain alone can change":       {statefulSet(storage("1Gi", "", false)), storage("1Gi", "", true), storage("1Gi", "", true), nil},
		"volumes for servers without":   {statefulSet(nil), storage("1Gi", "", false), nil, []string{"1Gi of the default class", "have no volumes", deletesServers}},
		"no volumes any more":           {statefulSet(storage("1Gi", "a", true)), nil, storage("1Gi", "a", true), []string{"asks for no volumes", deletesServers, deletesVolumes}},
		"another size":                  {statefulSet(storage("1Gi", "", false)), storage("2Gi", "", false), storage("1Gi", "", false), []string{"of 2Gi", "of 1Gi", deletesServers}},
		"another size, retain as asked": {statefulSet(storage("1Gi", "", false)), storage("2Gi", "", true), storage("1Gi", "", true), []string{deletesVolumes}},
		"another class":                 {statefulSet(storage("1Gi", "", false)), storage("1Gi", "fast", false), storage("1Gi", "", false), []string{`class "fast"`, "default class"}},
	} {
		t.Run(name, func(t *testing.T) {
			broker := newBroker(func(b *v1alpha1.Broker) { b.Spec.JetStream.Storage = test.want })
			before := broker.DeepCopy()
			possible, findings := keepStorage(broker, test.live)
			if got := possible.Spec.JetStream.Storage; !sameVolumes(got, test.has) || got != nil && got.Retain != test.has.Retain {
				t.Errorf("got %+v, want %+v", got, test.has)
			}
			if !reflect.DeepEqual(broker, before) {
				t.Error("the Broker itself was changed")
			}
			if len(findings) > 0 != (len(test.message) > 0) {
				t.Errorf("findings %+v", findings)
			}
			for _, finding := range findings {
				for _, want := range test.message {
					if finding.reason != v1alpha1.ReasonStorageImmutable || !strings.Contains(finding.message, want) {
						t.Errorf("%+v does not say %q", finding, want)
					}
				}
			}
		})
	}
}

func TestWhatJetStreamMayKeep(t *testing.T) {
	for name, test := range map[string]struct {
		max  string
		on   *v1alpha1.BrokerStorage
		want int64
	}{
		"by default":                       {"", nil, 1 << 30},
		"on a volume: room for two sizes":  {"", storage("20Gi", "", false), 9 << 30},
		"as asked":                         {"100Mi", nil, 100 << 20},
		"as asked, on a volume":            {"10Gi", storage("10Gi", "", false), 10 << 30},
		"more than an earlier volume":      {"10Gi", storage("1Gi", "", false), 1 << 30},
		"an absurd volume does not wrap":   {"", storage("8E", "", false), 3600000000000000000},
		"a tiny volume is not no limit":    {"", storage("1", "", false), 1},
		"fractions of bytes are rounded":   {"1500m", nil, 2},
		"decimal and binary are different": {"1G", nil, 1_000_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			jetStream := &v1alpha1.BrokerJetStream{Storage: test.on}
			if test.max != "" {
				jetStream.MaxStorage = new(resource.MustParse(test.max))
			}
			if got := maxFileStore(jetStream); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestMemoryLimitOfTheServer(t *testing.T) {
	limit := func(memory string) *corev1.ResourceRequirements {
		return &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}}
	}
	for name, test := range map[string]struct {
		resources *corev1.ResourceRequirements
		want      string
	}{
		"the default's":     {nil, "456340265"}, // 85 % of 512Mi
		"the user's":        {limit("1Gi"), "912680530"},
		"without a limit":   {&corev1.ResourceRequirements{}, ""},
		"with a CPU's only": {&corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			broker := newBroker(func(b *v1alpha1.Broker) { b.Spec.Resources = test.resources })
			got := ""
			for _, variable := range natsContainer(broker, "nats").Env {
				if *variable.Name == "GOMEMLIMIT" {
					got = *variable.Value
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestSoonest(t *testing.T) {
	for _, test := range []struct{ a, b, want time.Duration }{{0, 0, 0}, {0, 2, 2}, {3, 0, 3}, {3, 2, 2}} {
		if got := soonest(test.a, test.b); got != test.want {
			t.Errorf("soonest(%v, %v) = %v, want %v", test.a, test.b, got, test.want)
		}
	}
}

func TestPodTroubles(t *testing.T) {
	waiting := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{Name: "nats", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}},
		}}
	}
	crashed := waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container")
	crashed.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}
	unscheduled := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message}}}
	}
	for name, test := range map[string]struct {
		status corev1.PodStatus
		want   []string // none: no trouble
	}{
		"well":                     {corev1.PodStatus{Phase: corev1.PodRunning}, nil},
		"starting":                 {waiting("ContainerCreating", ""), nil},
		"an image is not there":    {waiting("ImagePullBackOff", `Back-off pulling image "nats:0"`), []string{"pod b-0: ImagePullBackOff", "nats:0"}},
		"an image's name is wrong": {waiting("InvalidImageName", "couldn't parse image name"), []string{"InvalidImageName: couldn't parse"}},
		"a Secret's key is gone":   {waiting("CreateContainerConfigError", `couldn't find key token in Secret`), []string{"couldn't find key token"}},
		"it crashes":               {crashed, []string{"CrashLoopBackOff", "OOMKilled, exit code 137", "kubectl logs -n meshery b-0 -c nats --previous"}},
		"no node fits":             {unscheduled("Unschedulable", "0/3 nodes are available: 3 Insufficient memory."), []string{"cannot be scheduled", "Insufficient memory"}},
		"a volume is pending": {
			unscheduled("Unschedulable", "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
			[]string{"unbound immediate PersistentVolumeClaims", "kubectl describe pvc -n meshery"},
		},
		"gated on purpose": {unscheduled("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "meshery", Name: "b-0"}, Status: test.status}
			troubles := podTroubles([]*corev1.Pod{pod})
			if len(troubles) > 0 != (len(test.want) > 0) {
				t.Fatalf("got %+v", troubles)
			}
			for _, want := range test.want {
				if troubles[0].reason != v1alpha1.ReasonPodsFailing || !strings.Contains(troubles[0].message, want) {
					t.Errorf("%+v does not say %q", troubles[0], want)
				}
			}
			pod.DeletionTimestamp = new(metav1.Now())
			if troubles := podTroubles([]*corev1.Pod{pod}); len(troubles) > 0 {
				t.Errorf("a pod that goes is no trouble any more: %+v", troubles)
			}
		})
	}
}

func TestPodTroublesAreInOrder(t *testing.T) {
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}},
		}}}
	}
	got := withTroubles("x", podTroubles([]*corev1.Pod{pod("b-1"), pod("b-0")}))
	if want := "x; pod b-0: ErrImagePull; pod b-1: ErrImagePull"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
