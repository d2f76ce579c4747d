#!/usr/bin/env python3
"""CPU and memory of Outrigger with 0, 10 and 100 Docker containers, and with 8 GPUs of a fake NVML.

The daemon is our own (data, socket and state in a temporary folder); its containers sleep, on no network. Only the collector
in question runs, without rules and history; CPU is user and system time of the whole process. Needs root, Debian's docker.io
and busybox-static, and the library that `cargo build --release --example fake_nvml` makes. A fake library answers at once:
what a driver takes comes on top.
"""

import argparse
import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from measure import alternate, peers  # noqa: E402
from container import Docker  # noqa: E402
from containers import image, start  # noqa: E402

ALONE = "builtin_rules: {enabled: false}\ncollect: {history_interval: 0s}\n"


def row(arguments, what, prefix, flags, **options):
    flags = ["--collector.disable-defaults", f"--config.file={arguments.alone}", *flags]
    with peers.start_outrigger(arguments.outrigger, flags, **options) as exporter:
        # Names come from a thread of their own.
        peers.wait_for(lambda: exporter.scrape(), "an answer", process=exporter)
        [cost] = alternate([exporter], arguments.scrapes, arguments.blocks)
        families = peers.parse(exporter.scrape())
        series = sum(len(samples) for name, (_, samples) in families.items() if name.startswith(prefix))
        print(f"| {what} | {series} | {cost:.2f} ms | {exporter.status('VmRSS') / 1024:.1f} MB |", flush=True)


def containers(arguments, folder):
    docker = Docker(folder)
    try:
        image(docker)
        flags = ["--collector.container", f"--collector.container.docker-socket={docker.socket.removeprefix('unix://')}"]
        running = 0
        row(arguments, "no collector", "container_", [])
        for count in (0, 10, 100):
            while running < count:
                start(docker, f"idle{running}", "sleep 100000", "--network=none", "--memory=64m")
                running += 1
            row(arguments, f"{count} containers", "container_", flags)
    finally:
        docker.stop()


def gpus(arguments, folder):
    """Eight of the scenario's second GPU, which has no MIG, told apart by what identifies a GPU."""
    with open(os.path.join(peers.ROOT, "tests", "gpu", "two_gpus.scenario"), encoding="utf-8") as f:
        head, first, *_ = re.split(r"^\[gpu\]\n", f.read(), flags=re.M)
    first = re.sub(r"^nvmlDeviceGetMigMode.*\n", "", first.split("\n[")[0] + "\n", flags=re.M)
    for count in (0, 8):
        path = os.path.join(folder, f"{count}.scenario")
        with open(path, "w", encoding="utf-8") as f:
            f.write(head)
            for at in range(count):
                gpu = first.replace("GPU-1111", f"GPU-{at}111").replace(":1B:", f":{at + 1}B:").replace("0000001\n", f"000000{at}\n")
                f.write(f"[gpu]\n{gpu}\n")
        flags = ["--collector.gpu", f"--collector.gpu.nvml-library={arguments.nvml}"]
        row(arguments, f"{count} GPUs", "DCGM_", flags, env={**os.environ, "FAKE_NVML": path})


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outrigger", required=True)
    parser.add_argument("--nvml", default=os.path.join(peers.ROOT, "target", "release", "examples", "libfake_nvml.so"))
    parser.add_argument("--scrapes", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=5)
    arguments = parser.parse_args()
    arguments.outrigger = os.path.abspath(arguments.outrigger)
    print("| what | series | CPU of a scrape | RSS |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        arguments.alone = os.path.join(folder, "outrigger.yml")
        with open(arguments.alone, "w", encoding="utf-8") as f:
            f.write(ALONE)
        gpus(arguments, folder)
        containers(arguments, folder)


if __name__ == "__main__":
    peers.main(run)
