#!/usr/bin/env bash
# Shows a cluster's objects arriving on a NATS broker, from nothing but Go, gcc, make and git.
#   node mode      Linux and root: a local cluster with a real node; everything runs in pods, installed from manifests/
#   process mode   otherwise: a local control plane; operator, nats-server and meshsync run as processes
#   existing mode  only when asked (CLUSTER=existing): the current kubectl context
# RUN_SECONDS=N ends it after N seconds of streaming. Ending it, also with Ctrl-C, removes what it started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

namespace=meshery
run_seconds=${RUN_SECONDS:-}
manifests=manifests
work=$(mktemp -d)
cluster_name=run-$$
demo=meshery-demo-$$
installed=

if [[ -n $run_seconds && ! $run_seconds =~ ^[1-9][0-9]*$ ]]; then
	echo "RUN_SECONDS=$run_seconds: want a whole number of seconds, 1 or more" >&2
	exit 2
fi
case ${CLUSTER:-} in
existing) mode=existing ;;
"") if [[ $(uname -s) == Linux && $(id -u) == 0 ]]; then mode=node; else mode=process; fi ;;
*)
	echo "CLUSTER=$CLUSTER: want CLUSTER=existing for the current kubectl context, or nothing for a local cluster" >&2
	exit 2
	;;
esac

