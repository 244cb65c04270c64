// Command cluster builds and runs a real local Kubernetes on a bare machine: no container engine, no prebuilt downloads.
//
// What flows in: the pinned, build-only Go modules below parts/ (and, for a node, a handful of Debian packages).
// What flows out: an admin kubeconfig. Everything a cluster owns lives in one folder, so that several live side by side.
//
//	main.go, options.go  commands and their flags
//	parts.go, build.go   what can be built, and go build into the user's cache, once per version
//	up.go, supervise.go  the life of a cluster, from start to the last trace removed
//	state.go, process.go the folder of a cluster, and starting and stopping exactly our own processes
//	controlplane.go      etcd, kube-apiserver, kube-controller-manager, kube-scheduler; pki.go and api.go serve it
//	packages.go          what a node needs from the machine, installed if missing
//	subnet.go            addresses of a node, its pods and Services
//	node_linux.go        the host's side of a node: namespaces, veth pair, cgroups
//	node_config.go       configuration of what runs on a node
//	nodeinit_linux.go    the node's side: pid 1 of its namespaces, running containerd, kubelet, kube-proxy, CoreDNS
//	load.go              images into a node
//
// Guarantees: one supervisor process holds a cluster; every process dies with it, even when it is killed (on Linux). A node
// lives in PID, mount, network, UTS and IPC namespaces of its own, so that the host's sysctls, iptables, mounts and container
// engine are never touched; all the host ever sees is a network interface, its routes and a cgroup, which `cluster down` removes.
package main
