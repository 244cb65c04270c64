#!/usr/bin/env bash
# Runs every test. What the tests need (a real API server, etcd, NATS, a node) they build and start themselves.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Built here, with progress shown, rather than inside the first test that needs them.
go build -C hack/cluster -o "$PWD/bin/cluster" .
bin/cluster build

for module in hack/image hack/cluster; do
	echo "== $module"
	go -C "$module" test ./...
done
echo "== main module"
# shellcheck disable=SC2046
go test -race -timeout 20m $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)
