// Command cluster builds and runs a real local Kubernetes on a bare machine: no container engine, no prebuilt downloads.
//
// What flows in: the pinned, build-only Go modules below parts/ (and, for a node, a handful of Debian packages).
// What flows out: an admin kubeconfig. Everything a cluster owns lives in one folder, so that several live side by side.
//
//	parts.go         what can be built, and at which version
//	build.go         go build into the user's cache, once per version
//	pki.go           certificates of one cluster
//	controlplane.go  etcd, kube-apiserver, kube-controller-manager, kube-scheduler: arguments, kubeconfigs, readiness
//	node.go          the host's side of a node: subnet, veth pair, cgroups
//	nodeinit.go      the node's side: pid 1 of its own namespaces, running containerd, kubelet, kube-proxy, CoreDNS
//	packages.go      Debian packages a node needs
//	process.go       starting and stopping exactly our own processes
//	state.go         the folder of a cluster and what is written down in it
//	supervise.go     the life of a cluster, from start to the last trace removed
//	load.go          images into a node
//
// Guarantees: one supervisor process holds a cluster; every process dies with it, even when it is killed (on Linux). A node
// lives in PID, mount, network, UTS and IPC namespaces of its own, so that the host's sysctls, iptables, mounts and container
// engine are never touched; all the host ever sees is one network interface, one route and one cgroup, which `cluster down` removes.
package main
