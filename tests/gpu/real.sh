#!/usr/bin/env bash
# Compares a binary with NVML itself and with nvidia-smi on a machine with a real GPU: real.sh BINARY [FOLDER [FLAG...]].
# Needs bash and python3; with PyTorch the load is a matrix product, else memory is written through CUDA's driver API.
# What was seen - both scrapes, nvidia-smi's pages, the table - is left in FOLDER. About a minute.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:?usage: real.sh BINARY [FOLDER [FLAG...]]}")
folder=${2:-$(mktemp -d)}
mkdir -p "$folder"
shift $(($# < 2 ? $# : 2))
timeout --kill-after=10 150 python3 "$here/real.py" "$binary" "$folder" "$@" 2>&1 | tee "$folder/table.txt"
