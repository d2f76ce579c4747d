#!/usr/bin/env python3
"""Outrigger and Prometheus with the same data, side by side on this machine: ingestion, memory, disk, reopening, queries.

Three parts. Ingestion: both scrape one target of 10,000 series every second. History: both are filled from one
OpenMetrics file (`outrigger tsdb import`, `promtool tsdb create-blocks-from`) and answer the same queries; answers
are compared before they are timed. Long range: one error ratio over 30 days.

CPU is user and system time of the whole process from /proc/PID/stat. A query is asked until it has cost both half a
second, in turns; the median of the turns counts.
"""

import argparse
import collections
import http.client
import http.server
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "peers")]
sys.dont_write_bytecode = True
import data  # noqa: E402
import peers  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
HOUR, DAY = 3600, 86400
Query = collections.namedtuple("Query", "name expression window step")
DASHBOARD = [
    Query("requests a second by code", 'sum by (code) (rate(http_requests_total[5m]))', HOUR, 15),
    Query("requests a second by path, 6 h", 'sum by (path) (rate(http_requests_total[5m]))', 6 * HOUR, 60),
    Query("share of errors", 'sum(rate(http_requests_total{code=~"5.."}[5m])) / sum(rate(http_requests_total[5m]))', HOUR, 15),
    Query("p99 latency", 'histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))', HOUR, 15),
    Query("p90 latency by path", 'histogram_quantile(0.9, sum by (path, le) (rate(http_request_duration_seconds_bucket[5m])))', HOUR, 60),
    Query("CPU use by host", '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))', HOUR, 15),
    Query("CPU by mode of one host", 'sum by (mode) (rate(node_cpu_seconds_total{instance="10.0.0.3:9100"}[1m]))', HOUR, 15),
    Query("memory of the largest pods", 'topk(5, container_memory_working_set_bytes)', HOUR, 60),
    Query("memory by namespace", 'sum by (namespace) (container_memory_working_set_bytes)', 6 * HOUR, 60),
    Query("highest memory in an hour", 'max by (instance) (max_over_time(node_memory_bytes[1h]))', HOUR, 60),
]
BY_LABEL = Query("sum(rate(x[5m])) by (l), 1,000 series", "sum(rate(http_requests_total[5m])) by (instance)", HOUR, 15)
BUDGET = 'sum(increase(requests_total{code="500"}[30d])) / sum(increase(requests_total[30d]))'


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(process):
    return process.status("VmRSS") / 1024


def disk_bytes(folder):
    """What the files take on the disk; both make some longer than what is in them."""
    paths = (os.path.join(base, name) for base, _, names in os.walk(folder) for name in names)
    return sum(os.stat(path).st_blocks * 512 for path in paths)


def row(what, ours, theirs, unit, digits=2):
    ratio = f"{theirs / ours:.1f}" if ours and theirs else ""
    shown = [f"{v:.{digits}f} {unit}".strip() if v is not None else "" for v in (ours, theirs)]
    print(f"| {what} | {shown[0]} | {shown[1]} | {ratio} |", flush=True)


def outrigger(binary, folder, config, retention="100d"):
    """With the same configuration, but without the rules that only it brings along."""
    port = peers.free_port()
    own = f"{config}.outrigger.yml"
    with open(config, encoding="utf-8") as given, open(own, "w", encoding="utf-8") as f:
        f.write("builtin_rules: {enabled: false}\n" + given.read())
    flags = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={folder}", f"--storage.retention={retention}",
             f"--storage.retention-selected={retention}", "--storage.max-size=100GiB", "--collector.disable-defaults",
             f"--config.file={own}"]
    return peers.Exporter([binary, *flags], port, "/-/ready")


def prometheus(binary, folder, config):
    port = peers.free_port()
    return peers.Exporter([binary, f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder}",
                           "--storage.tsdb.retention.time=100y", f"--config.file={config}"], port, "/-/ready")


