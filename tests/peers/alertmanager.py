#!/usr/bin/env python3
"""Alerts on their way to people: Debian's Alertmanagers and amtool, webhooks, and the log, over kills and restarts.

One Alertmanager wants a password and loses its data on the way; another is killed and comes back empty; three more hang,
fail or close midway. What amtool shows is what the API says. The same alert comes to one receiver from Outrigger's own
webhook and from Alertmanager's: both payloads are compared field by field. Outrigger is killed with SIGKILL while it owes
a notification.
"""

import argparse
import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import warnings

import peers
from peers import Failed

with warnings.catch_warnings():
    # Debian's Python has it, and nothing else that makes bcrypt.
    warnings.simplefilter("ignore", DeprecationWarning)
    import crypt

EXTERNAL = "https://outrigger.example:8443/here"
RULES = """
groups:
- name: hot
  interval: 1s
  rules:
  - alert: Hot
    expr: v > 4
    labels: {severity: high, replica: r1, nothing: '{{ $labels.none }}'}
    annotations:
      summary: '{{ $labels.i }} is at {{ $value }} & <rising>, "{{ $externalLabels.region }}"'
      link: '{{ $externalURL }}/x'
      nothing: '{{ $labels.none }}'
  - alert: Unreadable
    expr: v > 8
    labels: {severity: low}
    annotations: {summary: '{{ template "none" }}'}
"""


class Server:
    """A server of this process, on a port that the kernel chose."""

    def __init__(self, handler):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"]))

    def log_message(self, *_):
        pass


def target():
    """Serves `values`: {instance: value}."""
    values = {"a": 0, "b": 0, "c": 0}

    class Target(Handler):
        def do_GET(self):
            self.answer(200, "".join(f'v{{i="{i}"}} {value}\n' for i, value in values.items()).encode())

    return Server(Target).port, values


class Receiver:
    """Remembers what it took, by path; while `status` is not 200 it takes nothing."""

    def __init__(self):
        self.status, self.refused, self.taken = 200, 0, []
        receiver = self

        class Hook(Handler):
            def do_POST(self):
                body = self.body()
                if receiver.status == 200:
                    receiver.taken.append((self.path, self.headers, body))
                else:
                    receiver.refused += 1
                self.answer(receiver.status)

        self.port = Server(Hook).port

    def payloads(self, path):
        return [json.loads(body, object_pairs_hook=lambda pairs: dict(pairs)) for p, _, body in self.taken if p == path]

    def about(self, path, *told):
        """The payloads whose alerts are exactly these: (instance, status)."""
        wanted = sorted(told)
        shown = lambda payload: sorted((a["labels"].get("i"), a["status"]) for a in payload["alerts"])
        return [payload for payload in self.payloads(path) if shown(payload) == wanted]


def bad_alertmanagers():
    """Ports of one that hangs, one that answers 500, and one that closes midway."""
    class Failing(Handler):
        def do_POST(self):
            self.body()
            self.answer(500, b"no")

    class Closing(Handler):
        def do_POST(self):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            self.close_connection = True

    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(16)
    return [silent.getsockname()[1], Server(Failing).port, Server(Closing).port], silent


