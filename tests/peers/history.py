"""The same made-up history in a Prometheus and in an Outrigger.

The history is an OpenMetrics file: `promtool tsdb create-blocks-from openmetrics` and `outrigger tsdb import` read it.
It is the same in every run: the generator is seeded, and time begins at BASE. Samples lie at 7 ms past a multiple of
their interval and queries at half seconds, so that no sample and no step of a subquery lies on the edge of a range:
there Prometheus 2 and 3 differ (closed and left-open ranges).
"""

import math
import os
import random
import subprocess

import peers

# A multiple of two hours, which is where Prometheus's blocks begin: 2025-06-15 16:00:00 UTC.
BASE = 1_750_003_200
SPAN = 3 * 3600
END = BASE + SPAN
JUST_AFTER = 0.007


class Writer:
    """Families of an OpenMetrics file, one after the other."""

    def __init__(self):
        self.lines = []

    def family(self, name, kind, text, unit=None):
        self.lines.append(f"# TYPE {name} {kind}")
        if unit:
            self.lines.append(f"# UNIT {name} {unit}")
        self.lines.append(f"# HELP {name} {text}")

    def sample(self, name, labels, at, value):
        shown = ",".join(f'{k}="{escaped(v)}"' for k, v in labels.items())
        self.lines.append(f"{name}{{{shown}}} {number(value)} {at:.3f}")

    def text(self):
        return "\n".join([*self.lines, "# EOF", ""])


def escaped(text):
    """A label's value as the format wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value):
    """A value as Go and Rust read it, to the bit."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value)) if value != int(value) or abs(value) > 1e15 else str(int(value))


def ticks(begin=0, end=SPAN, every=15):
    """Instants of one series."""
    return [BASE + at + JUST_AFTER for at in range(begin, end, every)]


def openmetrics():
    """The whole history."""
    out, dice = Writer(), random.Random(20250615)
    counters(out, dice)
    gauges(out, dice)
    histograms(out, dice)
    summaries(out, dice)
    gaps(out, dice)
    facts(out)
    return out.text()


def counters(out, dice):
    """Counters that are reset now and then; one of fractions; one that never moves."""
    out.family("http_requests", "counter", "Requests answered")
    for job in ("api", "web"):
        for instance in range(4):
            for code in ("200", "404", "500"):
                total = dice.randrange(1000)
                labels = {"job": job, "instance": f"host-{instance}:80", "code": code, "path": f"/{job}/{instance % 2}"}
                for at in ticks():
                    total = 0 if dice.random() < 0.003 else total + dice.randrange(0, 40 if code == "200" else 3)
                    out.sample("http_requests_total", labels, at, total)
    out.family("cpu_seconds", "counter", "Time of the CPU", "seconds")
    for cpu in range(2):
        for mode in ("user", "system", "idle"):
            spent = dice.random() * 100
            for at in ticks(every=30):
                spent += dice.random() * 3
                out.sample("cpu_seconds_total", {"cpu": str(cpu), "mode": mode}, at, spent)
    out.family("never", "counter", "Never moves")
    for at in ticks():
        out.sample("never_total", {"job": "api"}, at, 7)


def gauges(out, dice):
    """Walks; temperatures with odd names and odd values; very large and very small numbers; ties."""
    out.family("memory_bytes", "gauge", "Memory in use", "bytes")
    for instance in range(4):
        used = 1e9
        for at in ticks():
            used = abs(used + dice.uniform(-1e7, 1e7))
            out.sample("memory_bytes", {"job": "api", "instance": f"host-{instance}:80"}, at, used)
    out.family("temperature", "gauge", "Degrees")
    odd = {"Küche": [], "salón \"3\"": [float("nan")], "日本": [float("inf")], "a\\b\nc": [float("-inf"), 0.0, -0.0]}
    for room, values in odd.items():
        for at in ticks(every=60):
            value = dice.choice(values) if values and dice.random() < 0.2 else round(dice.gauss(3, 10), 2)
            out.sample("temperature", {"room": room, "floor": str(len(room) % 2)}, at, value)
    out.family("extreme", "gauge", "The ends of the number line")
    for size, values in {"large": [1e300, -1e300, 1.7e308, 1e21, 1e20], "small": [5e-324, -1e-310, 1e-7, 1.5e-6]}.items():
        for at in ticks(every=60):
            out.sample("extreme", {"size": size}, at, dice.choice(values))
    out.family("level", "gauge", "Small whole numbers, so that there are ties")
    for name in ("a1", "a2", "a10", "b", "B", "_", "ß"):
        for at in ticks():
            out.sample("level", {"name": name, "le": "5" if name == "b" else "x"}, at, dice.randrange(4))


