#!/usr/bin/env python3
"""`outrigger backtest` beside Prometheus's own evaluator: every state of every alert, minute by minute.

Random values, one a minute, go into an OpenMetrics file and, as input series, into `promtool test rules`. The states that
backtest finds become what promtool is to expect of `ALERTS` at each minute; it must agree with all of them, and must not
once a single state is turned round. Backtest evaluates at the group's own second of the minute, where the value is the
same.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile
from datetime import datetime

import peers
from peers import Failed

MINUTES = 240
START = 1767225600
RULES = """groups:
- name: g
  interval: 1m
  rules:
  - {record: 'host:v:max', expr: 'max by (host) (v)'}
  - {alert: AtOnce, expr: 'v > 50', labels: {severity: page}}
  - {alert: AfterSome, expr: 'host:v:max > 40', for: 3m}
  - {alert: Kept, expr: 'v > 60', for: 2m, keep_firing_for: 4m}
  - {alert: Counted, expr: 'count(ALERTS{alertname="AtOnce"}) > 1', for: 1m}
  - {alert: Gone, expr: 'absent(v{host="c"} > 40)', for: 3m}
"""


def values():
    """Host -> a value for each minute; values wander, so that alerts last."""
    dice = random.Random(7)
    found = {}
    for host in "abc":
        value, row = 50.0, []
        for _ in range(MINUTES + 1):
            value = min(100, max(0, value + dice.uniform(-15, 15)))
            row.append(round(value, 1))
        found[host] = row
    return found


def backtest(outrigger, folder, found):
    lines = ["# TYPE v gauge"]
    for host, row in found.items():
        lines += [f'v{{host="{host}"}} {v} {START + m * 60}' for m, v in enumerate(row)]
    (folder / "v.om").write_text("\n".join([*lines, "# EOF", ""]))
    command = [outrigger, "backtest", folder / "r.yml", "--openmetrics", folder / "v.om", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode or done.stderr:
        raise Failed(f"backtest: {done.returncode} {done.stderr}")
    return json.loads(done.stdout)["variants"][0]


def states(run):
    """Minute -> the series of ALERTS."""
    minute = lambda text: int((datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() - START) // 60)
    found = {m: [] for m in range(MINUTES)}
    for series in (series for alert in run["alerts"] for series in alert["series"]):
        for span in series["spans"]:
            labels = ",".join(f'{k}="{v}"' for k, v in {**series["labels"], "alertstate": span["state"]}.items())
            end = MINUTES if span["open"] else minute(span["to"])
            for at in range(minute(span["from"]), end):
                found[at].append(f"ALERTS{{{labels}}}")
    return found


def promtool(folder, found, expected):
    text = ["rule_files: [r.yml]", "evaluation_interval: 1m", "tests:", "- interval: 1m", "  input_series:"]
    for host, row in found.items():
        shown = " ".join(map(str, row))
        text.append(f"  - {{series: 'v{{host=\"{host}\"}}', values: '{shown}'}}")
    text.append("  promql_expr_test:")
    for at, series in expected.items():
        samples = ", ".join(f"{{labels: '{one}', value: 1}}" for one in series)
        text.append(f"  - {{expr: ALERTS, eval_time: {at}m, exp_samples: [{samples}]}}")
    (folder / "t.yml").write_text("\n".join(text) + "\n")
    command = ["promtool", "test", "rules", "t.yml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def check():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outrigger", required=True)
    outrigger = str(pathlib.Path(parser.parse_args().outrigger).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "r.yml").write_text(RULES)
        found = values()
        expected = states(backtest(outrigger, folder, found))
        count = sum(map(len, expected.values()))
        firing = sum('alertstate="firing"' in one for series in expected.values() for one in series)
        if not 200 < firing < count:
            raise Failed(f"too little happens: {firing} of {count} states firing")
        done = promtool(folder, found, expected)
        if done.returncode:
            raise Failed(f"promtool disagrees:\n{done.stdout}{done.stderr}")
        at = next(at for at, series in expected.items() if series)
        turned = {**expected, at: [one.replace("firing", "pending") for one in expected[at][1:]]}
        if not promtool(folder, found, turned).returncode:
            raise Failed("promtool agrees with what is wrong")
        print(f"backtest: {count} states, {firing} of them firing, over {MINUTES} minutes as in Prometheus's evaluator")


if __name__ == "__main__":
    peers.main(check)
