#!/usr/bin/env bash
# Builds the images of the operator and of MeshSync, without a container engine.
#   hack/images.sh TAG           into dist/images/*.tar for this machine's architecture, with an image of nats-server beside them
#   hack/images.sh TAG PREFIX    for amd64 and arm64, pushed as PREFIX/meshery-operator:TAG and PREFIX/meshsync:TAG
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tag=${1:?tag} push=${2:-}
mkdir -p bin dist/images
go build -C hack/image -o "$PWD/bin/image" .

build() { # architecture
	local out=dist/bin/linux-$1
	CGO_ENABLED=0 GOOS=linux GOARCH=$1 go build -trimpath \
		-ldflags "-s -w -X meshery.io/operator/pkg/telemetry.version=$tag" \
		-o "$out/" ./cmd/operator ./cmd/meshsync
}

if [[ -n $push ]]; then
	build amd64
	build arm64
	platforms=(-platform linux/amd64=dist/bin/linux-amd64 -platform linux/arm64=dist/bin/linux-arm64)
	bin/image -push "${push%/}/meshery-operator:$tag" "${platforms[@]}" -entrypoint /manager operator=/manager
	bin/image -push "${push%/}/meshsync:$tag" "${platforms[@]}" -entrypoint /meshsync meshsync=/meshsync
	exit
fi

arch=$(go env GOARCH)
build "$arch"
bin/image -o dist/images/meshery-operator.tar -name "docker.io/meshery/meshery-operator:$tag" -entrypoint /manager \
	"dist/bin/linux-$arch/operator=/manager"
bin/image -o dist/images/meshsync.tar -name "docker.io/meshery/meshsync:$tag" -entrypoint /meshsync \
	"dist/bin/linux-$arch/meshsync=/meshsync"

# nats-server of the version in manifests/, built from source under the name of the public image, and at the place where that has
# it: a local cluster cannot pull.
go build -C hack/cluster -o "$PWD/bin/cluster" .
nats=$(sed -nE 's/.*--broker-image=(.*)/\1/p' manifests/40-operator.yaml)
bin/image -o dist/images/nats.tar -name "docker.io/library/$nats" -entrypoint /usr/local/bin/nats-server \
	"$(bin/cluster path nats-server)=/usr/local/bin/nats-server"
