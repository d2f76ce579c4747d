#!/usr/bin/env python3
"""A real Prometheus and promtool against the live exporter.

`promtool check metrics` lints the text format: what it says of our names it must say of node_exporter's too.
Then Prometheus scrapes, every second for a minute: Outrigger as it asks by itself (OpenMetrics), Outrigger through
a small proxy that asks for text, and node_exporter. No scrape may fail, no sample may be a duplicate or out of
order, and every metric name in dashboard_metrics.txt that Prometheus has from node_exporter it must have from
Outrigger too.
"""

import argparse
import http.server
import json
import os
import subprocess
import tempfile
import threading
import urllib.parse

import peers
from peers import Failed

SECONDS = 60
# Debian's defaults are not node_exporter's, and 1.12 shows more than 1.5 by default.
FLAGS = ["--collector.netdev.device-exclude=^$", "--collector.netstat.fields=.*", "--collector.vmstat.fields=.*"]
# Containers that happen to run here have cAdvisor's names, of which the linter finds other things than of node_exporter's.
OWN_FLAGS = [*FLAGS, "--no-collector.container"]
DEFECTS = [
    "prometheus_target_scrapes_sample_duplicate_timestamp_total",
    "prometheus_target_scrapes_sample_out_of_order_total",
    "prometheus_target_scrapes_sample_out_of_bounds_total",
    "prometheus_target_scrapes_exceeded_sample_limit_total",
    "prometheus_target_scrapes_exceeded_body_size_limit_total",
]


def text_proxy(target_port):
    """A server that forwards GET /metrics with `Accept` replaced by the text format."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = peers.get(target_port, self.path, {"Accept": peers.TEXT})
            self.send_response(status)
            self.send_header("Content-Type", headers.get("Content-Type", headers.get("content-type", "")))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def promtool(exporter):
    """(exit code, set of lines) of promtool's linter on one scrape."""
    run = subprocess.run(
        ["promtool", "check", "metrics"], input=exporter.scrape(), capture_output=True, text=True, check=False
    )
    return run.returncode, {line for line in (run.stdout + run.stderr).splitlines() if line.strip()}


def lint(ours, theirs):
    """The text must parse, and the linter find nothing but what it finds in node_exporter's own names."""
    (code, said), (_, expected) = promtool(ours), promtool(theirs)
    new = sorted(said - expected)
    # 3: only style findings; 1: the text does not parse.
    if new or code not in (0, 3):
        raise Failed(f"promtool check metrics ({code}):\n  " + "\n  ".join(new or sorted(said)))
    print(f"promtool check metrics: parses; {len(said)} style findings, all on node_exporter's own names")


class Prometheus(peers.Process):
    """A Prometheus with its data in a folder of its own."""

    def __init__(self, folder, targets):
        jobs = "".join(
            f"  - job_name: {name}\n    static_configs: [{{ targets: ['127.0.0.1:{port}'] }}]\n"
            for name, port in targets.items()
        )
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(f"global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n{jobs}")
        self.port = peers.free_port()
        super().__init__(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
        )

    def query(self, expression):
        """[(labels, value)] of an instant query."""
        path = "/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        answer = json.loads(peers.get(self.port, path)[2])
        if answer["status"] != "success":
            raise Failed(f"{expression}: {answer}")
        return [(r["metric"], float(r["value"][1])) for r in answer["data"]["result"]]

    def number(self, expression):
        """The only value of an instant query."""
        rows = self.query(expression)
        if len(rows) != 1:
            raise Failed(f"{expression}: {len(rows)} results\n{self.log()}")
        return rows[0][1]

    def own(self, name):
        """One of its own counters."""
        return sum(peers.parse(peers.get(self.port, "/metrics")[2].decode())[name][1].values())


def scrape_for_a_minute(prometheus, jobs):
    ours = [job for job in jobs if job != "node_exporter"]
    done = f'min(count_over_time(up[5m])) >= {SECONDS}'
    peers.wait_for(lambda: prometheus.query(done), f"{SECONDS} scrapes of each target", SECONDS * 2, prometheus)
    findings = []
    for job in ours:
        at_least = prometheus.number(f'min_over_time(up{{job="{job}"}}[5m])')
        if at_least != 1:
            health = json.loads(peers.get(prometheus.port, "/api/v1/targets")[2])["data"]["activeTargets"]
            errors = [t["lastError"] for t in health if t["labels"]["job"] == job]
            findings.append(f"{job}: a scrape failed: {errors}")
        scrapes = prometheus.number(f'count_over_time(up{{job="{job}"}}[5m])')
        samples = prometheus.number(f'max_over_time(scrape_samples_scraped{{job="{job}"}}[5m])')
        slowest = prometheus.number(f'max_over_time(scrape_duration_seconds{{job="{job}"}}[5m])')
        print(f"{job}: {scrapes:.0f} scrapes, {samples:.0f} samples, slowest {slowest * 1000:.0f} ms")
    findings += [f"{name} is {prometheus.own(name):.0f}" for name in DEFECTS if prometheus.own(name) != 0]
    if "level=warn" in prometheus.log(1 << 20) or "level=error" in prometheus.log(1 << 20):
        lines = [l for l in prometheus.log(1 << 20).splitlines() if "level=warn" in l or "level=error" in l]
        findings.append("Prometheus complains:\n    " + "\n    ".join(lines[:10]))
    return findings


def dashboard(prometheus):
    """Names of the Node Exporter Full dashboard that node_exporter fills and we do not."""
    with open(os.path.join(peers.HERE, "dashboard_metrics.txt"), encoding="utf-8") as f:
        names = [line.strip() for line in f if line.strip() and not line.startswith("#")]
    filled = {"node_exporter": set(), "outrigger": set(), "outrigger_text": set()}
    for labels, _ in prometheus.query('count by (__name__, job) ({job=~".+"})'):
        filled[labels["job"]].add(labels["__name__"])
    findings = []
    for job in ("outrigger", "outrigger_text"):
        missing = [n for n in names if n in filled["node_exporter"] and n not in filled[job]]
        if missing:
            findings.append(f"{job} does not fill: {', '.join(missing)}")
    print(f"dashboard: {sum(n in filled['outrigger'] for n in names)} of {len(names)} names filled, "
          f"{sum(n in filled['node_exporter'] for n in names)} by node_exporter")
    return findings


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    options.add_argument("--node-exporter", default="prometheus-node-exporter")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, \
            peers.start_outrigger(arguments.outrigger, OWN_FLAGS) as ours, \
            peers.start_node_exporter(arguments.node_exporter, FLAGS) as theirs:
        lint(ours, theirs)
        proxy = text_proxy(ours.port)
        jobs = {"outrigger": ours.port, "outrigger_text": proxy.server_address[1], "node_exporter": theirs.port}
        with Prometheus(folder, jobs) as prometheus:
            ready = lambda: peers.get(prometheus.port, "/-/ready")[0] == 200
            peers.wait_for(ready, "start of Prometheus", 30, prometheus)
            findings = scrape_for_a_minute(prometheus, jobs) + dashboard(prometheus)
        proxy.shutdown()
        if findings:
            raise Failed("\n  ".join(findings))


if __name__ == "__main__":
    peers.main(check)
