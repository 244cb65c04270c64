package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
)

const serviceAccountIssuer = "https://kubernetes.default.svc.cluster.local"

// The service range of a cluster without a node, where nothing ever dials it.
const defaultServiceCIDR = "10.96.0.0/16"

// endpoints are the addresses of a control plane.
type endpoints struct {
	host     string // the API server binds to it and advertises it
	port     int
	etcd     int // its port on loopback
	services netip.Prefix
}

func (e endpoints) server() string {
	return "https://" + net.JoinHostPort(e.host, strconv.Itoa(e.port))
}

func (e endpoints) etcdURL() string { return "https://127.0.0.1:" + strconv.Itoa(e.etcd) }

// kubernetesIP is the address of the Service "kubernetes": the first of the range.
func (e endpoints) kubernetesIP() string { return e.services.Addr().Next().String() }

// chooseEndpoints finds free ports on the host address. A forced port that is taken is an error.
func chooseEndpoints(host string, port int, services netip.Prefix) (endpoints, error) {
	e := endpoints{host: host, port: port, services: services}
	var err error
	if port == 0 {
		e.port, err = freePort(host)
	} else if !portFree(host, port) {
		err = fmt.Errorf("port %d of %s is taken: choose another --port, or none to get a free one", port, host)
	}
	if err != nil {
		return endpoints{}, err
	}
	for e.etcd == 0 || e.etcd == e.port {
		if e.etcd, err = freePort("127.0.0.1"); err != nil {
			return endpoints{}, err
		}
	}
	return e, nil
}

