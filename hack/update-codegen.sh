#!/usr/bin/env bash
# Regenerates everything that is generated: deepcopy and registration beside the API types, pkg/generated, the CRDs and
# the one-file install. Generated files change through this script only; hack/verify.sh proves that they did.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=hack/tools
module=meshery.io/operator
boilerplate=hack/boilerplate.go.txt

# The tools module pins code-generator; its script and its generators are run from there.
(cd "$tools" && go mod download k8s.io/code-generator)
# shellcheck source=/dev/null
source "$(cd "$tools" && go list -m -f '{{.Dir}}' k8s.io/code-generator)/kube_codegen.sh"

kube::codegen::gen_helpers --boilerplate "$boilerplate" pkg/apis
kube::codegen::gen_register --boilerplate "$boilerplate" pkg/apis

kube::codegen::gen_openapi \
	--output-dir pkg/generated/openapi \
	--output-pkg "$module/pkg/generated/openapi" \
	--output-model-name-file zz_generated.model_name.go \
	--extra-pkgs k8s.io/api/core/v1 \
	--extra-pkgs k8s.io/apimachinery/pkg/api/resource \
	--report-filename hack/openapi-violations.list \
	--update-report \
	--boilerplate "$boilerplate" \
	pkg/apis

# The fake clientset tracks field ownership only when the apply configurations know the schema.
kube::codegen::gen_client \
	--with-watch \
	--with-applyconfig \
	--applyconfig-openapi-schema <(go run ./hack/openapi-schema) \
	--output-dir pkg/generated \
	--output-pkg "$module/pkg/generated" \
	--boilerplate "$boilerplate" \
	pkg/apis

crds=$(mktemp -d)
trap 'rm -rf "$crds"' EXIT
go build -C "$tools" -o "$crds/controller-gen" sigs.k8s.io/controller-tools/cmd/controller-gen
"$crds/controller-gen" crd paths=./pkg/apis/... "output:crd:dir=$crds"
go run -C "$tools" ./crds \
	"$crds/meshery.io_brokers.yaml=$PWD/manifests/10-crd-brokers.yaml" \
	"$crds/meshery.io_meshsyncs.yaml=$PWD/manifests/11-crd-meshsyncs.yaml"

hack/manifests.sh "$crds/install" meshery "$(sed -nE 's/.*image: .*:(.*)/\1/p' manifests/40-operator.yaml)"
mkdir -p manifests/bundle
cp "$crds/install/meshery-operator.yaml" manifests/bundle/
