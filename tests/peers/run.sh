#!/usr/bin/env bash
# The real-peer checks against a binary: run.sh BINARY [CHECK...]; ends non-zero and names what failed.
# Needs root and Debian's prometheus, prometheus-node-exporter, docker.io and busybox-static.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:?usage: run.sh BINARY [CHECK...]}")
shift
checks=("$@")
[ ${#checks[@]} -gt 0 ] || checks=(node_exporter prometheus hung_mount hostile container)

failed=()
for check in "${checks[@]}"; do
    began=$SECONDS
    printf '%s\n' "--- $check"
    # The limit is a net under a check that hangs; each takes a minute or two.
    if timeout --kill-after=30 600 python3 "$here/$check.py" --outrigger "$binary" </dev/null; then
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
