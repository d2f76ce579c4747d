"""The series of the comparison: what a small cluster's exporters show, made the same in every run.

Each series is a generator of values, one a step. Counters count whole requests or seconds of CPU time with two
decimals, gauges wander; a hundredth of the gauges never change. A process restarts now and then.
"""

import random

STEP_SECONDS = 15
BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "+Inf")
MODES = ("user", "system", "idle", "iowait", "irq", "softirq", "steal", "nice")


def instances(count):
    return [f"10.0.{i // 250}.{i % 250}:9100" for i in range(count)]


def families(scale):
    """[(name, type, [(labels, maker)])]; `scale` 20 gives 10,000 series."""
    hosts = instances(scale)
    requests = [(f'code="{code}",instance="{host}",job="app",path="/p{path}"', counter(3, 40))
                for host in hosts for code in (200, 201, 404, 500, 503) for path in range(10)]
    cpu = [(f'cpu="{cpu}",instance="{host}",job="node",mode="{mode}"', counter(0, 15, 2))
           for host in hosts for cpu in range(16) for mode in MODES]
    buckets = [(f'instance="{host}",job="app",path="/p{path}",le="{le}"', counter(rank, 4 * rank + 4))
               for host in hosts for path in range(10) for rank, le in enumerate(BOUNDS)]
    memory = [(f'instance="{host}",job="node",kind="{kind}"', gauge(4096))
              for host in hosts for kind in range(60)]
    pods = [(f'container="c{pod % 7}",instance="{host}",job="kubelet",namespace="n{pod % 11}",pod="pod-{pod}"', gauge(8192))
            for host in hosts for pod in range(152)]
    return [
        ("http_requests_total", "counter", requests),
        ("node_cpu_seconds_total", "counter", cpu),
        ("http_request_duration_seconds_bucket", "counter", buckets),
        ("node_memory_bytes", "gauge", memory),
        ("container_memory_working_set_bytes", "gauge", pods),
    ]


def counter(low, high, decimals=0):
    """Grows by `low` to `high` a step; one in 20,000 steps it starts anew."""
    def values(seed):
        rand = random.Random(seed)
        value = rand.randrange(1_000_000)
        scale = 10 ** decimals
        while True:
            value = 0 if rand.random() < 0.00005 else value + rand.randint(low * scale, high * scale)
            yield value if decimals == 0 else value / scale
    return values


def gauge(unit):
    """A whole number of units that wanders."""
    def values(seed):
        rand = random.Random(seed)
        value, moves = rand.randrange(100, 1_000_000), rand.random() > 0.01
        while True:
            if moves:
                value = max(0, value + rand.randint(-50, 50))
            yield value * unit
    return values


def all_series(scale):
    """(series as written, iterator of its values) of every series, family by family."""
    for name, _, rows in families(scale):
        for labels, maker in rows:
            series = f"{name}{{{labels}}}"
            yield series, maker(series)


def write_openmetrics(path, rows, start, steps):
    """A file with `steps` samples of each series from `start` on; returns the samples. `rows` as from `families`."""
    samples = 0
    with open(path, "w", encoding="ascii", buffering=1 << 20) as out:
        for name, kind, members in rows:
            family = name.removesuffix("_total") if kind == "counter" and name.endswith("_total") else name
            out.write(f"# TYPE {family} {'counter' if family != name else 'gauge' if kind == 'gauge' else 'unknown'}\n")
            for labels, maker in members:
                series = f"{name}{{{labels}}}"
                values = maker(series)
                out.writelines(f"{series} {next(values)} {start + step * STEP_SECONDS}\n" for step in range(steps))
                samples += steps
        out.write("# EOF\n")
    return samples
