package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
)

const (
	nodeProcess = "node"
	pauseImage  = "localhost/cluster/pause:local"

	// Where containerd listens, as seen inside the node.
	containerdSocket = "/run/containerd/containerd.sock"
)

// nodeSpec is what the node's pid 1 is told by the host.
type nodeSpec struct {
	Name   string            `json:"name"`
	Dir    folder            `json:"dir"`
	Subnet subnet            `json:"subnet"`
	Parts  map[string]string `json:"parts"`
	CNI    string            `json:"cni"` // folder of the CNI plugins
}

// writeNodeFiles issues the node's certificates and writes the configuration of everything that runs on it.
func writeNodeFiles(spec nodeSpec, e endpoints, ca *authority) error {
	f := spec.Dir
	if err := os.MkdirAll(f.path("node", "cni"), 0o700); err != nil {
		return err
	}
	if err := ca.server("kubelet-server", spec.Subnet.node().String(), spec.Name); err != nil {
		return err
	}
	for user, subject := range map[string][]string{
		partKubelet: {"system:node:" + spec.Name, "system:nodes"},
		partProxy:   {"system:kube-proxy"},
		partCoreDNS: {coreDNSUser},
	} {
		if err := ca.client(user, subject[0], subject[1:]...); err != nil {
			return err
		}
		if err := writeKubeconfig(f, e.server(), user); err != nil {
			return err
		}
	}
	files := map[string][]byte{
		"containerd.toml": containerdConfig(spec),
		"Corefile":        corefile(spec),
		"resolv.conf":     fmt.Appendf(nil, "nameserver %s\n", spec.Subnet.node()),
	}
	for name, object := range map[string]any{
		"kubelet.json":     kubeletConfig(spec),
		"kube-proxy.json":  proxyConfig(spec),
		"cni/pod.conflist": podNetwork(spec),
	} {
		text, err := json.MarshalIndent(object, "", "  ")
		if err != nil {
			return err
		}
		files[name] = text
	}
	for name, text := range files {
		if err := writeFile(f.path("node", name), text); err != nil {
			return err
		}
	}
	return nil
}

// object is a piece of JSON.
type object map[string]any

func kubeletConfig(spec nodeSpec) object {
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": spec.Dir.pki("ca.crt")},
		},
		"authorization":            object{"mode": "Webhook"},
		"address":                  spec.Subnet.node(),
		"tlsCertFile":              spec.Dir.pki("kubelet-server.crt"),
		"tlsPrivateKeyFile":        spec.Dir.pki("kubelet-server.key"),
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               "/" + spec.Subnet.cgroup(),
		"failCgroupV1":             false, // the machine is what it is
		"failSwapOn":               false,
		"clusterDNS":               []any{spec.Subnet.node()},
		"clusterDomain":            "cluster.local",
		"resolvConf":               spec.Dir.path("node", "resolv.conf"),
		"volumePluginDir":          "/var/lib/kubelet/volume-plugins", // the default is below /usr, which is the host's
		// The disk is shared with everything else on the machine: how full it is says nothing about this cluster. Images
		// were loaded by hand and cannot be pulled again, so none is ever collected.
		"evictionHard":                object{"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%"},
		"imageGCHighThresholdPercent": 100,
		"oomScoreAdj":                 0, // the default needs CAP_SYS_RESOURCE, which a sandbox may not have
	}
}

