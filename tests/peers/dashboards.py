#!/usr/bin/env python3
"""Every dashboard in dashboards/: current, well-formed, and answered by Outrigger and by a Prometheus that scrapes it.

- tools/dashboards/make.py, with Grafana's own builders from PyPI in a virtual environment below target/tools, writes
  just what is committed; so thresholds are those of rules/.
- grafana/dashboard-linter's rules, with exceptions that give a reason (dashboards/lint_exceptions.tsv); geometry, ids,
  colours that everybody can tell apart, links to alerts, runbooks and other boards; every shipped alert is on a board.
- Every expression, of panels, variables and annotations, parses and gives data in a running Outrigger with the shipped
  rules that sees all there is to see (live_all.py). What takes longer than a check may, as dashboards/history.txt says, is
  asked of a second one with an hour of made-up history. Debian's Prometheus, which scrapes both, answers every one, too.
- docs/reference/metrics.md has what that Outrigger exposes (tools/metrics_reference.py).
"""

import argparse
import contextlib
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse

import yaml

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools"))

import metrics_reference
import peers
from alerts import shipped_alerts
from live_all import Everything
from peers import Failed
from shipped_rules import RULES, URL, read

BOARDS = os.path.join(peers.ROOT, "dashboards")
DATA = os.path.join(peers.HERE, "dashboards")
TOOL = os.path.join(peers.ROOT, "tools", "dashboards")
UIDS = ["executive", "operations", "engineering", "host", "containers", "gpu", "processes", "slo-overview", "slo-detail",
        "ml-training", "ml-inference", "capacity", "rules", "probes", "self"]
COLORS = {"#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999"}
EXCEPTION_KEYS = ("rule", "board", "pattern", "reason")
RANGE = {"$__rate_interval": "5m", "$__interval": "15s", "$__range": "1h"}


