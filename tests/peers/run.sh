#!/usr/bin/env bash
# The real-peer checks against a binary: run.sh BINARY [CHECK...]; ends non-zero and names what failed.
# Needs root and Debian's prometheus, prometheus-alertmanager, prometheus-blackbox-exporter, prometheus-node-exporter,
# prometheus-process-exporter, prometheus-pushgateway, openssl, python3-prometheus-client, python3-venv, python3-yaml,
# docker.io, docker-compose, podman, systemd and busybox-static; api_clients, dashboards and examples install packages from
# PyPI below target/tools; dashboards needs the fake NVML of `cargo test` or `cargo build --example fake_nvml`;
# release needs cargo, and what it has fetched.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:?usage: run.sh BINARY [CHECK...]}")
shift
checks=("$@")
[ ${#checks[@]} -gt 0 ] || checks=(
    node_exporter processes checks prometheus promql api_clients remote_write pushgateway
    shipped_rules templates rules rule_tests slo_rules alertmanager alerts alerts_live grafana dashboards demo examples docs package release backtest delivery
    hung_mount hostile hostile_queries container containers podman
)

# Debian's own: it has the packages above, whatever other Python comes first in PATH.
readonly python=/usr/bin/python3

# once CHECK: one run of it. The limit is a net under a check that hangs; each takes a minute or two.
once() {
    timeout --kill-after=30 600 "$python" "$here/$1.py" --outrigger "$binary" </dev/null
}

# A check that fails is run once more: peers share few processors with each other, and some of them are slow to start.
# One that is well only then is named, so that nobody overlooks it.
failed=() second=()
for check in "${checks[@]}"; do
    began=$SECONDS
    printf '%s\n' "--- $check"
    if once "$check"; then
        printf '%s\n' "--- $check: well, $((SECONDS - began)) s"
        continue
    fi
    printf '%s\n' "--- $check: FAILED after $((SECONDS - began)) s; once more"
    began=$SECONDS
    if once "$check"; then
        printf '%s\n' "--- $check: well at the second try, $((SECONDS - began)) s"
        second+=("$check")
    else
        printf '%s\n' "--- $check: FAILED twice, after $((SECONDS - began)) s"
        failed+=("$check")
    fi
done
[ ${#second[@]} -eq 0 ] || printf 'well only at the second try: %s\n' "${second[*]}" >&2
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
