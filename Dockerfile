# The connector alone: one static binary, the CA certificates and a licence, for a user without rights.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg COMMIT=$(git rev-parse HEAD) -t genesys-audit-connector:0.1.0 .
#
# The same sources, VERSION and COMMIT give the same binary, byte for byte, wherever it is built: scripts/image-check
# compares one built in here with one built outside.

FROM docker.io/library/golang:1.26.8-bookworm AS build
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=0.0.0-dev
ARG COMMIT=unknown
# timetzdata: time zones come inside the binary.
RUN go build -trimpath -buildvcs=false -tags timetzdata \
    -ldflags "-s -w -buildid= -X main.version=${VERSION} -X main.commit=${COMMIT}" \
    -o /out/connector ./cmd/connector

FROM scratch
ARG VERSION=0.0.0-dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="genesys-audit-connector" \
      org.opencontainers.image.description="Streams the audit log of a Genesys Cloud organisation into Kafka, every event exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/connector /connector
COPY LICENSE /LICENSE
# By number: Kubernetes' runAsNonRoot cannot judge a name.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/connector"]
CMD ["run"]
