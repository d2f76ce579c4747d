#!/usr/bin/env python3
"""Everything that ships in alerts/, by Debian's Alertmanager: what it accepts, who is told, what is muted, how it reads.

- `amtool check-config` takes every configuration; secrets stand in files only.
- alerts/routes.tsv says for every shipped alert which receivers get it, by each configuration; `amtool config routes
  test` must say the same, and a shipped alert that is not in the table is a failure. --update writes the table anew.
- alerts/inhibitions.tsv: pairs of alerts posted to a running Alertmanager, and whether the first mutes the second.
- alerts/golden: the messages that the templates make of an alert that fires, of one that is resolved, of a group, of
  more than is shown, and of hostile labels; `amtool template render`. Links to silences lead to just that alert, dates are those that Slack can draw.
"""

import argparse
import concurrent.futures
import datetime
import glob
import html
import json
import os
import re
import subprocess
import tempfile
import urllib.parse

import yaml

import peers
from peers import Failed
from shipped_rules import RULES, load, read, rule_files, rules_of

ALERTS = os.path.join(peers.ROOT, "alerts")
DATA = os.path.join(peers.HERE, "alerts")
CONFIGS = ["alertmanager", "minimal", "slack"]
TEMPLATES = os.path.join(ALERTS, "templates", "*.tmpl")
EXTERNAL = "http://am.example:9093"
RUNBOOK = "https://github.com/outrigger-dev/outrigger/blob/main/docs/runbooks/%s.md"
# What a team's label changes is seen on alerts of each severity.
TEAMS = [f"alertname=Any severity={severity} team={team}" for team in ("data", "web", "other")
         for severity in ("critical", "high", "medium", "low")] + ["alertname=NoSeverity"]
# Keys whose value is a secret, which may stand only in the file that KEY_file names.
SECRET = re.compile(r"(password|api_key|routing_key|service_key|api_url|credentials|bearer_token|token|auth_secret)$")


def shipped_alerts():
    """(name, severity) of every alert in rules/, those of SLOs by page and ticket."""
    found = [(rule["alert"], rule["labels"]["severity"]) for path in rule_files() for rule in rules_of(path) if "alert" in rule]
    for path in sorted(glob.glob(os.path.join(RULES, "slo", "*.yml"))):
        for slo in load(path)["slos"]:
            alerting = slo["alerting"]
            found += [(alerting["name"], alerting[kind]["labels"]["severity"]) for kind in ("page_alert", "ticket_alert")]
    return found


