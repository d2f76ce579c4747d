#!/usr/bin/env python3
"""Alerts all the way to people: Outrigger, Debian's Alertmanager with alerts/alertmanager.yml, and everybody it tells.

Alerts of each severity are pushed into trouble and out again. The configuration is the shipped one, but for addresses,
shorter waits, and a clock on which it is always working time; secrets are in files. Pager, on-call, Slack, mail (to a
team, to Microsoft Teams, the digest), archive and heartbeat are servers of this process, and each message is looked at.
Then alerts/high-availability: two Alertmanagers, both told, and one message.
"""

import argparse
import base64
import contextlib
import email
import email.policy
import http.client
import os
import re
import socketserver
import tempfile
import threading
import time

import yaml

import peers
from alerts import ALERTS, Alertmanager, seconds_of, slack_date_findings
from alertmanager import Receiver
from peers import Failed
from shipped_rules import load

SECRETS = {"smtp-password": "post", "slack-url": None, "opsgenie-key": "genie", "pagerduty-key": "pd-all",
           "pagerduty-key-data": "pd-data", "archive-token": "token"}
ALERTS_OF = {"Sev1": ("critical", "data"), "Sev2": ("high", ""), "Sev3": ("medium", "web"), "Sev4": ("low", "")}


class Mail(socketserver.ThreadingTCPServer):
    """A mail server that takes everything and remembers it."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self):
        self.taken, self.users = [], set()
        mail = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self):
                say = lambda text: self.wfile.write(text.encode() + b"\r\n")
                say("220 sink")
                recipients = []
                for raw in self.rfile:
                    line = raw.decode(errors="replace").strip()
                    verb = line.split(" ")[0].upper()
                    if verb == "EHLO":
                        say("250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN")
                    elif verb == "AUTH":
                        mail.users.add(base64.b64decode(line.split(" ")[2]).decode())
                        say("235 welcome")
                    elif verb == "RCPT":
                        recipients.append(re.search("<(.*)>", line)[1])
                        say("250 well")
                    elif verb == "DATA":
                        say("354 go on")
                        body = b""
                        while not body.endswith(b"\r\n.\r\n"):
                            body += self.rfile.readline()
                        mail.taken.append((recipients, email.message_from_bytes(body[:-5], policy=email.policy.default)))
                        recipients = []
                        say("250 taken")
                    elif verb == "QUIT":
                        say("221 bye")
                        return
                    else:
                        say("250 well")

        super().__init__(("127.0.0.1", 0), Session)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def to(self, address, *words):
        """The mails to an address whose text holds all of the words."""
        texts = [(message, message.get_body(("plain",)).get_content()) for recipients, message in self.taken if address in recipients]
        return [message for message, text in texts if all(word in text for word in words)]


def local_config(folder, hooks, mail):
    """alerts/alertmanager.yml with the addresses of this process."""
    secrets = os.path.join(folder, "secrets")
    os.mkdir(secrets)
    here = f"http://127.0.0.1:{hooks.port}"
    for name, value in SECRETS.items():
        with open(os.path.join(secrets, name), "w", encoding="utf-8") as file:
            file.write(value or f"{here}/slack")
    with open(os.path.join(ALERTS, "alertmanager.yml"), encoding="utf-8") as file:
        text = file.read().replace("/etc/alertmanager/secrets", secrets)
    config = yaml.safe_load(text)
    config["global"].update(smtp_smarthost=f"127.0.0.1:{mail.server_address[1]}", smtp_require_tls=False,
                            pagerduty_url=f"{here}/pagerduty", opsgenie_api_url=f"{here}/opsgenie/")
    config["templates"] = [os.path.join(ALERTS, "templates", "*.tmpl")]
    for receiver in config["receivers"]:
        for hook in receiver.get("webhook_configs", []):
            hook["url"] = f"{here}/{receiver['name']}"
    for interval in config["time_intervals"]:
        interval["time_intervals"] = [{"years": ["1999"]} if interval["name"] == "maintenance" else {"weekdays": ["sunday:saturday"]}]

    def hurry(route):
        route.update(group_wait="1s", group_interval="2s")
        for inner in route.get("routes", []):
            hurry(inner)

    hurry(config["route"])
    path = os.path.join(folder, "alertmanager.yml")
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump(config, file)
    return path


def start_outrigger(binary, folder, alertmanagers, base=None, watchdog=True):
    """Outrigger with an alert of each severity, sending to these ports."""
    rules = [{"alert": name, "expr": f'trouble{{what="{name}"}} > 0.5', "labels": {"severity": severity, **({"team": team} if team else {})},
              "annotations": {"summary": f"{name} & <co> is in trouble", "description": "{{ $value | humanizePercentage }} of it (limit 50 %).",
                              "runbook_url": f"https://runbooks.example/{name}"}} for name, (severity, team) in ALERTS_OF.items()]
    if watchdog:
        rules.append({"alert": "Watchdog", "expr": "vector(1)", "labels": {"severity": "low"}, "annotations": {"summary": "well"}})
    config = base or {"alerting": {"alertmanagers": [{}]}}
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in alertmanagers]}]
    config.update(rule_files=["live.yml"], builtin_rules={"enabled": False}, collect={"history_interval": "1s"})
    with open(os.path.join(folder, "live.yml"), "w", encoding="utf-8") as file:
        yaml.safe_dump({"groups": [{"name": "live", "interval": "1s", "rules": rules}]}, file)
    path = os.path.join(folder, "outrigger.yml")
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump(config, file)
    return peers.start_outrigger(binary, [f"--config.file={path}", "--collector.disable-defaults"])


def push(ours, **trouble):
    body = "# TYPE trouble gauge\n" + "".join(f'trouble{{what="{name}"}} {value}\n' for name, value in trouble.items())
    connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=30)
    connection.request("PUT", "/metrics/job/live", body)
    status = connection.getresponse().status
    connection.close()
    if status != 200:
        raise Failed(f"a push is answered with {status}")


def expect(findings, what, wanted, found):
    if wanted != found:
        findings.append(f"{what}: {found!r}, and not {wanted!r}")


def look_at_firing(findings, hooks, mail, wait):
    pages = lambda: [p for p in hooks.payloads("/pagerduty") if p["event_action"] == "trigger"]
    page = wait(pages, "a page")[0]
    expect(findings, "page, key", "pd-data", page["routing_key"])
    expect(findings, "page, summary", "[CRITICAL] Sev1 & <co> is in trouble", page["payload"]["summary"])
    expect(findings, "page, severity", "critical", page["payload"]["severity"])
    expect(findings, "page, runbook", "https://runbooks.example/Sev1", page["links"][0]["href"])
    if "80% of it" not in page["payload"]["custom_details"]["firing"]:
        findings.append(f"page, details: {page['payload']['custom_details']}")

    call = wait(lambda: hooks.payloads("/opsgenie/v2/alerts"), "an alert for on-call")[0]
    expect(findings, "on-call, message", "[HIGH] Sev2 & <co> is in trouble", call["message"])
    expect(findings, "on-call, priority", "P2", call["priority"])
    keys = {headers["Authorization"] for path, headers, _ in hooks.taken if path.startswith("/opsgenie")}
    expect(findings, "on-call, key", {"GenieKey genie"}, keys)

    slack = lambda name: [p for p in hooks.payloads("/slack") if name in p["attachments"][0]["title"] and "RESOLVED" not in p["attachments"][0]["title"]]
    wait(lambda: slack("Sev1") and slack("Sev2"), "messages in Slack")
    for name, channel, color in (("Sev1", "#data-alerts", "#d55e00"), ("Sev2", "#operations", "#e69f00")):
        message = slack(name)[0]
        attachment = message["attachments"][0]
        expect(findings, f"Slack, {name}", (channel, color), (message["channel"], attachment["color"]))
        for part in (f"*{name} &amp; &lt;co&gt; is in trouble*", "80% of it (limit 50 %)", "({ago})", f"<https://runbooks.example/{name}|Runbook>",
                     "/d/outrigger-rules?", "|Query>", "/#/silences/new?filter=%7Balertname%3D"):
            if part not in attachment["text"]:
                findings.append(f"Slack, {name}: no {part!r} in {attachment['text']}")

    for address, name, subject in (("data-team@example.com", "Sev1", "[CRITICAL] Sev1 & <co> is in trouble"),
                                   ("web-alerts.example.com@emea.teams.ms", "Sev3", "[MEDIUM] Sev3 & <co> is in trouble"),
                                   ("operations@example.com", "Sev4", "Daily digest: 1 alerts of low severity")):
        message = wait(lambda address=address, name=name: mail.to(address, name), f"mail to {address}")[0]
        expect(findings, f"mail to {address}, subject", subject, message["Subject"])
        shown = message.get_body(("html",)).get_content()
        for part in (f"{name} &amp; &lt;co&gt; is in trouble", f'href="https://runbooks.example/{name}"', ">Dashboard</a>", ">Silence</a>"):
            if part not in shown:
                findings.append(f"mail to {address}: no {part!r} in its HTML")
    expect(findings, "mail, user and password", {"\0alerts@example.com\0post"}, mail.users)

    told = lambda: {a["labels"]["alertname"] for p in hooks.payloads("/archive") for a in p["alerts"]}
    wait(lambda: told() == set(ALERTS_OF), "everything in the archive")
    tokens = {headers["Authorization"] for path, headers, _ in hooks.taken if path == "/archive"}
    expect(findings, "archive, token", {"Bearer token"}, tokens)
    starts = {a["labels"]["alertname"]: seconds_of(a["startsAt"]) for p in hooks.payloads("/archive") for a in p["alerts"]}
    for name in ("Sev1", "Sev2"):
        findings += slack_date_findings(f"Slack, {name}", slack(name)[0]["attachments"][0]["text"], [starts[name]])
    beat = wait(lambda: hooks.payloads("/heartbeat"), "a heartbeat")[0]
    expect(findings, "heartbeat", ["Watchdog"], [a["labels"]["alertname"] for a in beat["alerts"]])


def look_at_resolved(findings, hooks, mail, wait):
    wait(lambda: [p for p in hooks.payloads("/pagerduty") if p["event_action"] == "resolve"], "the end of a page")
    closed = lambda: [path for path, _, _ in hooks.taken if re.fullmatch("/opsgenie/v2/alerts/.*/close.*", path)]
    wait(closed, "the end of an alert for on-call")
    slack = lambda name: [p["attachments"][0] for p in hooks.payloads("/slack") if p["attachments"][0]["title"].startswith(f"[RESOLVED] {name}")]
    for name in ("Sev1", "Sev2"):
        message = wait(lambda name=name: slack(name), f"the end of {name} in Slack")[0]
        expect(findings, f"Slack, end of {name}", ("#009e73", True, False),
               (message["color"], "\nLasted " in message["text"], "|Silence>" in message["text"]))
    message = wait(lambda: mail.to("web-alerts.example.com@emea.teams.ms", "RESOLVED", "Lasted:"), "the end of Sev3 by mail")[0]
    expect(findings, "mail, subject of the end", "[RESOLVED] Sev3 & <co> is in trouble", message["Subject"])
    ended = lambda: {a["labels"]["alertname"] for p in hooks.payloads("/archive") for a in p["alerts"] if a["status"] == "resolved"}
    wait(lambda: ended() == set(ALERTS_OF), "the end of everything in the archive")
    if mail.to("operations@example.com", "RESOLVED"):
        findings.append("the digest tells what is resolved")


def everybody(binary, stack, findings):
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    hooks, mail = Receiver(), Mail()
    stack.callback(mail.shutdown)
    theirs = stack.enter_context(Alertmanager(folder, local_config(folder, hooks, mail)))
    ours = stack.enter_context(start_outrigger(binary, folder, [theirs.port]))
    wait = lambda condition, what: peers.wait_for(condition, what, 30, theirs)
    began = time.monotonic()
    push(ours, **{name: 0.8 for name in ALERTS_OF})
    look_at_firing(findings, hooks, mail, wait)
    told = time.monotonic() - began
    push(ours, **{name: 0 for name in ALERTS_OF})
    look_at_resolved(findings, hooks, mail, wait)
    print(f"all told after {told:.1f} s, the end after {time.monotonic() - began:.1f} s: {len(hooks.taken)} calls, {len(mail.taken)} mails")


def pair(binary, stack, findings):
    """alerts/high-availability: both have the alert, and one tells."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    hooks, mail = Receiver(), Mail()
    stack.callback(mail.shutdown)
    config = local_config(folder, hooks, mail)
    ports = [peers.free_port(), peers.free_port()]
    cluster = lambda own, other: [f"--cluster.listen-address=127.0.0.1:{own}", f"--cluster.peer=127.0.0.1:{other}",
                                  "--cluster.peer-timeout=500ms", "--cluster.gossip-interval=20ms", "--cluster.settle-timeout=1s"]
    theirs = [stack.enter_context(Alertmanager(folder, config, cluster(*ports))),
              stack.enter_context(Alertmanager(folder, config, cluster(*reversed(ports))))]
    number = lambda am, name: sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", am.scrape(), re.M))
    peers.wait_for(lambda: all(number(am, "alertmanager_cluster_members") == 2 for am in theirs), "a pair of Alertmanagers")
    base = load(os.path.join(ALERTS, "high-availability", "outrigger.yml"))
    ours = stack.enter_context(start_outrigger(binary, folder, [am.port for am in theirs], base, watchdog=False))
    # Each of the three receivers of an alert asks the log of notifications once before it tells, or stays silent.
    asked = lambda am: number(am, "alertmanager_nflog_queries_total")
    push(ours, Sev2=0.8)
    peers.wait_for(lambda: all(asked(am) >= 3 for am in theirs), "the turn of both", 40, ours)
    push(ours, Sev2=0)
    peers.wait_for(lambda: all(asked(am) >= 6 for am in theirs), "the turn of both at the end", 40, ours)
    peers.wait_for(lambda: len(hooks.payloads("/slack")) >= 2, "messages", 20, ours)
    expect(findings, "messages of a pair", ["[HIGH] Sev2 & <co>", "[RESOLVED] Sev2 & <co>"],
           [p["attachments"][0]["title"].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").split(" is")[0] for p in hooks.payloads("/slack")])
    print("a pair of Alertmanagers tells once")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    arguments = options.parse_args()
    findings = []
    for part in (everybody, pair):
        with contextlib.ExitStack() as stack:
            part(arguments.outrigger, stack, findings)
    if findings:
        raise Failed("\n".join(findings[:20]))


if __name__ == "__main__":
    peers.main(check)
