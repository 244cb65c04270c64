# For those who have a container engine: docker build -f hack/image/meshsync.Dockerfile -t meshery/meshsync:dev .
# `make images` builds the same image without one.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY pkg pkg
COPY cmd cmd
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
    -ldflags "-s -w -X meshery.io/operator/pkg/telemetry.version=$VERSION" -o /meshsync ./cmd/meshsync

FROM scratch
COPY --from=build /meshsync /meshsync
USER 65532:65532
ENTRYPOINT ["/meshsync"]
