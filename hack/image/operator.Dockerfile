# For those who have a container engine: docker build -f hack/image/operator.Dockerfile -t meshery/meshery-operator:dev .
# `make images` builds the same image without one.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY pkg pkg
COPY cmd cmd
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
    -ldflags "-s -w -X meshery.io/operator/pkg/telemetry.version=$VERSION" -o /manager ./cmd/operator

FROM scratch
COPY --from=build /manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
