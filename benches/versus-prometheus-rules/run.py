#!/usr/bin/env python3
"""What evaluating a rule costs in Outrigger and in Prometheus, side by side on this machine, and the memory of both.

Both scrape one target and evaluate the same rule file at the same interval. CPU is user and system time of the whole
process from its CPU clock. Each round measures both without rules, then with them (the file is exchanged and reloaded),
then without them again; what they cost with rules, less the mean of what they cost before and after, is the rules'.
Divided by the evaluations that each counted meanwhile (`prometheus_rule_evaluations_total`) it is the cost of one. What is
written and kept because of the rules is in it. The median of the rounds counts.

One alert in a hundred has its condition and fires, as on a day that is not the worst.
"""

import argparse
import collections
import http.server
import os
import signal
import statistics
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "peers")]
sys.dont_write_bytecode = True
import peers  # noqa: E402

METRICS = 100
# `slower`: how many times as seldom as the others it is evaluated; 1,000 sums over 100 series take a core of Prometheus's.
Kind = collections.namedtuple("Kind", "name text slower rule")


def instance(number):
    return f'{{instance="host-{number}:9780"}}'


def threshold(i):
    return f"metric_{i % METRICS}{instance(i % 5)} > {0 if i % 100 == 0 else 1_000_000}"


KINDS = [
    Kind("one_series", "alert on one series above a threshold", 1,
         lambda i: f"{{alert: Rule{i}, expr: '{threshold(i)}', for: 5m, labels: {{severity: low}}}}"),
    Kind("rate", "alert on the rate of one series", 1,
         lambda i: f"{{alert: Rule{i}, expr: 'rate(metric_{i % METRICS}{instance(i % 5)}[1m]) > 1000000', for: 5m}}"),
    Kind("sum", "recorded sum of a metric's series", 4,
         lambda i: f"{{record: 'metric_{i % METRICS}:sum{i}', expr: 'sum(metric_{i % METRICS})'}}"),
]


def rule_file(kind, rules, interval, groups):
    """Rules in groups of equal size, as people write them."""
    lines = ["groups:"]
    for group in range(groups):
        lines += [f"- name: group{group}", f"  interval: {interval}s", "  rules:"]
        lines += [f"  - {kind.rule(i)}" for i in range(group, rules, groups)]
    return "\n".join(lines) + "\n"