def config_findings(tool):
    findings = []
    for name in CONFIGS:
        path = os.path.join(ALERTS, f"{name}.yml")
        done = subprocess.run([tool, "check-config", path], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            findings.append(f"alerts/{name}.yml: {done.stdout}{done.stderr}")

        def walk(where, value):
            if isinstance(value, dict):
                for key, inner in value.items():
                    if SECRET.search(key) and isinstance(inner, str):
                        findings.append(f"alerts/{name}.yml: {where}{key} is a secret; use {key}_file")
                    walk(f"{where}{key}.", inner)
            elif isinstance(value, list):
                for inner in value:
                    walk(where, inner)

        config = load(path)
        walk("", config)
        used = set(re.findall(r"receiver: (\S+)", read(path)))
        findings += [f"alerts/{name}.yml: nobody is routed to {r['name']}" for r in config["receivers"] if r["name"] not in used]
    unlisted = set(glob.glob(os.path.join(ALERTS, "*.yml"))) - {os.path.join(ALERTS, f"{n}.yml") for n in CONFIGS}
    return findings + [f"{path} is not checked" for path in sorted(unlisted)]


def routes(tool):
    """The table: labels, then the receivers by each configuration."""
    rows = [f"alertname={name} severity={severity}" for name, severity in shipped_alerts()] + TEAMS

    def receivers(task):
        labels, config = task
        command = [tool, "config", "routes", "test", f"--config.file={ALERTS}/{config}.yml", *labels.split()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.stderr}")
        return done.stdout.strip()

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        told = list(pool.map(receivers, [(row, config) for row in rows for config in CONFIGS]))
    lines = ["\t".join(["labels", *CONFIGS])]
    lines += ["\t".join([row, *told[i * len(CONFIGS):(i + 1) * len(CONFIGS)]]) for i, row in enumerate(rows)]
    return lines


def route_findings(tool, update):
    path, lines = os.path.join(DATA, "routes.tsv"), routes(tool)
    if update:
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    written = read(path).splitlines()
    findings = [f"not in tests/peers/alerts/routes.tsv: {line!r} (alerts.py --update)" for line in lines if line not in written]
    findings += [f"tests/peers/alerts/routes.tsv: no longer so: {line!r}" for line in written if line not in lines]
    for line in lines[1:]:
        # A Watchdog is nobody's business where there is no dead man's switch.
        if "Watchdog" not in line and any(cell in ("", "nobody") for cell in line.split("\t")[1:]):
            findings.append(f"nobody is told: {line}")
    return findings, len(lines) - 1


class Alertmanager(peers.Exporter):
    """Debian's, alone, with a configuration file."""

    def __init__(self, folder, config, flags=("--cluster.listen-address=",)):
        self.port = peers.free_port()
        data = tempfile.mkdtemp(dir=folder)
        command = ["prometheus-alertmanager", f"--config.file={config}", f"--storage.path={data}", *flags,
                   f"--web.listen-address=127.0.0.1:{self.port}", f"--web.external-url={EXTERNAL}", "--web.route-prefix=/"]
        peers.Exporter.__init__(self, command, self.port, "/-/ready")

    def post(self, alerts):
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", "/api/v2/alerts", json.dumps(alerts), {"Content-Type": "application/json"})
        status = connection.getresponse().status
        connection.close()
        if status != 200:
            raise Failed(f"Alertmanager refuses alerts with {status}")

    def alerts(self):
        return json.loads(peers.get(self.port, "/api/v2/alerts")[2])


def inhibition_cases():
    """(line, source, target, muted) of the table; @ stands for the line, so that no pair meets another one."""
    cases = []
    for at, line in enumerate(read(os.path.join(DATA, "inhibitions.tsv")).splitlines()[1:], 2):
        source, target, muted, _ = line.split("\t")
        pairs = lambda text: dict(part.split("=", 1) for part in text.replace("@", str(at)).split())
        cases.append((at, pairs(source), pairs(target), muted == "muted"))
    return cases


def inhibition_findings(folder):
    """Pairs of alerts in one Alertmanager with our rules and no receivers."""
    config = load(os.path.join(ALERTS, "alertmanager.yml"))
    path = os.path.join(folder, "inhibit.yml")
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump({"route": {"receiver": "none"}, "receivers": [{"name": "none"}], "inhibit_rules": config["inhibit_rules"]}, file)
    findings, cases = [], inhibition_cases()
    with Alertmanager(folder, path) as theirs:
        marked = lambda labels, at, role: {"labels": {**labels, "line": f"{at}-{role}"}}
        theirs.post([marked(labels, at, role) for at, s, t, _ in cases for labels, role in ((s, "source"), (t, "target"))])
        peers.wait_for(lambda: len(theirs.alerts()) == 2 * len(cases), "alerts in Alertmanager", process=theirs)
        # The rules learn of alerts a moment after the API does.
        muted = lambda: {a["labels"]["line"] for a in theirs.alerts() if a["status"]["inhibitedBy"] and a["labels"]["line"].endswith("target")}
        wanted = {f"{at}-target" for at, _, _, is_muted in cases if is_muted}
        try:
            peers.wait_for(lambda: muted() >= wanted, "inhibition", 10, theirs)
        except Failed:
            findings += [f"inhibitions.tsv:{name}: not muted" for name in sorted(wanted - muted())]
        findings += [f"inhibitions.tsv:{name}: muted, and should not be" for name in sorted(muted() - wanted)]
    rules = len(config["inhibit_rules"])
    return findings, f"{len(cases)} pairs against {rules} rules"


def alert(name, severity, status="firing", **labels):
    """An alert as templates see it."""
    return {
        "status": status, "labels": {"alertname": name, "severity": severity, **labels},
        "annotations": {"summary": f"{name} of {labels.get('instance', 'all')}", "description": "85.3 % busy (limit 80 %).",
                        "runbook_url": RUNBOOK % name},
        "startsAt": "2026-02-03T04:05:06.789Z", "endsAt": "2026-02-03T05:17:36.5Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://outrigger.example:9780/graph?g0.expr=x+%3E+0.8&g0.tab=1", "fingerprint": "0123456789abcdef",
    }


def case(alerts):
    common = lambda key: {k: v for k, v in alerts[0][key].items() if all(a[key].get(k) == v for a in alerts)}
    status = "firing" if any(a["status"] == "firing" for a in alerts) else "resolved"
    return {"receiver": "operations", "status": status, "alerts": alerts, "groupLabels": {"job": "node"},
            "commonLabels": common("labels"), "commonAnnotations": common("annotations"), "externalURL": EXTERNAL}


def cases():
    host = {"job": "node", "instance": "web-1:9780"}
    hostile = alert("HostCpuHigh", "critical", job="a b&c", instance='<script>alert("1")</script>', path="C:\\x", note="a+b, {c}='d'")
    hostile["annotations"]["summary"] = 'CPU of <script>alert("1")</script> & <!channel> is busy'
    return {
        "firing": case([alert("HostCpuHigh", "medium", **host)]),
        "critical": case([alert("SloAvailabilityBurn", "critical", sloth_service="shop", sloth_slo="availability")]),
        "resolved": case([alert("HostCpuHigh", "medium", "resolved", **host)]),
        "grouped": case([alert("HostCpuHigh", "medium", **host), alert("HostMemoryHigh", "high", **host),
                         alert("ServiceLatencyP95High", "low", "resolved", job="node")]),
        "truncated": case([alert("HostCpuHigh", "medium", job="node", instance=f"web-{i:02}:9780") for i in range(25)]),
        "hostile": case([hostile]),
        "bare": case([{**alert("Bare", "high"), "labels": {"alertname": "Bare"}, "annotations": {}, "generatorURL": ""}]),
    }


# https://api.slack.com/reference/surfaces/formatting#date-formatting
SLACK_TOKENS = {"{" + token + "}" for token in ("date_num", "date", "date_short", "date_long", "date_pretty", "date_short_pretty", "date_long_pretty",
                                                  "time", "time_secs", "ago")}
MESSAGES = {
    "slack.txt": ("text", '{{ template "outrigger.slack.color" . }} {{ template "outrigger.slack.title" . }}\n{{ template "outrigger.slack.text" . }}'),
    "page.txt": ("text", '{{ template "outrigger.subject" . }}\n{{ template "outrigger.page.details" . }}'),
    "mail.txt": ("text", '{{ template "outrigger.mail.text" . }}'),
    "mail.html": ("html", '{{ template "outrigger.mail.html" . }}'),
}


def render(tool, data, kind, text):
    done = subprocess.run([tool, "template", "render", f"--template.glob={TEMPLATES}", f"--template.type={kind}",
                           f"--template.text={text}", f"--template.data={data}"], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Failed(f"amtool template render {data}: {done.stderr}")
    return done.stdout


def silence_findings(where, text, data):
    """Links to silences, decoded, must say exactly the labels of the alerts that fire."""
    links = [html.unescape(link) for link in re.findall(r"/#/silences/new\?filter=([^\"|>\s]+)", text)]
    wanted = ["{" + ",".join(f"{k}={json.dumps(a['labels'][k], ensure_ascii=False)}" for k in
                             sorted(a["labels"], key=lambda k: (k != "alertname", k))) + "}" for a in data["alerts"] if a["status"] == "firing"]
    found = [urllib.parse.unquote(link) for link in links]
    return [f"{where}: silences {a}, and not {b}" for a, b in zip(found, wanted) if a != b] + (
        [f"{where}: {len(found)} links to silences"] if len(found) != min(len(wanted), 10 if "slack" in where else 20) else [])


def seconds_of(text):
    """Unix seconds of RFC 3339; what is below a second is cut off, as Go does."""
    return int(datetime.datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00")).timestamp())


def slack_date_findings(where, text, starts):
    """Dates as Slack's documentation has them, <!date^UNIX^TOKENS^LINK|FALLBACK>: of each alert that fires its start, with
    tokens that exist, and the same instant in words for who cannot draw it."""
    dates = re.findall(r"<!date\^(\d+)\^([^|^<>]*)(?:\^(https?://[^|<>]+))?\|([^|<>]+)>", text)
    findings = [f"{where}: {text.count('<!date')} dates, {len(dates)} well-formed"] if text.count("<!date") != len(dates) else []
    if [int(unix) for unix, *_ in dates] != starts:
        findings.append(f"{where}: dates of {[unix for unix, *_ in dates]}, and not of {starts}")
    for unix, tokens, _, fallback in dates:
        findings += [f"{where}: Slack knows no {token}" for token in re.findall(r"{[^}]*}?", tokens) if token not in SLACK_TOKENS]
        wanted = datetime.datetime.fromtimestamp(int(unix), datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        findings += [f"{where}: in words it is {fallback!r}, and not {wanted!r}"] if fallback != wanted else []
    outside = re.sub(r"<!date[^>]*>", "", text)
    return findings + ([f"{where}: {{ago}} outside of a date"] if "{ago}" in outside else [])


def template_findings(tool, folder, update):
    findings, count = [], 0
    for name, data in cases().items():
        path = os.path.join(folder, f"{name}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(data, file)
        for suffix, (kind, text) in MESSAGES.items():
            got, golden = render(tool, path, kind, text).rstrip() + "\n", os.path.join(DATA, "golden", f"{name}.{suffix}")
            count += 1
            if update:
                with open(golden, "w", encoding="utf-8") as file:
                    file.write(got)
            if not os.path.exists(golden) or read(golden) != got:
                findings.append(f"alerts/golden/{name}.{suffix}: differs (alerts.py --update, and look at the difference)")
            if "mail" in suffix or "slack" in suffix:
                findings += silence_findings(f"{name}.{suffix}", got, data)
            if "slack" in suffix:
                # Ten alerts have a paragraph, those that fire a date.
                findings += slack_date_findings(f"{name}.{suffix}", got, [seconds_of(a["startsAt"]) for a in data["alerts"][:10] if a["status"] == "firing"])
            if "script>alert" in got and kind == "html":
                findings.append(f"{name}.{suffix}: a label's markup is not escaped")
            if "<!channel>" in got and "slack" in suffix:
                findings.append(f"{name}.{suffix}: a label can call everybody")
    return findings, count


def dashboard_findings(tool, folder):
    """Every shipped alert leads to a dashboard that exists."""
    findings = []
    uids = {json.loads(read(path))["uid"] for path in glob.glob(os.path.join(peers.ROOT, "dashboards", "*.json"))}
    names = sorted({name for name, _ in shipped_alerts()})
    data = case([alert(name, "low") for name in names])
    path = os.path.join(folder, "dashboards.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file)
    told = render(tool, path, "text", '{{ range .Alerts }}{{ .Labels.alertname }} {{ template "outrigger.dashboard" . }}\n{{ end }}')
    for line in told.split("\n"):
        if line.strip() and uids and line.split()[1] not in uids:
            findings.append(f"templates/common.tmpl: {line}: there is no such dashboard")
    return findings


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", help="not needed: what is sent by it is checked in alerts_live.py")
    options.add_argument("--amtool", default="amtool")
    options.add_argument("--update", action="store_true", help="write the table of routes and the golden messages anew")
    arguments = options.parse_args()
    first = read(os.path.join(ALERTS, "README.md")).splitlines()[0].lower()
    findings = [] if "delivery only" in first else ["alerts/README.md: its first line says `delivery only`"]
    findings += config_findings(arguments.amtool)
    found, routed = route_findings(arguments.amtool, arguments.update)
    findings += found
    with tempfile.TemporaryDirectory() as folder:
        found, inhibited = inhibition_findings(folder)
        findings += found
        found, rendered = template_findings(arguments.amtool, folder, arguments.update)
        findings += found
        findings += dashboard_findings(arguments.amtool, folder)
    if findings:
        raise Failed("\n".join(findings[:40]))
    print(f"{len(CONFIGS)} configurations; {routed} rows of routes; {inhibited}; {rendered} messages: all well")


if __name__ == "__main__":
    peers.main(check)
