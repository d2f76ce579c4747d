#!/usr/bin/env bash
# The real-peer checks against a binary: run.sh BINARY [CHECK...]; ends non-zero and names what failed.
# Needs root and Debian's prometheus, prometheus-alertmanager, prometheus-blackbox-exporter, prometheus-node-exporter,
# prometheus-process-exporter, prometheus-pushgateway, openssl, python3-prometheus-client, python3-venv, python3-yaml,
# docker.io, docker-compose, systemd and busybox-static; api_clients, dashboards and examples install packages from
# PyPI below target/tools; dashboards needs the fake NVML of `cargo test` or `cargo build --example fake_nvml`.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:?usage: run.sh BINARY [CHECK...]}")
shift
checks=("$@")
[ ${#checks[@]} -gt 0 ] || checks=(
    node_exporter processes checks prometheus promql api_clients remote_write pushgateway
    shipped_rules templates rules rule_tests slo_rules alertmanager alerts alerts_live grafana dashboards demo examples docs package backtest delivery
    hung_mount hostile hostile_queries container containers
)

# Debian's own: it has the packages above, whatever other Python comes first in PATH.
readonly python=/usr/bin/python3

failed=()
for check in "${checks[@]}"; do
    began=$SECONDS
    printf '%s\n' "--- $check"
    # The limit is a net under a check that hangs; each takes a minute or two.
    if timeout --kill-after=30 600 "$python" "$here/$check.py" --outrigger "$binary" </dev/null; then
        printf '%s\n' "--- $check: well, $((SECONDS - began)) s"
    else
        printf '%s\n' "--- $check: FAILED after $((SECONDS - began)) s"
        failed+=("$check")
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