say() { if [[ -t 1 ]]; then printf '\n\033[1m== %s\033[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi; }

cleanup() {
	local status=$?
	trap - EXIT
	trap '' INT TERM HUP
	# shellcheck disable=SC2046
	kill $(jobs -p) 2>/dev/null || true
	wait
	if [[ $mode == existing ]]; then
		if [[ -n $installed ]]; then
			$KUBECTL delete namespace "$demo" --ignore-not-found --wait=false >/dev/null 2>&1 || true
			echo "The installation stays. To remove it: kubectl delete --ignore-not-found -f $manifests"
		fi
	else
		[[ -x bin/cluster ]] && bin/cluster down --name "$cluster_name"
	fi
	rm -rf "$work"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME COMMAND… runs a process in the background, with its log in $work/NAME.log.
start() {
	local name=$1
	shift
	"$@" >"$work/$name.log" 2>&1 &
}

# attend COMMAND… runs a command to its end, but lets a signal end this script at once: bash would first wait for a command
# that runs in the foreground.
attend() {
	"$@" &
	wait $!
}

# cluster_up FLAGS… starts the local cluster and sets KUBECONFIG.
cluster_up() {
	attend bin/cluster up --name "$cluster_name" "$@" >"$work/kubeconfig"
	KUBECONFIG=$(cat "$work/kubeconfig")
	export KUBECONFIG
}

# await SECONDS WHAT COMMAND… waits until the command succeeds.
await() {
	local seconds=$1 what=$2
	shift 2
	local deadline=$((SECONDS + seconds))
	until "$@" >/dev/null 2>&1; do
		if ((SECONDS >= deadline)); then
			echo "Gave up waiting for $what after ${seconds}s." >&2
			explain >&2
			exit 1
		fi
		sleep 0.5
	done
}

# explain shows what is known when something did not come up.
explain() {
	$KUBECTL get pods,brokers,meshsyncs -A -o wide || true
	$KUBECTL get events -n $namespace --sort-by=.lastTimestamp | tail -15 || true
	for deployment in meshery-operator meshery-meshsync; do
		$KUBECTL logs -n $namespace "deployment/$deployment" --tail=20 || true
	done
	tail -n 20 "$work"/*.log 2>/dev/null || true
}

show() {
	printf '\n$ %s\n' "$*"
	"${@/#kubectl/${KUBECTL%% *}}" || true
}

start_node_cluster() {
	attend hack/images.sh "$(sed -nE 's/.*image: .*:(.*)/\1/p' manifests/40-operator.yaml)"
	cluster_up --node
	bin/cluster load --name "$cluster_name" dist/images/{meshery-operator,meshsync,nats}.tar
}

install() {
	say "Install: kubectl apply -f $manifests"
	attend $KUBECTL apply -f "$manifests"
	installed=yes
	say "Wait for operator, broker and MeshSync"
	await 180 "the operator" $KUBECTL rollout status -n $namespace deployment/meshery-operator --timeout=1s
	await 180 "the Broker" $KUBECTL wait -n $namespace broker/meshery-broker --for=condition=Ready --timeout=1s
	await 180 "MeshSync" $KUBECTL wait -n $namespace meshsync/meshery-meshsync --for=condition=Ready --timeout=1s
}

# connect_in_cluster reaches the broker through kubectl port-forward and sets BROKER_URL.
connect_in_cluster() {
	start port-forward $KUBECTL port-forward -n $namespace svc/meshery-broker :4222
	await 30 "kubectl port-forward" grep -q '^Forwarding from 127' "$work/port-forward.log"
	local port
	port=$(sed -nE 's/^Forwarding from 127\.0\.0\.1:([0-9]+).*/\1/p' "$work/port-forward.log" | head -1)
	BROKER_URL=nats://$(token)@127.0.0.1:$port
	export BROKER_URL
}

token() { $KUBECTL get secret -n $namespace meshery-nats-auth -o 'jsonpath={.data.token}' | base64 -d; }

# run_processes is process mode: the operator, then a nats-server with the token that the operator made, then MeshSync.
run_processes() {
	attend go build -trimpath -o bin/ ./cmd/operator ./cmd/meshsync
	cluster_up
	say "Install all but the operator's Deployment, which would need a node"
	for file in manifests/[0-3]*.yaml; do $KUBECTL apply -f "$file"; done
	await 30 "the CRDs" $KUBECTL wait crd/brokers.meshery.io crd/meshsyncs.meshery.io --for=condition=Established --timeout=1s

	say "Start operator, nats-server and meshsync as processes"
	start operator bin/operator --namespace $namespace --metrics-addr=0 --health-probe-bind-address=0 -v=2
	await 30 "the broker's token" token_there
	(
		umask 077
		printf 'host: 127.0.0.1\nport: -1\nports_file_dir: "%s"\nmax_payload: 8MB\nauthorization { token: "%s" }\n' "$work" "$(token)" >"$work/nats.conf"
	)
	start nats "$(bin/cluster path nats-server)" --config "$work/nats.conf"
	await 30 "nats-server" ports_file
	local port
	port=$(sed -nE 's#.*nats://127\.0\.0\.1:([0-9]+).*#\1#p' "$(ports_file)" | head -1)
	BROKER_URL=nats://$(token)@127.0.0.1:$port
	export BROKER_URL
	MESHSYNC_NAMESPACE=$namespace MESHSYNC_NAME=meshery-meshsync start meshsync bin/meshsync --http-addr=127.0.0.1:0
	await 30 "MeshSync's connection to the broker" grep -q 'Connected to broker' "$work/meshsync.log"
}

token_there() { [[ -n $(token) ]]; }
ports_file() { ls "$work"/*.ports; }

verification_commands() {
	say "What the documentation's verification commands say"
	if [[ $mode != process ]]; then
		show kubectl get pods -n $namespace -l name=meshery-operator
		show kubectl get pods -n $namespace -l app=meshery-broker
		show kubectl get pods -n $namespace -l app=meshery-meshsync
	fi
	printf '\n$ kubectl get crd | grep meshery\n'
	$KUBECTL get crd | grep meshery
	show kubectl get broker -n $namespace
	show kubectl get meshsync -n $namespace
	show kubectl get svc -n $namespace meshery-broker
	echo
	echo "(EXTERNAL-IP is pending: no cloud gives this cluster a load balancer.)"
	if [[ $mode == process ]]; then
		echo "(The Broker and the MeshSync are not Ready: this cluster has no node for their pods; the processes stand in.)"
	fi
}

# make_changes lets something be seen to happen.
make_changes() {
	sleep 3
	{
		$KUBECTL create namespace "$demo"
		$KUBECTL create configmap -n "$demo" greeting --from-literal=text=hello
		$KUBECTL create deployment -n "$demo" web --image=registry.k8s.io/pause:3.10 --replicas=0
		$KUBECTL label configmap -n "$demo" greeting seen=yes
		$KUBECTL delete configmap -n "$demo" greeting
	} >/dev/null
}

stream() {
	say "Live stream of meshery.meshsync.core${run_seconds:+, for $run_seconds seconds} (Ctrl-C ends it)"
	make_changes &
	attend "$tail" tail --resync ${run_seconds:+--stopAfter="${run_seconds}s"}
}

tail=bin/meshsync
mkdir -p bin
case $mode in
node)
	echo "make run: node mode (Linux and root): a local cluster with a real node; all parts run as pods"
	go build -C hack/cluster -o "$PWD/bin/cluster" .
	attend bin/cluster build
	KUBECTL=$(bin/cluster path kubectl)
	start_node_cluster
	tail=dist/bin/linux-$(go env GOARCH)/meshsync
	install
	verification_commands
	connect_in_cluster
	;;
process)
	echo "make run: process mode (not Linux, or not root): a local control plane; operator, nats-server and meshsync run as processes"
	go build -C hack/cluster -o "$PWD/bin/cluster" .
	attend bin/cluster build etcd kube-apiserver kube-controller-manager kubectl nats-server
	KUBECTL=$(bin/cluster path kubectl)
	run_processes
	verification_commands
	;;
existing)
	KUBECTL=kubectl
	command -v kubectl >/dev/null || { echo "CLUSTER=existing needs kubectl in the PATH" >&2; exit 1; }
	context=$(kubectl config current-context) || { echo "CLUSTER=existing: choose a context first: kubectl config use-context NAME" >&2; exit 1; }
	echo "make run: existing mode: context $context, server $(kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')"
	if [[ -n ${IMAGES:-} ]]; then
		hack/manifests.sh dist "$IMAGES" "${TAG:?IMAGES needs TAG too}"
		manifests=dist/manifests
	fi
	attend go build -trimpath -o bin/ ./cmd/meshsync
	install
	verification_commands
	connect_in_cluster
	;;
esac
stream
