# Everything sets itself up: Go, gcc, make and git are all that a machine needs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Registry and tag of the images that `make images PUSH=…` and `make manifests` are about.
IMAGES ?= docker.io/meshery
TAG    ?= $(shell sed -nE 's/.*image: .*:(.*)/\1/p' manifests/40-operator.yaml)
MODULES := . hack/cluster hack/image hack/tools

##@ Main

.PHONY: run
run: ## Start a real local cluster, install everything and show the live stream (RUN_SECONDS=N ends it, CLUSTER=existing uses yours)
	@hack/run.sh

.PHONY: test
test: ## Run all tests: unit, integration (real API server and NATS), e2e (real node; needs root)
	@hack/test.sh

.PHONY: bench
bench: ## Compare the agent with the reference path, ROUNDS times (5), and write the results into docs/benchmarks/ (PROFILES=folder)
	MESHERY_BENCH_ROUNDS=$(or $(ROUNDS),5) MESHERY_BENCH_PROFILES=$(abspath $(PROFILES)) go test ./test/bench -run '^TestHotPath$$' -count=1 -timeout 2h -v

.PHONY: bench-scale
bench-scale: ## Measure what many Brokers and MeshSyncs cost the operator (SCALE=100 of each), and many kinds the agent (KINDS=300)
	MESHERY_SCALE=$(or $(SCALE),100) go test ./pkg/operator -run '^TestARestartOfManyCostsNothing$$' -count=1 -timeout 60m -v 2>&1 | grep -vE '^[IEW][0-9]{4} '
	MESHERY_KINDS=$(or $(KINDS),300) go test ./test/watchscale -count=1 -timeout 60m -v

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Long tests

.PHONY: faults
faults: export FAULTS_ROUNDS := $(or $(ROUNDS),10)
faults: export FAULTS_SEED := $(or $(SEED),$(FAULTS_SEED))
faults: ## Try every fault of the API server, its clients, the broker, the network and deletions ROUNDS times (10; SEED repeats a run)
	go test -count=1 -timeout 2h -v ./test/faults ./test/watchfaults
	go test -count=1 -timeout 8h -v -run '^TestFault' ./test/delivery

.PHONY: soak
soak: ## The agent under load, then chaos on a real node, each for DURATION (10m; CHAOS_SEED repeats a run); needs Linux and root
	SOAK=$(or $(DURATION),10m) go test -count=1 -timeout 24h -v -run '^TestSoak$$' ./test/delivery
	CHAOS_DURATION=$(or $(DURATION),10m) go test -count=1 -timeout 24h -v -run TestSoak ./test/e2e

##@ Code

.PHONY: build
build: ## Build both binaries into bin/
	go build -trimpath -ldflags "-X meshery.io/operator/pkg/telemetry.version=$(TAG)" -o bin/ ./cmd/operator ./cmd/meshsync

.PHONY: generate
generate: ## Regenerate clients, informers, CRDs and the one-file install
	hack/update-codegen.sh

.PHONY: verify
verify: ## Fail if a generated file or a go.mod is out of date
	@hack/verify.sh

.PHONY: lint
lint: bin/golangci-lint ## Run the linters over all modules
	bin/golangci-lint run ./...
	cd hack/cluster && ../../bin/golangci-lint run ./...
	cd hack/image && ../../bin/golangci-lint run ./...

bin/golangci-lint: hack/tools/go.mod
	go build -C hack/tools -o ../../bin/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

##@ Images and manifests

.PHONY: images
images: ## Build the images into dist/images/, or push them for amd64 and arm64: make images PUSH=registry/prefix TAG=…
	hack/images.sh $(TAG) $(PUSH)

.PHONY: manifests
manifests: ## Write manifests for your own images into dist/: make manifests IMAGES=registry/prefix TAG=…
	hack/manifests.sh dist $(IMAGES) $(TAG)
	@echo "kubectl apply -f dist/manifests"

##@ Local cluster

.PHONY: cluster
cluster: bin/cluster ## Start a local control plane and print its kubeconfig (NODE=1 adds a real node; NAME=… for more than one)
	@bin/cluster up --name $(or $(NAME),local) $(if $(NODE),--node)

.PHONY: cluster-down
cluster-down: bin/cluster ## Remove the local cluster and every trace of it
	@bin/cluster down --name $(or $(NAME),local)

.PHONY: bin/cluster
bin/cluster:
	@go build -C hack/cluster -o ../../bin/cluster .

.PHONY: clean
clean: ## Remove what was built here (the cache of Kubernetes binaries stays)
	rm -rf bin dist