class Alertmanager(peers.Exporter):
    def __init__(self, folder, receiver, port, password=None):
        data = tempfile.mkdtemp(dir=folder)
        with open(os.path.join(data, "am.yml"), "w", encoding="utf-8") as f:
            json.dump({
                "route": {"receiver": "ops", "group_by": ["alertname"], "group_wait": "1s", "group_interval": "2s",
                          "repeat_interval": "1h"},
                "receivers": [{"name": "ops", "webhook_configs": [
                    {"url": f"http://127.0.0.1:{receiver.port}/theirs", "send_resolved": True}] if password else []}],
            }, f)
        command = ["prometheus-alertmanager", f"--config.file={data}/am.yml", f"--storage.path={data}",
                   f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
                   f"--web.external-url={EXTERNAL}", "--web.route-prefix=/"]
        user = ""
        if password:
            with open(os.path.join(data, "web.yml"), "w", encoding="utf-8") as f:
                json.dump({"basic_auth_users": {"ann": crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))}}, f)
            command.append(f"--web.config.file={data}/web.yml")
            user = f"ann:{password}@"
        self.amtool_url = f"http://{user}127.0.0.1:{port}"
        self.url = f"http://127.0.0.1:{port}/api/v2/alerts"
        peers.Process.__init__(self, command)
        self.port = port
        peers.wait_for(lambda: self.alerts() is not None, "start of Alertmanager", process=self)

    def alerts(self):
        """What amtool shows, by instance; None while it cannot."""
        done = subprocess.run(["amtool", f"--alertmanager.url={self.amtool_url}", "alert", "query", "-o", "json"],
                              capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            return None
        return {(a["labels"]["alertname"], a["labels"].get("i")): a for a in json.loads(done.stdout)}

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()


class Outrigger(peers.Exporter):
    logs = ""

    def __init__(self, binary, folder):
        port = peers.free_port()
        command = [binary, f"--config.file={folder}/outrigger.yml", f"--web.listen-address=127.0.0.1:{port}",
                   "--collector.disable-defaults", "--collector.min-interval=0s", f"--web.external-url={EXTERNAL}/", "--web.route-prefix=/"]
        super().__init__(command, port, "/-/ready")

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()
        Outrigger.logs += self.log(1 << 20)

    def api(self, path):
        answer = json.loads(peers.get(self.port, f"/api/v1/{path}")[2])
        if answer["status"] != "success":
            raise Failed(f"{path}: {answer}")
        return answer["data"]

    def metric(self, name, **labels):
        """The value of a series of its own; None where there is none."""
        families = peers.parse(self.scrape())
        found = [value for _, samples in families.values() for (n, l), value in samples.items()
                 if n == name and set(labels.items()) <= set(l)]
        return found[0] if found else None


def config(folder, values_port, receiver, good, bad):
    # The second of the file is the one that a reload drops; the last is dropped by relabelling.
    sets = [
        {"static_configs": [{"targets": [f"127.0.0.1:{good[0].port}"]}],
         "basic_auth": {"username": "ann", "password": "secret"},
         "alert_relabel_configs": [{"action": "labeldrop", "regex": "replica"}]},
        {"static_configs": [{"targets": [f"127.0.0.1:{am.port}" for am in good[1:]] + ["127.0.0.1:1"]}],
         "relabel_configs": [{"action": "drop", "source_labels": ["__address__"], "regex": ".*:1"}]},
        {"timeout": "1s", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in bad]}]},
    ]
    hook = {"name": "ops", "url": f"http://127.0.0.1:{receiver.port}/ours", "group_by": ["alertname"],
            "group_wait": "1s", "group_interval": "2s", "repeat_interval": "1h"}
    with open(os.path.join(folder, "outrigger.yml"), "w", encoding="utf-8") as f:
        json.dump({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "external_labels": {"region": "eu"}},
            "rule_files": [f"{folder}/rules.yml"], "builtin_rules": {"enabled": False},
            "storage": {"path": f"{folder}/store"},
            "scrape_configs": [{"job_name": "t", "static_configs": [{"targets": [f"127.0.0.1:{values_port}"]}]}],
            "alerting": {"alert_relabel_configs": [{"target_label": "team", "replacement": "core"}],
                         "alertmanagers": sets, "webhooks": [hook]},
        }, f)


def same_alert(ours, theirs, instance):
    """What amtool shows of an alert against /api/v1/alerts and /api/v1/rules."""
    alert = next(a for a in ours.api("alerts")["alerts"] if a["labels"]["alertname"] == "Hot" and a["labels"]["i"] == instance)
    labels = {**alert["labels"], "region": "eu", "team": "core"}
    shown = theirs.alerts()[("Hot", instance)]
    if theirs.amtool_url != f"http://127.0.0.1:{theirs.port}":
        del labels["replica"]
    instant = lambda text: text.rstrip("Z").split(".")[0] + (text.rstrip("Z").split(".") + [""])[1][:3].ljust(3, "0")
    query = "v+%3E+4"
    pairs = {
        "labels": (labels, shown["labels"]),
        "annotations": (alert["annotations"], shown["annotations"]),
        "startsAt": (instant(alert["activeAt"]), instant(shown["startsAt"])),
        "generatorURL": (f"{EXTERNAL}/graph?g0.expr={query}&g0.tab=1", shown["generatorURL"]),
        "no value": ("", shown["annotations"].get("nothing")),
    }
    return [f"amtool, {instance}: {what}: {b}, and here {a}" for what, (a, b) in pairs.items() if a != b]