def python_with_builders():
    """The interpreter of a virtual environment with tools/dashboards/requirements.txt, made on the first run."""
    folder, wanted = os.path.join(peers.ROOT, "target", "tools", "dashboards"), read(os.path.join(TOOL, "requirements.txt"))
    stamp, python = os.path.join(folder, "requirements.txt"), os.path.join(folder, "bin", "python")
    if not os.path.exists(stamp) or read(stamp) != wanted:
        for command in (["/usr/bin/python3", "-m", "venv", "--clear", folder],
                        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", os.path.join(TOOL, "requirements.txt")]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                raise Failed(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(wanted)
    return python


def current_findings(folder):
    done = subprocess.run([python_with_builders(), os.path.join(TOOL, "make.py"), folder], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Failed(f"make.py: {done.stdout}{done.stderr}")
    made = {os.path.basename(p): read(p) for p in glob.glob(os.path.join(folder, "*.json"))}
    there = {os.path.basename(p): read(p) for p in glob.glob(os.path.join(BOARDS, "*.json"))}
    return [f"dashboards/{name}: is not what tools/dashboards/make.py makes (`just made`)" for name in sorted(made.keys() | there.keys()) if made.get(name) != there.get(name)]


def read_boards():
    return {os.path.basename(p).removesuffix(".json"): json.loads(read(p)) for p in sorted(glob.glob(os.path.join(BOARDS, "*.json")))}


def panels_of(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def shape_findings(name, board):
    """Geometry, ids, the frame."""
    findings, seen = [], {}
    for key, value in (("uid", f"outrigger-{name}"), ("schemaVersion", 42), ("editable", False)):
        if board.get(key) != value:
            findings.append(f"{name}: {key} is {board.get(key)!r}")
    if not board.get("version") or not board.get("description") or not board.get("tags"):
        findings.append(f"{name}: no version, description or tags")
    ids = [panel["id"] for panel in board["panels"]]
    if len(ids) != len(set(ids)):
        findings.append(f"{name}: an id twice")
    for panel in board["panels"]:
        at = panel["gridPos"]
        if at["x"] < 0 or at["x"] + at["w"] > 24 or at["w"] < 1 or at["h"] < 1:
            findings.append(f"{name}: {panel['title']}: off the grid: {at}")
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                if seen.setdefault((x, y), panel["title"]) != panel["title"]:
                    findings.append(f"{name}: {panel['title']} lies over {seen[(x, y)]}")
    colors = set(re.findall(r'"#[0-9a-fA-F]{6}"', json.dumps(board)))
    findings += [f"{name}: colour {color}, which not everybody can tell apart" for color in colors if color.strip('"') not in COLORS]
    titles = [panel["title"] for panel in panels_of(board)]
    findings += [f"{name}: two panels {title}" for title in set(titles) if titles.count(title) > 1]
    return findings


def link_findings(name, board, uids, names):
    findings, shown = [], set()
    for panel in panels_of(board):
        for link in panel.get("links", []):
            if link["url"].startswith("/d/"):
                if link["url"][3:].split("?")[0] not in uids:
                    findings.append(f"{name}: {panel['title']}: {link['url']}: no such board")
                shown.add(link["title"].removeprefix("Alert "))
            elif link["url"] != URL % link["title"].removeprefix("Runbook "):
                findings.append(f"{name}: {panel['title']}: {link['url']}: no such runbook")
    return findings + [f"{name}: there is no alert {alert}" for alert in shown - names], shown


def lint(name, board):
    """(rule, panel, message) of what grafana/dashboard-linter would say."""
    variables = {v["name"]: v for v in board["templating"]["list"]}
    if variables.get("datasource", {}).get("query") != "prometheus":
        yield "template-datasource-rule", "", "no variable datasource"
    for wanted in ("job", "instance"):
        variable = variables.get(wanted)
        if not variable:
            yield f"template-{wanted}-rule", "", f"no variable {wanted}"
        elif (variable["label"], variable["multi"], variable["allValue"], variable["includeAll"]) != (wanted.capitalize(), True, ".+", True):
            yield f"template-{wanted}-rule", "", f"{wanted}: {variable}"
    for variable in variables.values():
        if variable["type"] == "query" and variable["refresh"] != 2:
            yield "template-on-time-change-reload-rule", "", variable["name"]
    if board.get("editable") is not False:
        yield "uneditable-dashboard", "", ""
    for panel in panels_of(board):
        title = panel["title"]
        if panel.get("datasource", {}).get("uid") != "${datasource}":
            yield "panel-datasource-rule", title, ""
        if not panel.get("title") or not panel.get("description"):
            yield "panel-title-description-rule", title, ""
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield "panel-units-rule", title, ""
        if not panel.get("targets"):
            yield "panel-no-targets-rule", title, ""
        for target in panel["targets"]:
            expression = target["expr"]
            for function, inner in re.findall(r"\b(rate|irate|increase|delta|deriv)\(((?:[^()]|\([^()]*\))*)\)", expression):
                if "[$__rate_interval]" not in inner:
                    yield "target-rate-interval-rule", title, f"{function}({inner})"
            if 'job=~"$job"' not in expression:
                yield "target-job-rule", title, expression
            if 'instance=~"$instance"' not in expression:
                yield "target-instance-rule", title, expression
            for counter in re.findall(r"(?<![a-z0-9_(])[a-z0-9_]+_total\b", re.sub(r"\b(rate|irate|increase|changes|resets)\(\s*[a-zA-Z0-9_:]+", "", expression)):
                yield "target-counter-agg-rule", title, counter


def lint_findings(boards):
    lines = [dict(zip(EXCEPTION_KEYS, line.split("\t"))) for line in read(os.path.join(DATA, "lint_exceptions.tsv")).splitlines()[1:]]
    findings, used = [], set()
    for name, board in boards.items():
        for rule, panel, message in lint(name, board):
            fits = [i for i, e in enumerate(lines) if e["rule"] == rule and e["board"] in ("*", name) and re.search(e["pattern"], message)]
            used.update(fits)
            if not fits:
                findings.append(f"{name}: {panel}: {rule}: {message}")
    findings += [f"lint_exceptions.tsv:{i + 2}: nothing needs it any more: {e}" for i, e in enumerate(lines) if i not in used]
    findings += [f"lint_exceptions.tsv:{i + 2}: no reason" for i, e in enumerate(lines) if not e.get("reason")]
    return findings, len(lines)


def filled(expression, alert="HostCpuHigh|Watchdog|.+"):
    """An expression as Grafana sends it: every choice at All."""
    for name, value in RANGE.items():
        expression = expression.replace(name, value)
    expression = expression.replace("$alertname", alert)
    return re.sub(r"\$(job|instance|[a-z]+)\b", ".+", expression)


def questions(boards):
    """(board, panel, expression) of panels and annotations, and the selectors of variables."""
    for name, board in boards.items():
        for panel in panels_of(board):
            for target in panel["targets"]:
                yield name, panel["title"], filled(target["expr"])
        for note in board["annotations"]["list"]:
            yield name, f"annotation {note['name']}", filled(note["expr"])
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                inner, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
                yield name, f"variable {variable['name']}", f'group by ({label}) ({filled(inner)})'


def write_history(path, now):
    """dashboards/history.txt as OpenMetrics, the last hour."""
    families = {}
    for line in read(os.path.join(DATA, "history.txt")).splitlines():
        if not line or line.startswith("#"):
            continue
        series, rest = re.fullmatch(r"(\S+?\{.*\}) (.*)", line).groups()
        value, growth = (rest.split(" ") + ["0"])[:2]
        start = now + float(value[3:] or 0) if value.startswith("now") else float(value)
        families.setdefault(series.split("{")[0], []).append((series, start, float(growth)))
    with open(path, "w", encoding="utf-8") as file:
        for name, all_series in families.items():
            file.write(f"# TYPE {name} unknown\n")
            for series, start, growth in all_series:
                for back in range(3600, -1, -15):
                    # What is now is so at the end of the hour; what grows has grown by then.
                    value = start - growth * back if start > 1e9 else start + growth * (3600 - back)
                    file.write(f"{series} {value} {now - back}\n")
        file.write("# EOF\n")


def with_history(binary, folder, history):
    """A second Outrigger, with the made-up history and nothing else but what is made of it."""
    store = os.path.join(folder, "past")
    done = subprocess.run([binary, "tsdb", "import", store, history], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Failed(f"outrigger tsdb import: {done.stdout}{done.stderr}")
    config = os.path.join(folder, "past.yml")
    with open(config, "w", encoding="utf-8") as file:
        yaml.safe_dump({"global": {"evaluation_interval": "2s"}, "storage": {"path": store}, "collect": {"history_interval": "1s"},
                        "builtin_rules": {"enabled": False}, "slo_files": [os.path.join(RULES, "slo", "*.yml")]}, file)
    return peers.start_outrigger(binary, [f"--config.file={config}"])


def start_prometheus(binary, folder, everything, past):
    """Debian's, with the same rules, scraping what Outrigger scrapes, and Outrigger."""
    data, rules = os.path.join(folder, "prometheus"), everything.rules
    slos = os.path.join(rules, "slos.generated.yml")
    generated = subprocess.run([binary, "slo", "generate", *sorted(glob.glob(os.path.join(RULES, "slo", "*.yml")))], capture_output=True, text=True, timeout=60)
    if generated.returncode != 0:
        raise Failed(f"outrigger slo generate: {generated.stderr}")
    with open(slos, "w", encoding="utf-8") as file:
        file.write(generated.stdout)
    config, port = os.path.join(folder, "prometheus.yml"), peers.free_port()
    with open(config, "w", encoding="utf-8") as file:
        yaml.safe_dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"}, "rule_files": [f"{rules}/*.yml"],
                        "scrape_configs": [{"job_name": job, "honor_labels": True, "static_configs": [{"targets": [target]}]} for job, target in {
                            "node": f"127.0.0.1:{everything.ours.port}", "past": f"127.0.0.1:{past.port}", "gone": "127.0.0.1:1",
                            **{job: f"127.0.0.1:{everything.targets[job]}" for job in ("demo", "machine")}}.items()],
                        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:1"]}]}]}}, file)
    return peers.Exporter(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}"], port, "/-/ready")


def ask(port, expression):
    """Number of series that an instant query gives; Failed where it is refused."""
    status, _, body = peers.get(port, "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    answer = json.loads(body)
    if answer["status"] != "success":
        raise Failed(f"{expression}: {answer['error']}")
    result = answer["data"]["result"]
    return 1 if answer["data"]["resultType"] == "scalar" else len(result)


def names_of_history():
    """Metrics that only the made-up history can give in the time of a check: `#! NAME...` of history.txt."""
    return {name for line in read(os.path.join(DATA, "history.txt")).splitlines() if line.startswith("#! ") for name in line.split()[1:]}


def unanswered(port, wanted, excused, process, seconds=75):
    """Asks until all has come that is not excused; what has not come. A question that is refused to the end is a failure."""
    missing, deadline = wanted, time.monotonic() + seconds
    while True:
        refused = []

        def without_data(question):
            try:
                return not ask(port, question[2])
            except Failed as why:
                refused.append(why)
                return True

        missing = list(filter(without_data, missing))
        if all(excused(question) for question in missing) or time.monotonic() > deadline or process.poll() is not None:
            if refused:
                raise refused[0]
            return missing
        time.sleep(0.5)


def reads(names):
    """Whether a question asks for one of the names."""
    return lambda question: bool(names & set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", question[2])))


def start_all(binary, folder, stack):
    """A live Outrigger with everything on, and one with the history."""
    history = os.path.join(folder, "history.om")
    write_history(history, int(time.time()))
    past = stack.enter_context(with_history(binary, folder, history))
    return Everything(binary, folder, stack), past


def settled(boards, everything):
    """Waits for what the live program can answer; what it has not answered."""
    excused = reads(names_of_history() | everything.absent)
    return [question for question in unanswered(everything.ours.port, list(questions(boards)), excused, everything.ours) if not excused(question)]


def live_findings(boards, everything, past, theirs):
    """What the live program answers, what the one with the history does, what Prometheus does."""
    wanted = list(questions(boards))
    made_up, absent = reads(names_of_history()), reads(everything.absent)
    findings, told = [], {}

    def ask_all(server, process, asked, excused):
        missing = unanswered(process.port, asked, excused, process)
        findings.extend(f"{server}: {board}: {panel}: no data for {expression}" for board, panel, expression in missing if not excused((board, panel, expression)))
        told[server] = len(asked) - len(missing)
        return [question for question in missing if excused(question)]

    left = ask_all("live data", everything.ours, wanted, lambda question: made_up(question) or absent(question))
    left = ask_all("history", past, left, absent)
    if ask_all("prometheus", theirs, wanted, absent) != left:
        findings.append("Prometheus has what Outrigger has not")
    if everything.steady.error:
        findings.append(f"what goes on meanwhile: {everything.steady.error}")
    counts = ", ".join(f"{server} {count}" for server, count in told.items())
    return findings, f"of {len(wanted)} expressions are answered by {counts}; {len(left)} cannot be here"


def reference_findings(everything, past, seconds=20):
    """Whether docs/reference/metrics.md is current; a collector that was too slow for one scrape is in another."""
    found, deadline = {}, time.monotonic() + seconds
    while True:
        found |= metrics_reference.of_all(everything, past)
        findings = metrics_reference.findings(found)
        if not findings or time.monotonic() > deadline:
            return findings
        time.sleep(0.5)


def classic_findings(everything, past):
    """Of the boards that people have, which metrics the live program has: dashboards/classic.tsv and dashboard_metrics.txt."""
    names = set()
    for server in (everything.ours, past):
        names |= set(json.loads(peers.get(server.port, "/api/v1/label/__name__/values")[2])["data"])
    node = [name for name in read(os.path.join(peers.HERE, "dashboard_metrics.txt")).split("\n") if name and not name.startswith("#")]
    lines = [line.split("\t") for line in read(os.path.join(DATA, "classic.tsv")).splitlines()[1:]]
    reasons = {name: reason for _, name, reason in lines if reason}
    boards, findings = {}, []
    for board, name in [*(("Node Exporter Full (1860)", name) for name in node), *((board, name) for board, name, _ in lines)]:
        boards.setdefault(board, {})[name] = name in names
    for board, answered in boards.items():
        for name, is_there in answered.items():
            if not is_there and name not in reasons:
                findings.append(f"classic.tsv: {board}: nothing answers {name}")
            elif is_there and not reasons.get(name, "machine").startswith("machine"):
                findings.append(f"classic.tsv: {board}: {name} is answered; take its reason out")
    return findings, "; ".join(f"{board}: {sum(answered.values())} of {len(answered)}" for board, answered in boards.items())


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    arguments = options.parse_args()
    boards = read_boards()
    findings = [f"there is no dashboards/{name}.json" for name in UIDS if name not in boards]
    names, shown = {name for name, _ in shipped_alerts()}, set()
    for name, board in boards.items():
        findings += shape_findings(name, board)
        found, linked = link_findings(name, board, {b["uid"] for b in boards.values()}, names)
        findings += found
        shown |= linked
    findings += [f"no board shows what {alert} is about" for alert in sorted(names - shown)]
    found, exceptions = lint_findings(boards)
    findings += found
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as stack:
        made = os.path.join(folder, "made")
        findings += current_findings(made)
        everything, past = start_all(arguments.outrigger, folder, stack)
        theirs = stack.enter_context(start_prometheus(arguments.outrigger, folder, everything, past))
        found, said = live_findings(boards, everything, past, theirs)
        findings += found + reference_findings(everything, past)
        found, classic = classic_findings(everything, past)
        findings += found
    if findings:
        raise Failed(f"{len(findings)} findings\n" + "\n".join(findings[:60]))
    panels = sum(len(panels_of(board)) for board in boards.values())
    print(f"{len(boards)} dashboards, {panels} panels, {exceptions} exceptions of the linter's rules; {said}")
    print(f"names of other people's boards that are answered: {classic}")


if __name__ == "__main__":
    peers.main(check)
