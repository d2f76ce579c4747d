# The recipes that people and CI share. `just` without arguments lists them.

_default:
    @just --list

# Formatting, clippy with warnings as errors, shellcheck.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    shellcheck .ci/run tests/peers/*.sh

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

# Criterion benchmarks of the pass, the encoder and the parsers.
bench:
    cargo bench --locked

# CPU and memory of Outrigger and node_exporter side by side; see docs/performance.md.
versus: dist
    cargo build --locked --release --example read_floor
    benches/versus-node-exporter/run.py --outrigger target/dist/outrigger

# The container image for this machine.
image tag="outrigger:dev":
    docker build --tag {{tag}} --build-arg REVISION="$(git rev-parse HEAD)" .

# What a clean Debian 12 runs: all of the above.
ci:
    .ci/run

# Fuzzes one target of fuzz/fuzz_targets (nightly Rust and cargo-fuzz).
fuzz target seconds="60":
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}