def same_payload(ours, theirs):
    """Two payloads about the same alerts: the same keys in the same order, the same types and values."""
    findings = []

    def walk(where, a, b):
        if type(a) is not type(b):
            findings.append(f"payload{where}: {b!r} there, {a!r} here")
        elif isinstance(a, dict):
            if list(a) != list(b):
                findings.append(f"payload{where}: keys {list(b)} there, {list(a)} here")
            for key in a.keys() & b.keys():
                walk(f"{where}.{key}", a[key], b[key])
        elif isinstance(a, list):
            if len(a) != len(b):
                findings.append(f"payload{where}: {len(b)} there, {len(a)} here")
            for at, (x, y) in enumerate(zip(a, b)):
                walk(f"{where}[{at}]", x, y)
        elif a != b:
            findings.append(f"payload{where}: {b!r} there, {a!r} here")

    walk("", ours, theirs)
    return findings


def run(binary, folder, stack):
    findings = []
    values_port, values = target()
    receiver = Receiver()
    bad, _silent = bad_alertmanagers()
    good = [Alertmanager(folder, receiver, peers.free_port(), "secret"), Alertmanager(folder, receiver, peers.free_port())]
    for am in good:
        stack.callback(lambda am=am: am.stop())
    config(folder, values_port, receiver, good, bad)
    ours = Outrigger(binary, folder)
    running = [ours]
    stack.callback(lambda: running[-1].stop())

    # An alert comes to everybody who can take it.
    values["a"] = 5
    began = time.monotonic()
    for am in good:
        peers.wait_for(lambda am=am: ("Hot", "a") in am.alerts(), "the first alert in Alertmanager", process=ours)
        findings += same_alert(ours, am, "a")
    print(f"in both Alertmanagers after {time.monotonic() - began:.1f} s")
    for path in ("/ours", "/theirs"):
        peers.wait_for(lambda path=path: receiver.about(path, ("a", "firing")), f"a payload at {path}", process=ours)
    # One Alertmanager takes the label `replica` away, the webhook does not.
    for a, b in [(receiver.about("/ours", ("a", "firing"))[0], receiver.about("/theirs", ("a", "firing"))[0])]:
        for labels in (a["alerts"][0]["labels"], a["commonLabels"]):
            labels.pop("replica")
        a["alerts"][0]["fingerprint"] = b["alerts"][0]["fingerprint"]
        findings += same_payload(a, b)
    content = {path: headers.get("Content-Type") for path, headers, _ in receiver.taken}
    if len(set(content.values())) != 1:
        findings.append(f"Content-Type: {content}")
    listed = ours.api("alertmanagers")
    wanted = sorted([am.url for am in good] + [f"http://127.0.0.1:{port}/api/v2/alerts" for port in bad])
    if sorted(a["url"] for a in listed["activeAlertmanagers"]) != wanted:
        findings.append(f"/api/v1/alertmanagers: {listed}, expected {wanted}")
    if [a["url"] for a in listed["droppedAlertmanagers"]] != ["http://127.0.0.1:1/api/v2/alerts"]:
        findings.append(f"/api/v1/alertmanagers: {listed}")
    for port in bad:
        url = f"http://127.0.0.1:{port}/api/v2/alerts"
        peers.wait_for(lambda url=url: ours.metric("prometheus_notifications_errors_total", alertmanager=url), f"errors of {url}")
        if ours.metric("prometheus_notifications_sent_total", alertmanager=url) != 0:
            findings.append(f"{url} has taken alerts")

    # An Alertmanager is killed; it comes back empty, and has all again.
    good[1].kill()
    values["b"] = 9
    errors = lambda: ours.metric("prometheus_notifications_errors_total", alertmanager=good[1].url)
    waiting = lambda: ours.metric("prometheus_notifications_queue_length", alertmanager=good[1].url)
    peers.wait_for(lambda: errors() and waiting(), "errors of an Alertmanager that is dead", process=ours)
    peers.wait_for(lambda: ("Hot", "b") in good[0].alerts(), "the second alert in the other Alertmanager", process=ours)
    good[1] = Alertmanager(folder, receiver, good[1].port)
    stack.callback(good[1].stop)
    back = time.monotonic()
    peers.wait_for(lambda: ("Hot", "b") in good[1].alerts(), "what waited, after the restart", 40, ours)
    waited = time.monotonic() - back
    peers.wait_for(lambda: ("Hot", "a") in good[1].alerts(), "what fired before, after the restart", 75, ours)
    print(f"after a restart of Alertmanager: what waited after {waited:.1f} s, all after {time.monotonic() - back:.1f} s")
    failures = ours.metric("prometheus_template_text_expansion_failures_total")
    if not failures or ours.metric("prometheus_template_text_expansions_total") <= failures:
        findings.append(f"expansions of templates that failed: {failures}")

    # A notification is owed when the program is killed.
    peers.wait_for(lambda: receiver.about("/ours", ("a", "firing"), ("b", "firing")), "both alerts at the webhook", process=ours)
    receiver.status = 503
    values["c"] = 5
    owed = lambda: ours.metric("outrigger_notifications_owed", receiver="ops")
    peers.wait_for(lambda: owed() == 1 and receiver.refused, "a notification that is owed", process=ours)
    ours.kill()
    before = len(receiver.payloads("/ours"))
    ours = Outrigger(binary, folder)
    running.append(ours)
    receiver.status = 200
    peers.wait_for(lambda: len(receiver.payloads("/ours")) > before, "what was owed, after SIGKILL", 40, ours)
    peers.wait_for(lambda: owed() == 0, "nothing owed", process=ours)

    # A reload drops an Alertmanager.
    dropped = good.pop()
    config(folder, values_port, receiver, good, bad)
    ours.child.send_signal(signal.SIGHUP)
    gone = lambda: dropped.url not in [a["url"] for a in ours.api("alertmanagers")["activeAlertmanagers"]]
    peers.wait_for(gone, "an Alertmanager less after a reload", process=ours)
    if ours.metric("prometheus_notifications_sent_total", alertmanager=dropped.url) is not None:
        findings.append("there are metrics of an Alertmanager that is gone")

    # All ends.
    values.update(a=0, b=0, c=0)
    ended = [(i, "resolved") for i in "abc"]
    for path in ("/ours", "/theirs"):
        peers.wait_for(lambda path=path: receiver.about(path, *ended), f"the end at {path}", 40, ours)
    peers.wait_for(lambda: good[0].alerts() == {}, "no alert in Alertmanager", process=ours)
    once = [(("a", "firing"),), (("a", "firing"), ("b", "firing")), tuple((i, "firing") for i in "abc"), tuple(ended)]
    for told in once:
        if len(receiver.about("/ours", *told)) != 1:
            findings.append(f"the webhook was told {told} {len(receiver.about('/ours', *told))} times")
    ours.stop()
    lines = (Outrigger.logs + ours.log(1 << 20)).splitlines()
    for what in ("Alert fires", "Alert resolved"):
        for i in "abc":
            found = [line for line in lines if what in line and "Hot" in line and f'i=\\"{i}\\"' in line]
            if len(found) != 1:
                findings.append(f"{what!r} of {i} stands {len(found)} times in the log")
    findings += [line for line in lines if "panicked" in line]
    print(f"{len(receiver.payloads('/ours'))} payloads here, {len(receiver.payloads('/theirs'))} there")
    if findings:
        raise Failed("\n  ".join(findings[:20]) + "\n" + "\n".join(lines[-20:]))


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        with open(os.path.join(folder, "rules.yml"), "w", encoding="utf-8") as f:
            f.write(RULES)
        run(arguments.outrigger, folder, stack)


if __name__ == "__main__":
    peers.main(check)
