#!/usr/bin/env python3
"""The same rule file in a real Prometheus and in Outrigger, over the same target, for a minute.

Both evaluate at the same instants, so that samples can be compared one by one. A target that changes is seen by one a
scrape earlier than by the other: within an evaluation around a change they may differ. Halfway Outrigger is killed with
SIGKILL and started again; alerts must go on as if nothing had happened, but for the evaluations that were missed.

Compared: instants and values of recorded series; ALERTS and ALERTS_FOR_STATE, and with them states and `activeAt`; health
and errors of rules; the text of /api/v1/rules and /api/v1/alerts but for times.

`--minutes 60` runs the long form instead: many more rules, reloads, kills of both; see rules_hour.py.
"""

import argparse
import http.server
import json
import os
import re
import signal
import tempfile
import threading
import time
import urllib.parse

import peers
from peers import Failed

INTERVAL = 2
PHASE = 10
# What the two series of the target show, phase by phase.
PHASES = [(0, 0), (5, 0), (5, 8), (0, 8), (6, 0), (0, 0)]
RULES = f"""
groups:
- name: recording
  interval: {INTERVAL}s
  rules:
  - record: job:v:sum
    expr: sum by(job)(v)
  - record: job:v:double
    expr: job:v:sum * 2
    labels: {{kind: doubled, job: ""}}
  - record: v:above
    expr: v > 4
  - record: broken
    expr: v * on() group_left() (v or up)
  - record: same
    expr: v
    labels: {{i: same}}
- name: alerting
  interval: {INTERVAL}s
  rules:
  - alert: AtOnce
    expr: v > 4
    labels: {{severity: page}}
    annotations: {{summary: a text}}
  - alert: AfterSome
    expr: v > 4
    for: 6s
  - alert: Kept
    expr: v > 4
    for: 2s
    keep_firing_for: 8s
  - alert: Number
    expr: 7
  - alert: Quiet
    expr: nothing > 0
  - alert: SameTwice
    expr: v >= 0
    labels: {{i: same}}
- name: limited
  interval: {INTERVAL}s
  limit: 1
  rules:
  - alert: TooMany
    expr: v >= 0
  - record: too:many
    expr: v
"""
SERIES = ["job:v:sum", "job:v:double", "v:above", "ALERTS", "ALERTS_FOR_STATE"]