// freePort picks at random below the ports that the kernel hands out by itself and below the NodePorts: nothing but another
// cluster of ours picks there too, so a port seen free is still free when a server binds it a moment later.
func freePort(host string) (int, error) {
	const first, count = 20000, 10000
	for range 100 {
		if port := first + rand.IntN(count); portFree(host, port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port on %s between %d and %d", host, first, first+count)
}

func portFree(host string, port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	listener.Close()
	return true
}

// issueControlPlane makes the certificates that do not depend on there being a node. etcd trusts an authority of its own: it
// knows no users, so any certificate it accepts may do everything. The front proxy's is apart because Kubernetes demands it.
func issueControlPlane(f folder, e endpoints) (*authority, error) {
	etcd, err := newAuthority(f.path("pki"), "etcd-ca")
	if err != nil {
		return nil, err
	}
	frontProxy, err := newAuthority(f.path("pki"), "front-proxy-ca")
	if err != nil {
		return nil, err
	}
	ca, err := newAuthority(f.path("pki"), "ca")
	if err != nil {
		return nil, err
	}
	for _, issue := range []func() error{
		func() error { return etcd.server("etcd", "127.0.0.1", "localhost") },
		func() error { return etcd.client("etcd-client", "kube-apiserver") },
		func() error { return frontProxy.client("front-proxy", "front-proxy-client") },
		func() error {
			return ca.server(partAPIServer, e.host, "127.0.0.1", e.kubernetesIP(), "localhost",
				"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
		},
		func() error { return ca.client("kubelet-client", "kube-apiserver-kubelet-client", "system:masters") },
		func() error { return ca.client("admin", "kubernetes-admin", "system:masters") },
		func() error { return ca.client(partControllerManager, "system:kube-controller-manager") },
		func() error { return ca.client(partScheduler, "system:kube-scheduler") },
		func() error { return newServiceAccountKey(f.path("pki")) },
	} {
		if err := issue(); err != nil {
			return nil, err
		}
	}
	for _, user := range []string{"admin", partControllerManager, partScheduler} {
		if err := writeKubeconfig(f, e.server(), user); err != nil {
			return nil, err
		}
	}
	return ca, nil
}

func etcdArgs(f folder, e endpoints) []string {
	return []string{
		"--name=etcd",
		"--data-dir=" + f.path("etcd"),
		"--unsafe-no-fsync=true", // a test cluster that loses power has lost nothing
		"--listen-client-urls=" + e.etcdURL(),
		"--advertise-client-urls=" + e.etcdURL(),
		"--listen-peer-urls=https://127.0.0.1:0", // a cluster of one has no peers, yet insists on listening
		"--cert-file=" + f.pki("etcd.crt"),
		"--key-file=" + f.pki("etcd.key"),
		"--trusted-ca-file=" + f.pki("etcd-ca.crt"),
		"--client-cert-auth=true",
		"--peer-cert-file=" + f.pki("etcd.crt"),
		"--peer-key-file=" + f.pki("etcd.key"),
		"--peer-trusted-ca-file=" + f.pki("etcd-ca.crt"),
		"--peer-client-cert-auth=true",
		"--log-level=warn",
	}
}

func apiServerArgs(f folder, e endpoints, o options) []string {
	args := []string{
		"--bind-address=" + e.host,
		"--advertise-address=" + e.host,
		"--secure-port=" + strconv.Itoa(e.port),
		"--tls-cert-file=" + f.pki("kube-apiserver.crt"),
		"--tls-private-key-file=" + f.pki("kube-apiserver.key"),
		"--client-ca-file=" + f.pki("ca.crt"),
		"--etcd-servers=" + e.etcdURL(),
		"--etcd-cafile=" + f.pki("etcd-ca.crt"),
		"--etcd-certfile=" + f.pki("etcd-client.crt"),
		"--etcd-keyfile=" + f.pki("etcd-client.key"),
		"--service-account-issuer=" + serviceAccountIssuer,
		"--service-account-key-file=" + f.pki("service-account.pub"),
		"--service-account-signing-key-file=" + f.pki("service-account.key"),
		"--service-cluster-ip-range=" + e.services.String(),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--requestheader-client-ca-file=" + f.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + f.pki("front-proxy.crt"),
		"--proxy-client-key-file=" + f.pki("front-proxy.key"),
	}
	if o.Node {
		args = append(args,
			"--kubelet-client-certificate="+f.pki("kubelet-client.crt"),
			"--kubelet-client-key="+f.pki("kubelet-client.key"),
			"--kubelet-certificate-authority="+f.pki("ca.crt"),
			"--kubelet-preferred-address-types=InternalIP",
		)
	} else {
		// Without a node nobody dials the Service "kubernetes", and endpoints on loopback are invalid: have none.
		args = append(args, "--endpoint-reconciler-type=none")
	}
	if o.Audit {
		args = append(args,
			"--audit-policy-file="+f.path("audit-policy.yaml"),
			"--audit-log-path="+f.path("audit.log"),
			"--audit-log-maxsize=1048576", // MiB: readers want one file, so never rotate
		)
	}
	for _, extra := range o.APIServerArgs {
		args = append(args, "--"+extra)
	}
	return args
}

func controllerManagerArgs(f folder, e endpoints) []string {
	return []string{
		"--kubeconfig=" + f.kubeconfig(partControllerManager),
		"--use-service-account-credentials=true", // each controller with its own role, as on a real cluster
		"--service-account-private-key-file=" + f.pki("service-account.key"),
		"--root-ca-file=" + f.pki("ca.crt"),
		"--cluster-signing-cert-file=" + f.pki("ca.crt"),
		"--cluster-signing-key-file=" + f.pki("ca.key"),
		"--service-cluster-ip-range=" + e.services.String(),
		"--leader-elect=false", // there is only one, and a lease would cost seconds at start
		"--secure-port=0",      // nobody asks for its metrics
		// The default of 20 requests a second makes it take 6 s to fetch its controllers' tokens, before it does any work.
		"--kube-api-qps=1000",
		"--kube-api-burst=1000",
	}
}

func schedulerArgs(f folder) []string {
	return []string{
		"--kubeconfig=" + f.kubeconfig(partScheduler),
		"--leader-elect=false",
		"--secure-port=0",
	}
}

// Every request, without bodies: enough to count who changed what.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// writeKubeconfig writes a kubeconfig with embedded credentials of a user whose certificate has been issued.
func writeKubeconfig(f folder, server, user string) error {
	var data [3]string
	for i, file := range []string{"ca.crt", user + ".crt", user + ".key"} {
		text, err := os.ReadFile(f.pki(file))
		if err != nil {
			return err
		}
		data[i] = base64.StdEncoding.EncodeToString(text)
	}
	return writeFile(f.kubeconfig(user), fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: local
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: %s
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: local
  context: {cluster: local, user: %[3]s}
current-context: local
`, server, data[0], user, data[1], data[2]))
}

// controlPlaneReady holds once the API server serves and the controllers have made what every client takes for granted.
func controlPlaneReady(ctx context.Context, api *apiClient) error {
	if err := api.get(ctx, "/readyz", nil); err != nil {
		return err
	}
	for _, namespace := range []string{"kube-system", "kube-public", "kube-node-lease"} {
		if err := api.get(ctx, "/api/v1/namespaces/"+namespace, nil); err != nil {
			return err
		}
	}
	return api.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
}