class Target(http.server.BaseHTTPRequestHandler):
    """Shows the series; all values rise by one at each scrape interval."""

    protocol_version = "HTTP/1.1"
    series, interval = 0, 1
    made, body = None, b""
    lock = threading.Lock()

    def do_GET(self):
        with Target.lock:
            tick = int(time.time() / Target.interval), Target.series
            if tick != Target.made:
                lines = (f"metric_{i % METRICS}{instance(i // METRICS)} {tick[0] % 100_000 + i % 7}\n" for i in range(Target.series))
                Target.body, Target.made = "".join(lines).encode(), tick
            body = Target.body
        self.send_response(200)
        self.send_header("Content-Type", peers.TEXT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def cpu_us(process):
    """User and system time, microseconds; the clock is exact, /proc/PID/stat counts ticks of 10 ms."""
    return time.clock_gettime_ns((~process.pid << 3) | 2) / 1e3  # as clock_getcpuclockid(3) makes it


def evaluations(process):
    """(evaluations, those that failed) so far, of all groups."""
    sums = collections.Counter()
    for line in process.scrape().splitlines():
        name = line.split("{")[0]
        if name.startswith("prometheus_rule_evaluation") and name.endswith("s_total") and "{" in line:
            sums[name] += float(line.rsplit(" ", 1)[1])
    return sums["prometheus_rule_evaluations_total"], sums["prometheus_rule_evaluation_failures_total"]


def start(arguments, work, who, port):
    folder = os.path.join(work, who)
    os.makedirs(folder)
    config = (f"global: {{scrape_interval: {arguments.scrape}s, scrape_timeout: 1s}}\nrule_files: ['{work}/rules.yml']\n"
              f"scrape_configs: [{{job_name: app, honor_labels: true, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n")
    listen = peers.free_port()
    flags = [f"--web.listen-address=127.0.0.1:{listen}", f"--config.file={folder}/config.yml"]
    if who == "outrigger":
        config += "builtin_rules: {enabled: false}\n"
        command = [arguments.outrigger, *flags, f"--storage.path={folder}/store", "--collector.disable-defaults"]
    else:
        command = [arguments.prometheus, *flags, f"--storage.tsdb.path={folder}/tsdb"]
    with open(f"{folder}/config.yml", "w", encoding="utf-8") as f:
        f.write(config)
    return peers.Exporter(command, listen, "/-/ready")


class Pair:
    """Both programs with one rule file."""

    def __init__(self, arguments, work, port):
        self.rules = os.path.join(work, "rules.yml")
        self.seconds = arguments.seconds
        self.use("groups: []\n", ())
        self.running = [start(arguments, work, who, port) for who in ("outrigger", "prometheus")]

    def use(self, text, running):
        with open(f"{self.rules}.new", "w", encoding="utf-8") as f:
            f.write(text)
        os.replace(f"{self.rules}.new", self.rules)
        for process in running:
            os.kill(process.pid, signal.SIGHUP)

    def measure(self):
        """For each: CPU of a second, and evaluations, over the time of a measurement."""
        before = [(evaluations(p), cpu_us(p), time.monotonic()) for p in self.running]
        time.sleep(self.seconds)
        spent = [(cpu_us(p), time.monotonic()) for p in self.running]
        found = []
        for process, (counted, cpu, at), (cpu_now, now) in zip(self.running, before, spent):
            total, failed = evaluations(process)
            if failed > counted[1]:
                raise peers.Failed(f"{process.command[0]}: {failed - counted[1]:.0f} evaluations failed\n{process.log()}")
            found.append(((cpu_now - cpu) / (now - at), (total - counted[0]) / (now - at)))
        return found

    def round(self, text, rules):
        """Microseconds an evaluation costs in each."""
        idle = [self.measure()]
        # A group that is exchanged begins to count anew.
        self.use(text, self.running)
        for process in self.running:
            peers.wait_for(lambda p=process: evaluations(p)[0] >= 2 * rules, "two evaluations of each rule", 60, process)
        busy = self.measure()
        memory = [p.status("VmRSS") / 1024 for p in self.running]
        self.use("groups: []\n", self.running)
        for process in self.running:
            peers.wait_for(lambda p=process: b'"groups":[]' in peers.get(p.port, "/api/v1/rules")[2], "no rules", 60, process)
        idle.append(self.measure())
        costs = []
        for who in (0, 1):
            rest = statistics.mean(found[who][0] for found in idle)
            costs.append((busy[who][0] - rest) / busy[who][1])
        return costs, [found[1] for found in busy], memory

    def stop(self):
        for process in self.running:
            process.stop()


def row(what, ours, theirs, unit, digits=1):
    print(f"| {what} | {ours:.{digits}f} {unit} | {theirs:.{digits}f} {unit} | {theirs / ours:.1f} |", flush=True)


def compare(arguments):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Target.interval = arguments.scrape
    print("| what | Outrigger | Prometheus | ratio |\n|---|---|---|---|")
    kinds = [kind for kind in KINDS if kind.name in arguments.kinds]
    for series in arguments.series:
        Target.series = series
        with tempfile.TemporaryDirectory(prefix="versus-rules-") as work:
            pair = Pair(arguments, work, server.server_address[1])
            try:
                up = f"count({{__name__=~'metric_.*'}}) == {series}".replace(" ", "%20").replace("{", "%7B").replace("}", "%7D")
                for process in pair.running:
                    peers.wait_for(lambda p=process: b'"value"' in peers.get(p.port, f"/api/v1/query?query={up}")[2],
                                   f"{series} series", 60, process)
                for kind in kinds:
                    interval = arguments.interval * kind.slower
                    text = rule_file(kind, arguments.rules, interval, arguments.groups)
                    rounds = [pair.round(text, arguments.rules) for _ in range(arguments.rounds)]
                    rates = [statistics.median(r[1][who] for r in rounds) for who in (0, 1)]
                    expected = arguments.rules / interval
                    if min(rates) < 0.8 * expected:
                        raise peers.Failed(f"{kind.name}: {rates} evaluations a second instead of {expected}")
                    name = f"{arguments.rules:,} rules over {series:,} series, {kind.text}"
                    row(f"{name}: CPU of an evaluation", *(statistics.median(r[0][who] for r in rounds) for who in (0, 1)), "us")
                    row(f"{name}: RSS", *(rounds[-1][2][who] for who in (0, 1)), "MB")
            finally:
                pair.stop()
    server.shutdown()


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", default=os.path.join(ROOT, "target/dist/outrigger"))
    options.add_argument("--prometheus", default="/usr/bin/prometheus")
    options.add_argument("--series", default="500,10000", type=lambda text: [int(n) for n in text.split(",")])
    options.add_argument("--kinds", default="one_series,rate,sum", type=lambda text: text.split(","))
    options.add_argument("--rules", type=int, default=1_000)
    options.add_argument("--groups", type=int, default=10)
    options.add_argument("--interval", type=int, default=2, help="seconds between evaluations")
    options.add_argument("--scrape", type=int, default=5, help="seconds between scrapes")
    options.add_argument("--seconds", type=int, default=20, help="how long each measurement takes")
    options.add_argument("--rounds", type=int, default=3)
    compare(options.parse_args())


if __name__ == "__main__":
    peers.main(check)
