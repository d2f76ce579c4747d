#!/usr/bin/env python3
"""CPU and memory of Outrigger with 0, 10 and 100 Docker containers, and with 8 GPUs of a fake NVML.

The daemon is our own (data, socket and state in a temporary folder). Its containers, on no network, sleep all the time, or wake
each second, so that something has happened in each of them between two scrapes. Only the collector in question runs, without
rules and history; CPU is user and system time of the whole process. Needs root, Debian's docker.io and busybox-static, and the
library that `cargo build --release --example fake_nvml` makes. A fake library answers at once: what a driver takes comes on
top. With --beside, another binary is measured in turn with the first: one from before a change.

Containers that are awake have a floor: the least exporter there can be (`read_floor`), which asks the kernel for those files
that Outrigger reads of each of them in each pass, and sends a text as long as Outrigger's.
"""

import argparse
import contextlib
import os
import re
import statistics
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from measure import Client, LeastExporter, alternate, block, held_files, peers  # noqa: E402
from container import Docker  # noqa: E402
from containers import image, start  # noqa: E402

SETTLES = 6
# What may change in a pass without any sign of it elsewhere; see src/collect/container/sources.rs. The first row is version 2's.
EACH_PASS = {
    "cpu.stat", "memory.current", "pids.current", "memory.stat", "memory.peak", "io.stat", "cpu.pressure", "cgroup.procs", "dev",
    "cpuacct.usage", "cpuacct.stat", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.kmem.usage_in_bytes",
    "blkio.throttle.io_serviced", "blkio.throttle.io_serviced_recursive",
}
ALONE = "builtin_rules: {enabled: false}\ncollect: {history_interval: 0s}\n"


def paused(exporters, scrapes, pause):
    """Median CPU per scrape of each, with a pause before each. Who comes first finds caches cold, so they take turns."""
    clients = [(exporter, Client(exporter), []) for exporter in exporters]
    for at in range(scrapes):
        time.sleep(pause)
        for exporter, client, spent in clients[:: 1 if at % 2 else -1]:
            spent.append(block(exporter, client, 1))
    return [statistics.median(spent) for *_, spent in clients]


def row(arguments, what, prefix, flags, pause=None, **options):
    flags = ["--collector.disable-defaults", f"--config.file={arguments.alone}", *flags]
    with contextlib.ExitStack() as stack:
        binaries = [arguments.outrigger, *([arguments.beside] if arguments.beside else [])]
        exporters = [stack.enter_context(peers.start_outrigger(binary, flags, **options)) for binary in binaries]
        for exporter in exporters:
            # Names come from a thread of their own.
            peers.wait_for(exporter.scrape, "an answer", process=exporter)
        if floor := arguments.floor if pause else None:
            held = held_files(exporters[0].pid)
            # Version 1 has its cpu.stat for limits of CPU time, which these containers have not.
            names = EACH_PASS - ({"cpu.stat"} if any(path.endswith("/cpuacct.usage") for path in held) else set())
            jobs = [f"read {path}" for path in held if os.path.basename(path) in names]
            exporters.append(stack.enter_context(LeastExporter(floor, jobs, exporters[0].scrape().encode())))
        if pause is None:
            alternate(exporters, arguments.scrapes, 1)
            # Groups in which nothing happens are told by now; see src/collect/container/quiet.rs.
            time.sleep(SETTLES)
            costs = alternate(exporters, arguments.scrapes, arguments.blocks)
        else:
            costs = paused(exporters, arguments.scrapes, pause)
        families = peers.parse(exporters[0].scrape())
        series = sum(len(samples) for name, (_, samples) in families.items() if name.startswith(prefix))
        beside = f" {costs[1]:.2f} ms | {costs[1] / costs[0]:.1f} |" if arguments.beside else ""
        if floor:
            print(f"| {what}: floor of {len(jobs)} files | | {costs.pop():.2f} ms | |{' | |' if arguments.beside else ''}")
        print(f"| {what} | {series} | {costs[0]:.2f} ms | {exporters[0].status('VmRSS') / 1024:.1f} MB |{beside}", flush=True)


def containers(arguments, folder):
    docker = Docker(folder)
    try:
        image(docker)
        flags = ["--collector.container", f"--collector.container.docker-socket={docker.socket.removeprefix('unix://')}"]
        running = 0

        def run_up_to(count, script):
            nonlocal running
            while running < count:
                start(docker, f"box{running}", script, "--network=none", "--memory=64m")
                running += 1

        row(arguments, "no collector", "container_", [])
        for count in (0, 10, 100):
            run_up_to(count, "sleep 100000")
            row(arguments, f"{count} containers, asleep", "container_", flags)
        docker.run("rm", "--force", *(f"box{at}" for at in range(running)))
        running = 0
        run_up_to(100, "while :; do sleep 1; done")
        row(arguments, "100 containers, awake", "container_", flags, pause=1.2)
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
    parser.add_argument("--beside", type=os.path.abspath)
    parser.add_argument("--nvml", default=os.path.join(peers.ROOT, "target", "release", "examples", "libfake_nvml.so"))
    parser.add_argument("--floor", default=os.path.join(peers.ROOT, "target", "release", "examples", "read_floor"))
    parser.add_argument("--scrapes", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=5)
    arguments = parser.parse_args()
    arguments.outrigger = os.path.abspath(arguments.outrigger)
    more = (" CPU of the other | ratio |", "---|---|") if arguments.beside else ("", "")
    print(f"| what | series | CPU of a scrape | RSS |{more[0]}\n|---|---|---|---|{more[1]}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        arguments.alone = os.path.join(folder, "outrigger.yml")
        with open(arguments.alone, "w", encoding="utf-8") as f:
            f.write(ALONE)
        gpus(arguments, folder)
        containers(arguments, folder)


if __name__ == "__main__":
    peers.main(run)
