#!/usr/bin/env python3
"""CPU and memory of Outrigger and node_exporter, side by side on this machine, and the floor under both.

CPU is user and system time of the whole process from its CPU clock, over blocks of scrapes that alternate between
them; the median block counts. The client keeps one connection, as Prometheus does.

There are two floors, both of `read_floor`. The floor of a scrape is the CPU of the least exporter there can be: one
thread that asks the kernel for the data - `pread` of the files that Outrigger holds open (found in /proc/PID/fd),
`statfs` of the file systems it shows, the names of the network devices, rtnetlink's links and neighbours - looks at
none of it, and sends a text as long as Outrigger's. It is measured as the others are. The floor of the files is
the `pread`s alone, as that program counts its own CPU time. What Outrigger opens and lists beside these, because it
may come or go, counts as Outrigger's cost.
"""

import argparse
import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
from measure import Client, LeastExporter, alternate, block, cpu_ms, held_files, peers  # noqa: E402
import big_machine  # noqa: E402

# What both are told, so that both show the same things; Debian's build has defaults of its own.
ALIKE = ["--collector.netdev.device-exclude=^$", "--web.max-requests=100"]


def kernel_jobs(exporter, roots=("/proc/", "/sys/")):
    """What the kernel must be asked for this exporter's data, as `read_floor` reads it."""
    jobs = [f"read {path}" for path in held_files(exporter.pid, roots)]
    _, file_systems = peers.parse(exporter.scrape()).get("node_filesystem_size_bytes", ("gauge", {}))
    jobs += [f"statfs {dict(labels)['mountpoint']}" for _, labels in file_systems]
    return jobs + ["list /sys/class/net", "links", "neighbours"]


def floor_of_files(binary, jobs, rounds):
    """(files, bytes, median CPU milliseconds) of reading them."""
    reads = [job for job in jobs if job.startswith("read ")]
    command = [binary, "rounds", str(rounds)]
    out = subprocess.run(command, input="\n".join(reads), capture_output=True, text=True, check=True)
    files, size, median_us = out.stdout.split()
    return int(files), int(size), float(median_us) / 1000


def samples(exporter):
    return sum(1 for line in exporter.scrape().splitlines() if line and not line.startswith("#"))


def concurrent_scrapers(exporter, scrapers, each):
    """(answers a second, slowest answer in ms, CPU ms per answer, peak RSS in MB) under many scrapers."""
    def work(_):
        client, slowest = Client(exporter, "gzip"), 0.0
        for _ in range(each):
            began = time.monotonic()
            client.scrape()
            slowest = max(slowest, time.monotonic() - began)
        return slowest

    before, began = cpu_ms(exporter.pid), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(scrapers) as pool:
        slowest = max(pool.map(work, range(scrapers)))
    answers, seconds = scrapers * each, time.monotonic() - began
    spent = (cpu_ms(exporter.pid) - before) / answers
    return answers / seconds, slowest * 1000, spent, exporter.status("VmHWM") / 1024


def row(what, ours, theirs, unit):
    print(f"| {what} | {ours:.2f} {unit} | {theirs:.2f} {unit} | {theirs / ours if ours else float('inf'):.1f} |", flush=True)


