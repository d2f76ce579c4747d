# The image: one dynamically linked glibc binary on distroless, without a shell, as nobody.
#
# Base images are pinned to exact tags; a release pins them further, by digest, through the two build arguments
# (`--build-arg RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot@sha256:...`).
#
# Reproducible: the layer has nothing but files that are dated SOURCE_DATE_EPOCH. With the same bases, sources and date BuildKit
# gives the same image, its own dates included:
#   SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) docker buildx build --output type=oci,dest=image.tar,rewrite-timestamp=true .
ARG BUILDER_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER_IMAGE} AS builder
WORKDIR /build
COPY . .
# Shown by `outrigger --version`; the build context has no .git.
ARG REVISION=unknown
ARG SOURCE_DATE_EPOCH
ENV OUTRIGGER_REVISION=${REVISION}
RUN cargo build --locked --profile dist --bin outrigger \
    && mkdir -p rootfs/usr/local/bin && cp target/dist/outrigger rootfs/usr/local/bin/outrigger \
    && find rootfs -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +

FROM ${RUNTIME_IMAGE}
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="outrigger" \
      org.opencontainers.image.description="Host metrics beside a workload, in Prometheus's own formats" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /build/rootfs /
USER 65532:65532
EXPOSE 9780
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/outrigger", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/outrigger"]
