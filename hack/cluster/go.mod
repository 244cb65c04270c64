module meshery.io/operator/hack/cluster

go 1.26.0