def compare(arguments):
    """Against the exporter alone: rules and containers, which only Outrigger has, are off but for the last rows."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as config:
        config.write("builtin_rules: {enabled: false}\n")
        config.flush()
        measure(arguments, [f"--config.file={config.name}", "--no-collector.container"])


def measure(arguments, alone):
    outrigger, node_exporter = arguments.outrigger, arguments.node_exporter
    scrapes, blocks = arguments.scrapes, arguments.blocks
    print("| what | Outrigger | node_exporter | ratio |\n|---|---|---|---|")
    with peers.start_outrigger(outrigger, ALIKE + alone) as ours, peers.start_node_exporter(node_exporter, ALIKE) as theirs:
        for exporter in (ours, theirs):
            block(exporter, Client(exporter, "identity"), 50)
        row("samples of a scrape", samples(ours), samples(theirs), "")
        jobs = kernel_jobs(ours)
        with LeastExporter(arguments.floor, jobs, Client(ours, "identity").scrape()) as least:
            plain = alternate([ours, theirs, least], scrapes, blocks)
        row("CPU of a scrape", *plain[:2], "ms")
        print(f"| floor of a scrape | {plain[2]:.2f} ms | | {plain[0] / plain[2]:.1f} x the floor |", flush=True)
        files, size, floor_ms = floor_of_files(arguments.floor, jobs, 2000)
        print(f"| floor of the {files} files, {size} bytes | {floor_ms:.2f} ms | | "
              f"{plain[0] / floor_ms:.1f} x the floor |", flush=True)
        row("CPU of a scrape, gzip", *alternate([ours, theirs], scrapes, blocks, "gzip"), "ms")
        row("RSS after these scrapes", *(e.status("VmRSS") / 1024 for e in (ours, theirs)), "MB")
        rates = [concurrent_scrapers(e, 50, 40) for e in (ours, theirs)]
        row("50 scrapers: answers a second", rates[0][0], rates[1][0], "")
        row("50 scrapers: slowest answer", rates[0][1], rates[1][1], "ms")
        row("50 scrapers: CPU of an answer", rates[0][2], rates[1][2], "ms")
        row("50 scrapers: highest RSS", rates[0][3], rates[1][3], "MB")
    shared = [*ALIKE, *alone, "--collector.min-interval=1s"]
    with peers.start_outrigger(outrigger, shared) as ours:
        rate = concurrent_scrapers(ours, 50, 40)
        print(f"| 50 scrapers sharing passes (the default) | {rate[0]:.0f} answers/s, slowest {rate[1]:.0f} ms, "
              f"{rate[2]:.2f} ms CPU | | |", flush=True)
    with tempfile.TemporaryDirectory() as root:
        flags = ALIKE + big_machine.build(root)
        with peers.start_outrigger(outrigger, flags + alone) as ours, \
                peers.start_node_exporter(node_exporter, flags) as theirs:
            row("large machine: samples", samples(ours), samples(theirs), "")
            jobs = kernel_jobs(ours, (root,))
            with LeastExporter(arguments.floor, jobs, Client(ours, "identity").scrape()) as least:
                plain = alternate([ours, theirs, least], scrapes // 5, blocks)
            row("large machine: CPU of a scrape", *plain[:2], "ms")
            print(f"| large machine: floor of a scrape | {plain[2]:.2f} ms | | "
                  f"{plain[0] / plain[2]:.1f} x the floor |", flush=True)
            row("large machine: RSS", *(e.status("VmRSS") / 1024 for e in (ours, theirs)), "MB")
    with peers.start_outrigger(outrigger, ALIKE) as ours, peers.start_node_exporter(node_exporter, ALIKE) as theirs:
        for exporter in (ours, theirs):
            block(exporter, Client(exporter, "identity"), 50)
        row("as it ships, with containers and rules: samples", samples(ours), samples(theirs), "")
        row("as it ships, with containers and rules: CPU of a scrape", *alternate([ours, theirs], scrapes, blocks), "ms")
        row("as it ships, with containers and rules: RSS", *(e.status("VmRSS") / 1024 for e in (ours, theirs)), "MB")
    row("size of the binary", *(os.path.getsize(os.path.realpath(p)) / 1e6 for p in (outrigger, node_exporter)), "MB")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", default="target/dist/outrigger")
    options.add_argument("--node-exporter", default="/usr/bin/prometheus-node-exporter")
    options.add_argument("--floor", default="target/release/examples/read_floor")
    options.add_argument("--scrapes", type=int, default=500)
    options.add_argument("--blocks", type=int, default=5)
    compare(options.parse_args())


if __name__ == "__main__":
    peers.main(check)
