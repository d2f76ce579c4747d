"""What the peer checks share: processes that never outlive the check, free ports, waiting, scraping, parsing.

Only Python's standard library. Every server listens on 127.0.0.1 on a port that the kernel chose.
"""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


class Failed(Exception):
    """A check found something wrong; the message says what."""


def free_port():
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what, seconds=20.0, process=None):
    """Asks `condition` until it answers something true, which is returned; at most `seconds`."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise Failed(f"{what}: the process ended with {process.returncode}\n{process.log()}")
        try:
            answer = condition()
            if answer:
                return answer
        except (OSError, http.client.HTTPException) as error:
            last = error
        time.sleep(0.05)
    tail = process.log() if process is not None else ""
    raise Failed(f"{what}: not within {seconds:.0f} s (last error: {last})\n{tail}")


class Process:
    """A child process with its output in a file; ended when the `with` block ends."""

    def __init__(self, command, **options):
        self.command = command
        self.output = tempfile.TemporaryFile()
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT, **options
        )
        self.pid = self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def poll(self):
        return self.child.poll()

    @property
    def returncode(self):
        return self.child.returncode

    def stop(self, seconds=15):
        """SIGTERM, then SIGKILL; returns the exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode

    def log(self, size=4000):
        """The end of what it wrote."""
        end = os.fstat(self.output.fileno()).st_size
        start = max(0, end - size)
        return os.pread(self.output.fileno(), end - start, start).decode(errors="replace")

    def status(self, key):
        """A number from /proc/PID/status: VmRSS and VmHWM in kB, Threads."""
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as f:
            for line in f:
                if line.startswith(key + ":"):
                    return int(line.split()[1])
        raise Failed(f"no {key} in /proc/{self.pid}/status")


class Exporter(Process):
    """A process that serves /metrics; ready once it answers."""

    def __init__(self, command, port, ready="/", **options):
        super().__init__(command, **options)
        self.port = port
        try:
            wait_for(lambda: get(port, ready)[0] == 200, f"start of {command[0]}", process=self)
        except Failed:
            self.stop()
            raise

    def scrape(self, accept=TEXT, headers=None, path="/metrics", timeout=30):
        """Body of one scrape as text; anything but 200 is a failure."""
        status, _, body = get(self.port, path, {"Accept": accept, **(headers or {})}, timeout)
        if status != 200:
            raise Failed(f"{self.command[0]}: {path} answered {status}: {body[:300]!r}\n{self.log()}")
        return body.decode("utf-8")


def start_outrigger(binary, flags=(), command=(), **options):
    """Starts the binary on a free port; passes are never shared, so that each scrape is of its own time."""
    port = free_port()
    arguments = [*command, binary, f"--web.listen-address=127.0.0.1:{port}", "--collector.min-interval=0s", *flags]
    return Exporter(arguments, port, "/-/ready", **options)


def start_node_exporter(binary, flags=()):
    """Starts node_exporter on a free port."""
    port = free_port()
    return Exporter([binary, f"--web.listen-address=127.0.0.1:{port}", *flags], port)


def get(port, path, headers=None, timeout=30):
    """(status, headers, body) of one GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: \S+)?$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?')


def parse(text):
    """{family: (type, {(sample name, sorted labels): value})} of a text exposition.

    Raises Failed on what a strict parser refuses: duplicates, bad lines, a family in two places.
    """
    families, kind, current = {}, {}, None
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, type_ = line.split(" ", 3)
            if name in kind:
                raise Failed(f"second TYPE of {name}")
            kind[name] = type_
            continue
        if not line or line.startswith("#"):
            continue
        found = SAMPLE.match(line)
        if not found:
            raise Failed(f"not a sample: {line!r}")
        name, labels, value = found.groups()
        pairs = LABEL.findall(labels or "")
        if "".join(f'{k}="{v}",' for k, v in pairs).rstrip(",") != (labels or "").rstrip(","):
            raise Failed(f"not labels: {line!r}")
        family = family_of(name, kind)
        if family != current and family in families:
            raise Failed(f"family {family} in two places")
        current = family
        samples = families.setdefault(family, (kind.get(family, "untyped"), {}))[1]
        key = (name, tuple(sorted(pairs)))
        if key in samples:
            raise Failed(f"duplicate series: {line!r}")
        samples[key] = float(value)
    return families


def family_of(name, kind):
    """The family a sample belongs to: itself, or the histogram or summary whose suffix it carries."""
    if name not in kind:
        for suffix in ("_bucket", "_sum", "_count"):
            base = name.removesuffix(suffix)
            if base != name and kind.get(base) in ("histogram", "summary"):
                return base
    return name


def show(key):
    """A series as in the text format."""
    name, labels = key
    return name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels) + "}" if labels else "")


def main(check):
    """Runs a check, prints what it says, exits 1 with the message if it failed."""
    try:
        check()
    except Failed as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        sys.exit(1)
