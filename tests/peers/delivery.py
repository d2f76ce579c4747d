#!/usr/bin/env python3
"""What is posted at /api/v1/events, as the rules on delivery read it: by Outrigger itself and by a Prometheus that
scrapes it. The four measures must come out as they were posted, in both, and survive `kill -9`; an acknowledged alert is
acknowledged after it. `promtool check metrics` has nothing to say about the series.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time
import urllib.parse

import peers
from peers import Failed

CONFIG = """global: {scrape_interval: 1s, evaluation_interval: 1s}
storage: {path: DIR}
builtin_rules: {enabled: false}
collect: {history_interval: 1s}
rule_files: [r.yml]
"""
RULES = "groups: [{name: g, interval: 1s, rules: [{alert: Down, expr: 'vector(1)'}]}]\n"

# What it gives, and how exact: an increase is extrapolated to the ends of what there is.
QUERIES = [
    ("sum by (service) (increase(outrigger_delivery_deployments_total[1h]))", 5, 0.25),
    ('sum(increase(outrigger_delivery_deployments_total{outcome="failure"}[1h]))'
     " / sum(increase(outrigger_delivery_deployments_total[1h]))", 0.2, 1e-9),
    ("histogram_quantile(0.5, sum by (service, le) (increase(outrigger_delivery_lead_time_seconds_bucket[1h])))",
     9000, 1e-6),
    ("sum(increase(outrigger_delivery_recovery_time_seconds_sum[1h]))"
     " / sum(increase(outrigger_delivery_recovery_time_seconds_count[1h]))", 1200, 1e-6),
    ("time() - min by (service, environment) (outrigger_delivery_incident_start_timestamp_seconds) > 3600", 7350, 150),
    ("time() - max by (service, environment) (outrigger_delivery_last_deployment_timestamp_seconds) < 1000", 300, 300),
]


def run(*command, stdin=None):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, input=stdin)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {done.returncode} {done.stderr}")
    return done.stdout


def ask(port, query):
    """The one value of an instant query; None without a series."""
    status, _, body = peers.get(port, "/api/v1/query?query=" + urllib.parse.quote(query))
    result = json.loads(body)
    if status != 200:
        raise Failed(f"{query}: {result}")
    values = [float(series["value"][1]) for series in result["data"]["result"]]
    return values[0] if len(values) == 1 else None


def prometheus(folder, target):
    port = peers.free_port()
    scrape = {"job_name": "o", "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    (folder / "prometheus.yml").write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
    return peers.Exporter(
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
         f"--web.listen-address=127.0.0.1:{port}"], port, "/-/ready")


def post(outrigger, url):
    now = int(time.time())
    tell = lambda *arguments: run(outrigger, "events", "add", *arguments, f"--url={url}")
    place = ("--service=shop", "--environment=prod")
    for name, lead in (("a", 3600), ("b", 14400), ("c", 14400), ("d", 86400)):
        tell("deployment", f"--id={name}", *place, f"--time={now - 60}", f"--commit-time={now - 60 - lead}")
    if "1 known already" not in tell("deployment", "--id=a", *place, f"--time={now - 60}",
                                     f"--commit-time={now - 3660}"):
        raise Failed("the same deployment counts twice")
    tell("incident", "--id=over", *place, f"--time={now - 1800}")
    tell("incident", "--id=over", f"--end={now - 600}")
    tell("incident", "--id=open", *place, f"--time={now - 7200}")
    # It had to be taken back; another that went well makes up for what had been counted.
    tell("deployment", "--id=d", "--outcome=failure")
    tell("deployment", "--id=e", *place, f"--time={now - 50}")
    run(outrigger, "events", "add", "--file=-", f"--url={url}", stdin='[{"type": "note", "message": "hello"}]')


def compare(ports):
    for query, expected, within in QUERIES:
        for name, port in ports.items():
            found = ask(port, query)
            # Not the other way round: of NaN both are false.
            if found is None or not abs(found - expected) <= within:
                raise Failed(f"{name}: {query} gives {found}, expected {expected}")
            print(f"{name:10} {found:12.3f}  {query}")


def check(outrigger):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "o.yml").write_text(CONFIG.replace("DIR", str(folder / "data")))
        (folder / "r.yml").write_text(RULES)
        flags = [f"--config.file={folder}/o.yml"]
        first = peers.start_outrigger(outrigger, flags)
        url = f"http://127.0.0.1:{first.port}"
        with first:
            with prometheus(folder, first.port) as other:
                post(outrigger, url)
                metrics = first.scrape()
                peers.parse(metrics)
                own = "".join(line + "\n" for line in metrics.splitlines() if "outrigger_delivery" in line)
                told = run("promtool", "check", "metrics", stdin=own)
                if told:
                    raise Failed(f"promtool: {told}")
                total = QUERIES[0][0]
                for port in (first.port, other.port):
                    peers.wait_for(lambda port=port: (ask(port, total) or 0) > 4, "deployments are counted", 150)
                compare({"Outrigger": first.port, "Prometheus": other.port})
            listed = run(outrigger, "events", "list", f"--url={url}")
            run(outrigger, "alert", "ack", "Down", "--by=ann", f"--url={url}")
            first.child.kill()
            first.child.wait()
        with peers.start_outrigger(outrigger, flags) as second:
            url = f"http://127.0.0.1:{second.port}"
            if run(outrigger, "events", "list", f"--url={url}") != listed or listed.count("\n") != 8:
                raise Failed(f"events after kill -9: {listed}")
            if "ann looks after it" not in run(outrigger, "alert", "list", f"--url={url}"):
                raise Failed("the acknowledgement is gone after kill -9")
            compare({"again": second.port})
    print("the four measures, in Outrigger and in Prometheus, before and after kill -9")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--outrigger", required=True)
    peers.main(lambda: check(arguments.parse_args().outrigger))


if __name__ == "__main__":
    main()