class Target(http.server.BaseHTTPRequestHandler):
    """Shows the series; their values move on once a second."""

    protocol_version = "HTTP/1.1"
    body, made_at, series = b"", 0, []
    lock = threading.Lock()

    def do_GET(self):
        with Target.lock:
            now = int(time.monotonic())
            if now != Target.made_at:
                lines = [f"{series} {next(values)}\n" for series, values in Target.series]
                Target.body, Target.made_at = "".join(lines).encode(), now
            body = Target.body
        self.send_response(200)
        self.send_header("Content-Type", peers.TEXT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def scrape_config(port, extra=""):
    return (f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n"
            f"  - job_name: app\n    honor_labels: true\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n{extra}")


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def ask(process, path, parameters):
    """The answer's data; anything but success is a failure."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=300)
    try:
        connection.request("POST", path, urllib.parse.urlencode(parameters),
                           {"Content-Type": "application/x-www-form-urlencoded"})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise peers.Failed(f"{process.command[0]}: {path} {parameters}: {response.status} {body[:300]!r}")
    return json.loads(body)["data"]["result"]


def scraped_samples(process):
    found = ask(process, "/api/v1/query", {"query": 'sum(sum_over_time(scrape_samples_scraped{job="app"}[1h]))'})
    return float(found[0]["value"][1]) if found else 0.0


def ingestion(arguments, work):
    """CPU a sample, memory while scraping, and the time from a start after SIGKILL to the first answer."""
    Target.series = list(data.all_series(arguments.scale))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = write(work, "scrape.yml", scrape_config(server.server_address[1]))
    folders = [os.path.join(work, name) for name in ("live-ours", "live-theirs")]
    starts = [lambda: outrigger(arguments.outrigger, folders[0], config),
              lambda: prometheus(arguments.prometheus, folders[1], config)]
    running = [start() for start in starts]
    try:
        for process in running:
            peers.wait_for(lambda p=process: scraped_samples(p) > 10 * len(Target.series), "ten scrapes", 60, process)
        before = [(cpu_seconds(p.pid), scraped_samples(p)) for p in running]
        time.sleep(arguments.seconds)
        after = [(cpu_seconds(p.pid), scraped_samples(p)) for p in running]
        spent = [(a[0] - b[0]) * 1e6 / (a[1] - b[1]) for a, b in zip(after, before)]
        print(f"| series; samples ingested by each | {len(Target.series)} | {after[0][1]:.0f}, {after[1][1]:.0f} | |")
        row("CPU of an ingested sample, scrape included", *spent, "us")
        row("RSS while scraping", *map(rss_mb, running), "MB", 1)
        reopened = []
        for place, process in enumerate(running):
            os.kill(process.pid, signal.SIGKILL)
            process.child.wait()
            began = time.monotonic()
            running[place] = starts[place]()
            peers.wait_for(lambda p=running[place]: scraped_samples(p) > 0, "history after SIGKILL", 120, running[place])
            reopened.append(time.monotonic() - began)
        row("from a start after SIGKILL to the first answer from history", *reopened, "s")
    finally:
        for process in running:
            process.stop()
        server.shutdown()


def load(arguments, work, name, rows, start, steps):
    """Both filled from one file: (folders, samples)."""
    source = os.path.join(work, f"{name}.om")
    samples = data.write_openmetrics(source, rows, start, steps)
    folders = [os.path.join(work, f"{name}-{who}") for who in ("ours", "theirs")]
    commands = [[arguments.outrigger, "tsdb", "import", folders[0], source],
                [arguments.promtool, "tsdb", "create-blocks-from", "--max-block-duration=24h", "openmetrics", source, folders[1]]]
    seconds = []
    for command in commands:
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise peers.Failed(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        seconds.append(time.monotonic() - began)
    os.remove(source)
    row(f"{name}: filling from a file of {samples / 1e6:.1f} M samples", *seconds, "s", 1)
    return folders, samples


def comparable(result):
    """An answer as {labels: [values]} with what two orders of summation may change rounded away."""
    def shown(points):
        return [(at, None if math.isnan(float(v)) else float(f"{float(v):.9e}")) for at, v in points]
    return {json.dumps(s["metric"], sort_keys=True): shown(s.get("values") or [s["value"]]) for s in result}


def turn(process, path, parameters, seconds):
    """(CPU, wall) milliseconds of a query, asked until it has cost `seconds` of CPU."""
    before, began, asked = cpu_seconds(process.pid), time.monotonic(), 0
    while True:
        ask(process, path, parameters)
        asked += 1
        spent = cpu_seconds(process.pid) - before
        if spent >= seconds or time.monotonic() - began > 60:
            return spent * 1000 / asked, (time.monotonic() - began) * 1000 / asked


def time_query(running, name, path, parameters, arguments):
    answers = [comparable(ask(p, path, parameters)) for p in running]
    same = answers[0] == answers[1]
    turns = [[turn(p, path, parameters, arguments.query_seconds) for p in running] for _ in range(arguments.turns)]
    cpu = [statistics.median(t[who][0] for t in turns) for who in (0, 1)]
    wall = [statistics.median(t[who][1] for t in turns) for who in (0, 1)]
    row(name, *cpu, "ms")
    return {"name": name, "same": same, "wall": wall, "ratio": cpu[1] / cpu[0], "answers": answers}


def part(arguments, work, name, rows, steps, queries):
    """Fills both, says what it takes on disk and in memory, times the queries."""
    end = int(time.time()) // (2 * HOUR) * 2 * HOUR
    start = end - steps * data.STEP_SECONDS
    folders, samples = load(arguments, work, name, rows, start, steps)
    config = write(work, "none.yml", "scrape_configs: []\n")
    with outrigger(arguments.outrigger, folders[0], config) as ours, prometheus(arguments.prometheus, folders[1], config) as theirs:
        running = (ours, theirs)
        row(f"{name}: disk", *(disk_bytes(f) / samples for f in folders), "B/sample")
        last = start + (steps - 1) * data.STEP_SECONDS
        timed = [time_query(running, *queries_of(q, last), arguments) for q in queries]
        row(f"{name}: RSS after these queries", *map(rss_mb, running), "MB", 1)
    for folder in folders:
        shutil.rmtree(folder)
    different = [t["name"] for t in timed if not t["same"]]
    for found in (t for t in timed if not t["same"]):
        ours, theirs = found["answers"]
        keys = [k for k in set(ours) | set(theirs) if ours.get(k) != theirs.get(k)]
        key = sorted(keys)[0]
        pairs = [p for p in zip(ours.get(key, []), theirs.get(key, [])) if p[0] != p[1]][:2]
        print(f"{found['name']}: {len(keys)} of {len(ours)} series differ, first {key}: {pairs or 'only one has it'}", file=sys.stderr)
    print(f"| {name}: queries with the same answer | {len(timed) - len(different)} of {len(timed)} | | "
          f"median {statistics.median(t['ratio'] for t in timed):.1f} |", flush=True)
    if different:
        raise peers.Failed(f"answers differ: {', '.join(different)}")


def queries_of(query, last):
    """A query's name, path and parameters. Instants lie between samples: ranges are left-open since Prometheus 3."""
    at = last - 7
    if query.window == 0:
        return query.name, "/api/v1/query", {"query": query.expression, "time": at}
    return query.name, "/api/v1/query_range", {"query": query.expression, "start": at - query.window, "end": at, "step": query.step}


def compare(arguments):
    print(f"| what | Outrigger | Prometheus | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="versus-prometheus-") as work:
        if "ingest" in arguments.parts:
            ingestion(arguments, work)
        if "history" in arguments.parts:
            steps = arguments.hours * HOUR // data.STEP_SECONDS
            part(arguments, work, f"{arguments.hours} h of 10,000 series", data.families(arguments.scale), steps, [*DASHBOARD, BY_LABEL])
        if "budget" in arguments.parts:
            rows = [("requests_total", "counter", [(f'code="{code}",instance="i{i}"', data.counter(low, high))
                                                    for i in range(2) for code, low, high in ((200, 50, 150), (404, 0, 5), (500, 0, 2))])]
            part(arguments, work, "30 d of one family", rows, arguments.days * DAY // data.STEP_SECONDS, [Query("error ratio over 30 days", BUDGET, 0, 0)])


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", default=os.path.join(ROOT, "target/dist/outrigger"))
    options.add_argument("--prometheus", default="/usr/bin/prometheus")
    options.add_argument("--promtool", default="/usr/bin/promtool")
    options.add_argument("--parts", default="ingest,history,budget", type=lambda text: text.split(","))
    options.add_argument("--scale", type=int, default=20, help="500 series each")
    options.add_argument("--seconds", type=int, default=60, help="how long ingestion is measured")
    options.add_argument("--hours", type=int, default=24)
    options.add_argument("--days", type=int, default=30)
    options.add_argument("--turns", type=int, default=3)
    options.add_argument("--query-seconds", type=float, default=0.3)
    compare(options.parse_args())


if __name__ == "__main__":
    peers.main(check)
