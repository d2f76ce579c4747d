# The image: one dynamically linked glibc binary on distroless, without a shell, as nobody.
#
# Base images are pinned to exact tags; a release pins them further, by digest, through the two build arguments
# (`--build-arg RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot@sha256:...`).
ARG BUILDER_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER_IMAGE} AS builder
WORKDIR /build
COPY . .
# Shown by `outrigger --version`; the build context has no .git.
ARG REVISION=unknown
ARG SOURCE_DATE_EPOCH
ENV OUTRIGGER_REVISION=${REVISION}
RUN cargo build --locked --profile dist --bin outrigger

FROM ${RUNTIME_IMAGE}
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="outrigger" \
      org.opencontainers.image.description="Host metrics beside a workload, in Prometheus's own formats" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /build/target/dist/outrigger /usr/local/bin/outrigger
USER 65532:65532
EXPOSE 9780
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/outrigger", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/outrigger"]
