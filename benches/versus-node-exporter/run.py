#!/usr/bin/env python3
"""CPU and memory of Outrigger and node_exporter, side by side on this machine, and the floor under both.

CPU is user and system time of the whole process from /proc/PID/stat, over blocks of scrapes that alternate between
the two; the median block counts. The client keeps one connection, as Prometheus does. The floor is reading the files
that Outrigger holds open (found in /proc/PID/fd) with held descriptors and `pread`, parsing nothing.
"""

import argparse
import concurrent.futures
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(os.path.dirname(HERE)), "tests", "peers")]
sys.dont_write_bytecode = True
import big_machine  # noqa: E402
import peers  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
# What both are told, so that both show the same things; Debian's build has defaults of its own.
ALIKE = ["--collector.netdev.device-exclude=^$", "--web.max-requests=100"]
PROMETHEUS_ACCEPT = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                     "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")


def cpu_ms(pid):
    """User and system time of a process, milliseconds."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / TICKS


class Client:
    """One kept connection that scrapes."""

    def __init__(self, exporter, encoding):
        self.headers = {"Accept": PROMETHEUS_ACCEPT, "Accept-Encoding": encoding}
        self.connection = http.client.HTTPConnection("127.0.0.1", exporter.port, timeout=60)

    def scrape(self):
        self.connection.request("GET", "/metrics", headers=self.headers)
        response = self.connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise peers.Failed(f"/metrics answered {response.status}")
        return body


def block(exporter, client, scrapes):
    """CPU milliseconds per scrape over a block."""
    before = cpu_ms(exporter.pid)
    for _ in range(scrapes):
        client.scrape()
    return (cpu_ms(exporter.pid) - before) / scrapes


def alternate(ours, theirs, encoding, scrapes, blocks):
    """Median CPU per scrape of both, blocks alternating."""
    clients = [(e, Client(e, encoding)) for e in (ours, theirs)]
    spent = {id(ours): [], id(theirs): []}
    for _ in range(blocks):
        for exporter, client in clients:
            spent[id(exporter)].append(block(exporter, client, scrapes))
    return statistics.median(spent[id(ours)]), statistics.median(spent[id(theirs)])


def held_files(pid, roots=("/proc/", "/sys/")):
    """Paths below `roots` that the process holds open."""
    paths = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        if path.startswith(roots):
            paths.append(path)
    return sorted(paths)


def floor(binary, paths, rounds):
    """(files, bytes, median CPU milliseconds) of reading them."""
    out = subprocess.run([binary, str(rounds)], input="\n".join(paths), capture_output=True, text=True, check=True)
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
    outrigger, node_exporter = arguments.outrigger, arguments.node_exporter
    scrapes, blocks = arguments.scrapes, arguments.blocks
    print("| what | Outrigger | node_exporter | ratio |\n|---|---|---|---|")
    with peers.start_outrigger(outrigger, ALIKE) as ours, peers.start_node_exporter(node_exporter, ALIKE) as theirs:
        for exporter in (ours, theirs):
            block(exporter, Client(exporter, "identity"), 50)
        row("samples of a scrape", samples(ours), samples(theirs), "")
        plain = alternate(ours, theirs, "identity", scrapes, blocks)
        row("CPU of a scrape", *plain, "ms")
        row("CPU of a scrape, gzip", *alternate(ours, theirs, "gzip", scrapes, blocks), "ms")
        row("RSS after these scrapes", *(e.status("VmRSS") / 1024 for e in (ours, theirs)), "MB")
        paths = held_files(ours.pid)
        files, size, floor_ms = floor(arguments.floor, paths, 2000)
        print(f"| floor: {files} files, {size} bytes, held descriptors and `pread` | {floor_ms:.2f} ms | | "
              f"{plain[0] / floor_ms:.1f} x the floor |", flush=True)
        rates = [concurrent_scrapers(e, 50, 40) for e in (ours, theirs)]
        row("50 scrapers: answers a second", rates[0][0], rates[1][0], "")
        row("50 scrapers: slowest answer", rates[0][1], rates[1][1], "ms")
        row("50 scrapers: CPU of an answer", rates[0][2], rates[1][2], "ms")
        row("50 scrapers: highest RSS", rates[0][3], rates[1][3], "MB")
    shared = [f for f in ALIKE] + ["--collector.min-interval=1s"]
    with peers.start_outrigger(outrigger, shared) as ours:
        rate = concurrent_scrapers(ours, 50, 40)
        print(f"| 50 scrapers sharing passes (the default) | {rate[0]:.0f} answers/s, slowest {rate[1]:.0f} ms, "
              f"{rate[2]:.2f} ms CPU | | |", flush=True)
    with tempfile.TemporaryDirectory() as root:
        flags = ALIKE + big_machine.build(root)
        with peers.start_outrigger(outrigger, flags) as ours, \
                peers.start_node_exporter(node_exporter, flags) as theirs:
            row("large machine: samples", samples(ours), samples(theirs), "")
            row("large machine: CPU of a scrape", *alternate(ours, theirs, "identity", scrapes // 5, blocks), "ms")
            row("large machine: RSS", *(e.status("VmRSS") / 1024 for e in (ours, theirs)), "MB")
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
