# The recipes that people and CI share. `just` without arguments lists them.

_default:
    @just --list

# Formatting, clippy with warnings as errors, shellcheck.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    shellcheck .ci/run tests/peers/*.sh tests/gpu/*.sh tests/vm/*.sh

# Everything that needs neither root nor network.
test:
    cargo test --locked

# Licences, bans and sources of dependencies, offline.
deny:
    cargo deny --locked check licenses bans sources

# Known vulnerabilities; fetches the advisory database.
advisories:
    cargo deny --locked check advisories

# The shipped binary: fat LTO, stripped.
dist:
    cargo build --locked --profile dist

# node_exporter, promtool, Prometheus, Docker and hung mounts against the release binary (Debian, root).
suite:
    cargo build --locked --release
    tests/peers/run.sh target/release/outrigger

# Containers under Debian's kernel with control groups of version 2, in an emulated machine, beside the kernel's own files.
version-2:
    cargo build --locked --release
    tests/vm/run.py --outrigger target/release/outrigger

# Criterion benchmarks of the pass, the encoder and the parsers.
bench:
    cargo bench --locked

# CPU and memory of Outrigger and node_exporter side by side; see docs/performance.md.
versus: dist
    cargo build --locked --release --example read_floor
    benches/versus-node-exporter/run.py --outrigger target/dist/outrigger

# Ingestion, memory, disk and queries of Outrigger and Prometheus side by side; see docs/performance.md.
versus-prometheus: dist
    benches/versus-prometheus/run.py --outrigger target/dist/outrigger

# What evaluating a rule costs in Outrigger and in Prometheus side by side; see docs/performance.md.
versus-prometheus-rules: dist
    benches/versus-prometheus-rules/run.py --outrigger target/dist/outrigger

# An hour of many rules beside a real Prometheus, over reloads and kills of both.
rules-hour:
    cargo build --locked --release
    /usr/bin/python3 tests/peers/rules.py --outrigger target/release/outrigger --minutes 60

# What is committed and made of something else: dashboards, Grafana's alerting, the full configuration, the index of runbooks,
# the tables of routes and messages. Each has a check that says when it is no longer current.
made:
    test -d target/tools/dashboards || python3 -m venv target/tools/dashboards
    target/tools/dashboards/bin/pip install --quiet -r tools/dashboards/requirements.txt
    target/tools/dashboards/bin/python tools/dashboards/make.py
    python3 tools/grafana/make.py
    python3 tools/full_config.py
    python3 tools/runbook_index.py
    python3 tests/peers/alerts.py --update
    target/release/outrigger rules export --format prometheus-operator rules/host.rules.yml > examples/kubernetes/prometheusrule.yml

# docs/reference/metrics.md, of a live run with everything on (Debian, root, Docker).
metrics-reference:
    cargo build --locked --release
    cargo build --locked --release --example fake_nvml
    /usr/bin/python3 tools/metrics_reference.py target/release/outrigger

# A Debian package of the release binary, in target/.
deb:
    python3 tools/deb.py target/release/outrigger target

# The same by cargo-deb, of the shipped binary, in target/debian/.
cargo-deb: dist
    python3 tools/deb.py --prepare target/dist/outrigger
    cargo deb --no-build --profile dist

# The archive of a release and its bill of materials, in target/.
archive: dist
    python3 tools/archive.py target/dist/outrigger target
    python3 tools/sbom.py target/outrigger.cdx.json --binary target/dist/outrigger

# Groups of processes of Outrigger and process-exporter side by side.
versus-process-exporter: dist
    benches/versus-process-exporter/run.py --outrigger target/dist/outrigger

# What containers and GPUs cost: 0, 10 and 100 Docker containers, 8 GPUs of the fake library.
containers-and-gpus: dist
    cargo build --locked --release --example fake_nvml
    benches/containers-and-gpus/run.py --outrigger target/dist/outrigger

# The container image for this machine.
image tag="outrigger:dev":
    docker build --tag {{tag}} --build-arg REVISION="$(git rev-parse HEAD)" --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" .

# What a clean Debian 12 runs: all of the above.
ci:
    .ci/run

# Fuzzes one target of fuzz/fuzz_targets (nightly Rust and cargo-fuzz).
fuzz target seconds="60":
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}