func proxyConfig(spec nodeSpec) object {
	return object{
		"apiVersion":         "kubeproxy.config.k8s.io/v1alpha1",
		"kind":               "KubeProxyConfiguration",
		"clientConnection":   object{"kubeconfig": spec.Dir.kubeconfig(partProxy)},
		"hostnameOverride":   spec.Name,
		"bindAddress":        spec.Subnet.node(),
		"healthzBindAddress": "127.0.0.1:10256",
		"clusterCIDR":        spec.Subnet.pods(),
		"mode":               "iptables", // nftables mode wants the nft program
		"iptables":           object{"localhostNodePorts": false},
		"nodePortAddresses":  []string{"primary"},
		"oomScoreAdj":        0,
		// The table's limits belong to the host and are out of reach from a network namespace: leave them.
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
}

// podNetwork routes every pod by itself (ptp) instead of bridging them: Services between pods then work whether or not the host
// passes bridged frames through iptables.
func podNetwork(spec nodeSpec) object {
	return object{
		"cniVersion": "0.4.0",
		"name":       "pods",
		"plugins": []object{
			{
				"type": "ptp",
				"ipam": object{
					"type":   "host-local",
					"ranges": [][]object{{{"subnet": spec.Subnet.pods()}}},
					"routes": []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}
}

func containerdConfig(spec nodeSpec) []byte {
	return fmt.Appendf(nil, `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = %q

# The default is below /opt, which is the host's.
[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %q
# Without CAP_SYS_RESOURCE no sandbox would start: lowering the score is refused.
restrict_oom_score_adj = true
# Loading a profile would change the host's kernel.
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = %q
conf_dir = %q

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
`, containerdSocket, pauseImage, spec.CNI, spec.Dir.path("node", "cni"))
}

// corefile serves the cluster's names and denies all others at once: there is no way out of the node to ask anybody. That takes a
// block of its own, because within a block CoreDNS asks templates first, whatever the order here.
func corefile(spec nodeSpec) []byte {
	return fmt.Appendf(nil, `cluster.local in-addr.arpa ip6.arpa {
    bind %[1]s
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig %[2]s
        pods insecure
        ttl 5
    }
}
. {
    bind %[1]s
    errors
    template ANY ANY {
        rcode NXDOMAIN
    }
}
`, spec.Subnet.node(), spec.Dir.kubeconfig(partCoreDNS))
}

const coreDNSUser = "system:coredns"

// grantCoreDNS lets CoreDNS read what it answers from. Kubernetes has no built-in role for that.
func grantCoreDNS(ctx context.Context, api *apiClient) error {
	const group = "/apis/rbac.authorization.k8s.io/v1/"
	read := []string{"get", "list", "watch"}
	err := api.create(ctx, group+"clusterroles", object{
		"metadata": object{"name": coreDNSUser},
		"rules": []object{
			{"apiGroups": []string{""}, "resources": []string{"namespaces", "nodes", "pods", "services"}, "verbs": read},
			{"apiGroups": []string{"discovery.k8s.io"}, "resources": []string{"endpointslices"}, "verbs": read},
		},
	})
	if err != nil {
		return err
	}
	return api.create(ctx, group+"clusterrolebindings", object{
		"metadata": object{"name": coreDNSUser},
		"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": coreDNSUser},
		"subjects": []object{{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": coreDNSUser}},
	})
}

// nodeReady holds once pods can run, find each other by name, and reach Services.
func nodeReady(ctx context.Context, api *apiClient, spec nodeSpec) error {
	for _, check := range []func(context.Context, *apiClient, nodeSpec) error{kubeletReady, clusterDNSAnswers, servicesAnswer} {
		if err := check(ctx, api, spec); err != nil {
			return err
		}
	}
	return nil
}

func kubeletReady(ctx context.Context, api *apiClient, spec nodeSpec) error {
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := api.get(ctx, "/api/v1/nodes/"+spec.Name, &node); err != nil {
		return err
	}
	message := "no status yet"
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" {
			message = condition.Message
			if condition.Status == "True" {
				return nil
			}
		}
	}
	return fmt.Errorf("node %s is not ready: %s", spec.Name, message)
}

func clusterDNSAnswers(ctx context.Context, _ *apiClient, spec nodeSpec) error {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, net.JoinHostPort(spec.Subnet.node().String(), "53"))
	}}
	_, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
	return err
}

// servicesAnswer asks the API server through its Service, which takes kube-proxy's rules.
func servicesAnswer(ctx context.Context, api *apiClient, spec nodeSpec) error {
	through := &apiClient{server: "https://" + spec.Subnet.services().Addr().Next().String(), http: api.http}
	return through.get(ctx, "/livez/ping", nil)
}