def histograms(out, dice):
    """Classic histograms, one of them with a reset."""
    out.family("request_duration_seconds", "histogram", "How long requests take", "seconds")
    bounds = ["0.1", "0.25", "0.5", "1.0", "2.5", "+Inf"]
    for instance in range(3):
        labels = {"job": "api", "instance": f"host-{instance}:80"}
        rows = {bound: [] for bound in bounds}
        counts, total, sums = [0] * len(bounds), 0.0, []
        for at in ticks():
            if dice.random() < 0.002:
                counts, total = [0] * len(bounds), 0.0
            for _ in range(dice.randrange(6)):
                took = dice.expovariate(2)
                total += took
                for i, bound in enumerate(bounds):
                    counts[i] += took <= float(bound)
            for bound, count in zip(bounds, counts):
                rows[bound].append((at, count))
            sums.append((at, total))
        for bound in bounds:
            for at, count in rows[bound]:
                out.sample("request_duration_seconds_bucket", {**labels, "le": bound}, at, count)
        for at, count in rows["+Inf"]:
            out.sample("request_duration_seconds_count", labels, at, count)
        for at, total in sums:
            out.sample("request_duration_seconds_sum", labels, at, total)


def summaries(out, dice):
    """A summary whose quantiles are NaN at times."""
    out.family("rpc_seconds", "summary", "Durations of calls", "seconds")
    for service in ("search", "store"):
        for quantile in ("0.5", "0.9", "0.99"):
            for at in ticks(every=30):
                value = float("nan") if dice.random() < 0.05 else float(quantile) * dice.random()
                out.sample("rpc_seconds", {"service": service, "quantile": quantile}, at, value)
        count = 0
        for at in ticks(every=30):
            count += dice.randrange(9)
            out.sample("rpc_seconds_count", {"service": service}, at, count)


def gaps(out, dice):
    """Series that come late, go early, and vanish for longer than the lookback."""
    out.family("flapping", "gauge", "There and not there")
    for name, stretches in {
        "late": [(5000, SPAN)], "early": [(0, 4000)], "twice": [(600, 3000), (4200, 9000)],
        "short": [(3000, 3016)], "once": [(6000, 6001)],
    }.items():
        for begin, end in stretches:
            for at in ticks(begin, end):
                out.sample("flapping", {"name": name, "job": "api"}, at, dice.randrange(100))


def facts(out):
    """Labels to join with; the version of one instance changes."""
    out.family("build_info", "gauge", "Versions")
    for instance in range(4):
        change = 5400 if instance == 2 else SPAN
        for version, begin, end in (("1.0", 0, change), ("1.1", change, SPAN)):
            for at in ticks(begin, end):
                labels = {"instance": f"host-{instance}:80", "version": version, "job": "api"}
                out.sample("build_info", labels, at, 1)


class Prometheus(peers.Exporter):
    """A Prometheus over the history."""

    def __init__(self, folder, file, targets=()):
        data = os.path.join(folder, "prometheus")
        os.makedirs(data)
        promtool = ["promtool", "tsdb", "create-blocks-from", "openmetrics", file, data]
        subprocess.run(promtool, check=True, capture_output=True)
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(configuration(targets))
        port = peers.free_port()
        # Without this the history would be too old to be kept.
        super().__init__(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}",
             "--storage.tsdb.retention.time=100y",
             f"--web.listen-address=127.0.0.1:{port}"], port, "/-/ready",
        )


class Outrigger(peers.Exporter):
    """An Outrigger over the history, without metrics of the machine."""

    def __init__(self, binary, folder, file, targets=(), flags=()):
        data = os.path.join(folder, "outrigger")
        run = subprocess.run([binary, "tsdb", "import", data, file], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise peers.Failed(f"tsdb import: {run.stdout}{run.stderr}")
        config = os.path.join(folder, "outrigger.yml")
        with open(config, "w", encoding="utf-8") as f:
            # Their results would stand beside the history.
            f.write(configuration(targets) + "builtin_rules: { enabled: false }\n")
        port = peers.free_port()
        super().__init__(
            [binary, f"--config.file={config}", f"--storage.path={data}", "--storage.retention=100y",
             "--collector.disable-defaults",
             "--enable-feature=promql-experimental-functions",
             f"--web.listen-address=127.0.0.1:{port}", *flags], port, "/-/ready",
        )


def configuration(targets):
    """What both scrape: the targets, every second."""
    jobs = "".join(
        f"  - job_name: {name}\n    static_configs: [{{ targets: ['127.0.0.1:{port}'] }}]\n" for name, port in targets
    )
    head = "global: { scrape_interval: 1s, scrape_timeout: 1s }\n"
    return head + (f"scrape_configs:\n{jobs}" if jobs else "")
