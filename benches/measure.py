"""CPU of a scrape, as the comparisons measure it: user and system time of the whole process from its CPU clock, over blocks
of scrapes that alternate between the programs; the median block counts. The client keeps one connection, as Prometheus does."""

import http.client
import os
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "peers"))
import peers  # noqa: E402

PROMETHEUS_ACCEPT = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                     "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")


def cpu_ms(pid):
    """User and system time of a process, milliseconds; its clock is exact, /proc/PID/stat counts ticks of 10 ms."""
    clock = (~pid << 3) | 2  # as clock_getcpuclockid(3) makes it
    return time.clock_gettime_ns(clock) / 1e6


class Client:
    """One kept connection that scrapes."""

    def __init__(self, exporter, encoding="identity"):
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


def alternate(exporters, scrapes, blocks, encoding="identity"):
    """Median CPU per scrape of each, blocks alternating; a first block of each warms up."""
    clients = [(e, Client(e, encoding), []) for e in exporters]
    for exporter, client, _ in clients:
        block(exporter, client, scrapes)
    for _ in range(blocks):
        for exporter, client, spent in clients:
            spent.append(block(exporter, client, scrapes))
    return [statistics.median(spent) for *_, spent in clients]


def held_files(pid, roots=("/proc/", "/sys/")):
    """Paths of files below `roots` that the process holds open."""
    paths = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        if path.startswith(roots) and not os.path.isdir(path):
            paths.append(path)
    return sorted(paths)


class LeastExporter(peers.Process):
    """Does the jobs and answers with `body`; nothing else."""

    def __init__(self, binary, jobs, body):
        self.files = tempfile.TemporaryDirectory()
        paths = [os.path.join(self.files.name, name) for name in ("body", "jobs")]
        for path, content in zip(paths, (body, "\n".join(jobs).encode())):
            with open(path, "wb") as f:
                f.write(content)
        super().__init__(["sh", "-c", 'exec "$0" serve "$1" < "$2"', binary, *paths])
        self.port = int(peers.wait_for(lambda: self.log().strip(), "the floor's port", process=self))

    def __exit__(self, *_):
        super().__exit__()
        self.files.cleanup()