class Target:
    """Serves the two series as they are now."""

    def __init__(self):
        self.began = None
        target = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                values = target.values()
                body = "".join(f'v{{i="{i}"}} {value}\n' for i, value in zip("ab", values)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def phase(self):
        return 0 if self.began is None else int((time.time() - self.began) // PHASE)

    def values(self):
        return PHASES[min(self.phase(), len(PHASES) - 1)]


def config(folder, target):
    """The keys that both understand."""
    return (
        f"global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: {INTERVAL}s}}\n"
        f"rule_files: ['{folder}/rules.yml']\n"
        f"scrape_configs: [{{job_name: target, static_configs: [{{targets: ['127.0.0.1:{target.port}']}}]}}]\n"
    )


def api(port, path, **parameters):
    answer = json.loads(peers.get(port, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")[2])
    if answer["status"] != "success":
        raise Failed(f"{path} {parameters}: {answer}")
    return answer["data"]


def samples(port, name, at):
    """{labels: {instant in ms: value}} of the last two minutes."""
    found = api(port, "query", query=f"{name}[2m]", time=at)["result"]
    return {
        tuple(sorted(series["metric"].items())): {round(float(t) * 1000): float(v) for t, v in series["values"]}
        for series in found
    }


def text_without_times(port, path):
    """An answer as it is, times and durations replaced; alerts in an order of their own."""
    text = peers.get(port, f"/api/v1/{path}")[2].decode()
    text = re.sub(r'"\d{4}-[^"]*Z"', '"TIME"', text)
    text = re.sub(r'"evaluationTime":[0-9.e-]+', '"evaluationTime":0', text)
    # Since 3.0 a group of which no rule was asked for is not shown.
    text = re.sub(r'\{"name":"[^"]*","file":"[^"]*","rules":\[\],[^{}]*\},?', "", text).replace("},]", "}]")
    # Prometheus shows them in any order, and names the culprits of a failed query in any order.
    alerts = re.compile(r'(\{"labels":\{[^{}]*\},"annotations":\{[^{}]*\},"state":[^{}]*\})(?:,|$)')
    text = re.sub(r'"alerts":\[([^\]]*)\]', lambda m: '"alerts":[' + ",".join(sorted(alerts.findall(m[1]))) + "]", text)
    return re.sub(r'"lastError":"((?:found duplicate series|multiple matches)[^\[:]*)[^"\\]*(?:\\.[^"\\]*)*"', r'"lastError":"\1"', text)


def compare(theirs, ours, name, window, down):
    """What is not the same beyond an evaluation; counts what is."""
    findings, same = [], 0
    step = INTERVAL * 1000
    missed = lambda t: down[0] - step <= t <= down[1] + step
    within = lambda t: window[0] <= t <= window[1] and not missed(t)
    for labels in sorted(theirs.keys() | ours.keys()):
        a, b = theirs.get(labels, {}), ours.get(labels, {})
        for t in sorted(t for t in a.keys() | b.keys() if within(t)):
            shown = f"{name}{dict(labels)} at {t}"
            near = [other.get(t + d) for other in (a, b) for d in (-step, 0, step)]
            if t not in a or t not in b:
                other = b if t in a else a
                if not any(t + d in other or missed(t + d) for d in (-step, step)):
                    findings.append(f"{shown}: Prometheus {a.get(t)}, Outrigger {b.get(t)}")
            elif name == "ALERTS_FOR_STATE":
                same += 1
                if abs(a[t] - b[t]) > INTERVAL:
                    findings.append(f"{shown}: active since {a[t]} there, {b[t]} here")
            elif a[t] != b[t] and len({v for v in near if v is not None}) < 2:
                findings.append(f"{shown}: {a[t]} there, {b[t]} here")
            elif a[t] == b[t]:
                same += 1
            elif not any(near[0:3][i] == b[t] or near[3:6][i] == a[t] for i in range(3)):
                findings.append(f"{shown}: {a[t]} there, {b[t]} here, and no neighbour is the same")
    return findings, same


def compare_all(theirs, ours, window, down, now):
    findings = []
    for name in SERIES:
        a, b = samples(theirs.port, name, now), samples(ours.port, name, now)
        found, same = compare(a, b, name, window, down)
        findings += found
        # One of them scrapes the target before the other, and so has its first results an evaluation earlier.
        first = window[0] + 2 * INTERVAL * 1000
        instants = lambda all_: {t for series in all_.values() for t in series if first <= t <= window[1]}
        if instants(b) - instants(a):
            findings.append(f"{name}: evaluated at instants that Prometheus has not: {sorted(instants(b) - instants(a))[:5]}")
        if not same:
            findings.append(f"{name}: nothing to compare")
        print(f"{name}: {len(a)} series there, {len(b)} here; {same} samples the same; "
              f"{len(instants(b))} of {len(instants(a))} instants")
    return findings


def compare_texts(theirs, ours):
    findings = []
    for path in ("rules", "alerts", "rules?type=alert", "rules?type=record"):
        a, b = text_without_times(theirs.port, path), text_without_times(ours.port, path)
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            findings.append(f"/api/v1/{path}:\n    there ...{a[max(0, at - 60):at + 120]}\n    here  ...{b[max(0, at - 60):at + 120]}")
        else:
            print(f"/api/v1/{path}: {len(a)} bytes, the same but for times")
    return findings


class Outrigger(peers.Exporter):
    def __init__(self, binary, folder, port):
        command = [binary, f"--config.file={folder}/outrigger.yml", f"--web.listen-address=127.0.0.1:{port}",
                   "--collector.disable-defaults"]
        super().__init__(command, port, "/-/ready")

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()


def run(binary, folder, target):
    port = peers.free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
               f"--web.listen-address=127.0.0.1:{port}"]
    with peers.Exporter(command, port, "/-/ready") as theirs:
        ours = Outrigger(binary, folder, peers.free_port())
        try:
            # Prometheus writes ALERTS from its third evaluation on.
            started = lambda p: len(api(p.port, "query", query="ALERTS[1m]")["result"]) > 0
            peers.wait_for(lambda: started(theirs) and started(ours), "first alerts", 40, theirs)
            target.began = time.time()
            window = [target.began * 1000]
            # While both series fire and one alert is pending.
            peers.wait_for(lambda: target.phase() == 2 and (time.time() - target.began) % PHASE > 3, "phase 2", 40)
            down = [time.time() * 1000]
            ours.kill()
            ours = Outrigger(binary, folder, ours.port)
            down.append(time.time() * 1000)
            peers.wait_for(lambda: target.phase() == 4 and (time.time() - target.began) % PHASE > 8, "phase 4", 60)
            findings = compare_texts(theirs, ours)
            peers.wait_for(lambda: target.phase() == len(PHASES), "the end", 60)
            now = time.time()
            window.append((now - INTERVAL - 1) * 1000)
            findings += compare_all(theirs, ours, window, down, now)
            if any(alert["state"] == "pending" for alert in api(ours.port, "alerts")["alerts"]):
                findings.append("an alert is pending at the end")
            print(f"down for {(down[1] - down[0]) / 1000:.1f} s after SIGKILL")
            missed = [line for line in ours.log(1 << 20).splitlines() if "panicked" in line or "level=error" in line]
            findings += missed
        finally:
            ours.stop()
        if findings:
            raise Failed("\n  ".join(findings[:20]) + f"\n  {len(findings)} findings\n" + ours.log())


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    options.add_argument("--minutes", type=float, help="run the long form, for so long")
    arguments = options.parse_args()
    if arguments.minutes:
        import rules_hour  # which uses what stands here
        with tempfile.TemporaryDirectory() as folder:
            return rules_hour.run(arguments.outrigger, folder, arguments.minutes)
    target = Target()
    with tempfile.TemporaryDirectory() as folder:
        def write(name, text):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)

        write("rules.yml", RULES)
        write("prometheus.yml", config(folder, target))
        write("outrigger.yml", config(folder, target) + f"builtin_rules: {{enabled: false}}\nstorage: {{path: '{folder}/store'}}\n")
        run(arguments.outrigger, folder, target)
    target.server.shutdown()


if __name__ == "__main__":
    peers.main(check)
