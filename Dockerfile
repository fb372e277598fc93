# The image of the exporter: one binary on a small Debian, run as nobody in particular on a root filesystem that may be
# read-only. All it writes goes to the volume.
#
#   docker build --tag dragdropdo-exporter --build-arg DRAGDROPDO_EXPORTER_REVISION="$(git rev-parse --short=12 HEAD)" .
#   docker run --rm --publish 10211:10211 dragdropdo-exporter demo --web.listen-address=0.0.0.0:10211
#   docker run --publish 10211:10211 --env DRAGDROPDO_API_KEY --volume exporter:/var/lib/dragdropdo-exporter \
#     --volume "$PWD/config.yaml:/etc/dragdropdo-exporter/config.yaml:ro" --read-only dragdropdo-exporter
#
# In place of the environment, the key may be a file: /run/secrets/dragdropdo_api_key, where Compose and Swarm put it.
#
# A configuration of your own should keep the `storage` section of deploy/container/config.yaml, the one that the image
# starts with: paths are relative to the configuration's folder, and in the image that folder cannot be written.

ARG BUILD_BASE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_BASE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_BASE} AS build
WORKDIR /build

# The dependencies alone, under a crate that holds nothing: this layer is good until Cargo.toml or Cargo.lock change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it \
    && echo '//! Stands in.' >src/lib.rs \
    && echo '//! Stands in.' >tests/it/main.rs \
    && printf '//! Stands in.\nfn main() {}\n' >src/main.rs \
    && cargo build --release --locked --bin dragdropdo-exporter

COPY build.rs ./
COPY migrations ./migrations
COPY src ./src
# What the build information shows; there is no history in here to read it from.
ARG DRAGDROPDO_EXPORTER_REVISION
# Cargo compares times, and the sources may well be older than what stood in for them.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin dragdropdo-exporter \
    && install -D --mode=0755 target/release/dragdropdo-exporter /image/usr/local/bin/dragdropdo-exporter \
    && install -D --mode=0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

COPY deploy/container/config.yaml /image/etc/dragdropdo-exporter/config.yaml


FROM ${RUNTIME_BASE}

# The trust roots come along from the build stage, so that nothing has to be fetched for this one.
COPY --from=build /image /

# A number, not a name: Kubernetes' runAsNonRoot accepts nothing else. It owns the volume and no other file.
RUN install -d --owner=65532 --group=65532 --mode=0750 /var/lib/dragdropdo-exporter
USER 65532:65532

WORKDIR /var/lib/dragdropdo-exporter
VOLUME /var/lib/dragdropdo-exporter

# The exporter's own default is to listen on loopback, which would be the container's. Temporary files, those of SQLite
# and of the demo, go to the volume because /tmp may be read-only.
ENV DRAGDROPDO_EXPORTER_CONFIG_FILE=/etc/dragdropdo-exporter/config.yaml \
    DRAGDROPDO_EXPORTER_WEB_LISTEN_ADDRESS=0.0.0.0:10211 \
    TMPDIR=/var/lib/dragdropdo-exporter
EXPOSE 10211

# Healthy never asks the API. Where the exporter listens elsewhere, give `healthcheck` its --url.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["/usr/local/bin/dragdropdo-exporter", "healthcheck"]

ENTRYPOINT ["/usr/local/bin/dragdropdo-exporter"]

# What the image is. The first three are those of Cargo.toml.
ARG DRAGDROPDO_EXPORTER_REVISION
LABEL org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Prometheus exporter for asynchronous DragDropDo (D3) file operations" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.title="dragdropdo-exporter" \
      org.opencontainers.image.revision="${DRAGDROPDO_EXPORTER_REVISION}"
