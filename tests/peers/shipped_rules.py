#!/usr/bin/env python3
"""Everything that ships in rules/, by Prometheus's own measure and by the house's.

Debian's promtool checks every rule file and runs every unit test; the binary under test gives the same verdict on each,
and on a copy of each that is made wrong. It has the same files built in: they are evaluated without an error on this
machine, and without a configuration. Then, file by file: each alert has a severity, a
summary, a description and a runbook with its four sections, and is tested both silent and firing; each runbook belongs
to an alert and asks only what the binary under test can parse; README.md's tables and docs/reference/rule-inputs.md
say what the files say. The SLOs' queries are evaluated on good and on bad input.
"""

import argparse
import concurrent.futures
import glob
import json
import os
import re
import subprocess
import tempfile

import yaml

import peers
from peers import Failed

RULES = os.path.join(peers.ROOT, "rules")
RUNBOOKS = os.path.join(peers.ROOT, "docs", "runbooks")
INPUTS = os.path.join(peers.ROOT, "docs", "reference", "rule-inputs.md")
URL = "https://github.com/outrigger-dev/outrigger/blob/main/docs/runbooks/%s.md"
SEVERITIES = ("critical", "high", "medium", "low")
SECTIONS = ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]
# The alert that is never silent.
ALWAYS = "Watchdog"
# How each SLO's error ratio is to come out: series, and the ratio over 5 minutes.
SERVICE = '{job="a",protocol="http"}'
MODEL = '{job="a",model="m"}'
SLO_CASES = {
    "availability": [
        ({f"service:requests:rate5m{SERVICE}": 100, f"service:request_errors:rate5m{SERVICE}": 0}, 0),
        ({f"service:requests:rate5m{SERVICE}": 100, f"service:request_errors:rate5m{SERVICE}": 2}, 0.02)],
    "latency": [
        ({f"service:request_duration_seconds_count:rate5m{SERVICE}": 100, f"service:requests_within_200ms:rate5m{SERVICE}": 100}, 0),
        ({f"service:request_duration_seconds_count:rate5m{SERVICE}": 100, f"service:requests_within_200ms:rate5m{SERVICE}": 75}, 0.25)],
    "response-time": [
        ({f"service:request_duration_seconds_count:rate5m{SERVICE}": 100, f"service:requests_within_2s:rate5m{SERVICE}": 75}, 0.25)],
    "inference-success": [
        ({f"ml:inference_requests:rate5m{MODEL}": 100, f"ml:inference_errors:rate5m{MODEL}": 25}, 0.25)],
    "inference-latency": [
        ({'ml:inference_duration_seconds_bucket:rate5m{job="a",le="+Inf",model="m"}': 100,
          f"ml:inferences_within_2s:rate5m{MODEL}": 75}, 0.25)],
    "accuracy-preservation": [
        ({f"ml:accuracy_preservation:ratio{MODEL}": 0.75}, 0.25), ({f"ml:accuracy_preservation:ratio{MODEL}": 1.25}, 0)],
    "backup-freshness": [
        ({'backup:overdue:bool{backup="a"}': 0, 'backup:overdue:bool{backup="b"}': 1}, 0.5)],
}


def shown(path):
    return os.path.relpath(path, peers.ROOT)


def load(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def promtool(tool, *arguments):
    """Runs promtool; its output when it says that something is wrong."""
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=300)
    return [] if done.returncode == 0 else [f"promtool {' '.join(arguments[:2])}: {done.stdout}{done.stderr}"]


def verdict(program, path):
    """Whether tests pass; anything but yes and no is a failure."""
    done = subprocess.run([program, "test", "rules", path], capture_output=True, text=True, timeout=300)
    if done.returncode not in (0, 1):
        raise Failed(f"{program} test rules {path}: ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.returncode == 0


def wrong_copy(path, folder):
    """The first case of a test file in which an alert fires, made to expect its silence."""
    tests = load(path)
    tests["rule_files"] = [os.path.join(os.path.dirname(path), name) for name in tests["rule_files"]]
    fires = lambda case: [alert for alert in case.get("alert_rule_test", []) if alert["exp_alerts"]]
    tests["tests"] = [next(case for case in tests["tests"] if fires(case))]
    fires(tests["tests"][0])[0]["exp_alerts"] = []
    copy = os.path.join(folder, "wrong-" + os.path.basename(path))
    with open(copy, "w", encoding="utf-8") as file:
        yaml.safe_dump(tests, file)
    return copy


def verdict_findings(binary, tool, path, folder):
    """Whether both say yes to a test file, and no to its wrong copy."""
    findings = []
    if not verdict(binary, path):
        findings.append(f"outrigger test rules {shown(path)}: fails, and promtool's does not")
    if "alert_rule_test" in read(path):
        copy = wrong_copy(path, folder)
        verdicts = {"outrigger": verdict(binary, copy), "promtool": verdict(tool, copy)}
        if any(verdicts.values()):
            findings.append(f"a wrong copy of {shown(path)}: {verdicts}")
    return findings


def builtin_findings(binary, files):
    """The built-in rules without a configuration of them, a little faster than by default."""
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "outrigger.yml")
        with open(config, "w", encoding="utf-8") as file:
            file.write("global: {evaluation_interval: 1s}\n")
        with peers.start_outrigger(binary, [f"--config.file={config}"]) as ours:
            groups = lambda: json.loads(peers.get(ours.port, "/api/v1/rules")[2])["data"]["groups"]
            evaluated = lambda group: all(rule["health"] != "unknown" for rule in group["rules"])
            peers.wait_for(lambda: all(evaluated(g) for g in groups() if g["interval"] == 1), "evaluations", 30, ours)
            found = groups()
            alerts = json.loads(peers.get(ours.port, "/api/v1/alerts")[2])["data"]["alerts"]
    findings = [f"{rule['name']}: {rule['lastError']}" for group in found for rule in group["rules"] if rule.get("lastError")]
    if {g["file"] for g in found} != {"builtin/" + os.path.basename(path) for path in files}:
        findings.append(f"built in are {sorted({g['file'] for g in found})}")
    firing = sorted(a["labels"]["alertname"] for a in alerts if a["state"] == "firing")
    if ALWAYS not in firing:
        findings.append(f"{ALWAYS} does not fire")
    print(f"built in: {len(found)} groups, {sum(len(g['rules']) for g in found)} rules; firing here: {', '.join(firing)}")
    return findings


def rule_files():
    files = sorted(glob.glob(os.path.join(RULES, "*.rules.yml")))
    if not files:
        raise Failed(f"no rule files in {RULES}")
    return files


def rules_of(path):
    return [rule for group in load(path)["groups"] for rule in group["rules"]]


def alert_findings(where, rule):
    """What an alert of a rule file, or of an SLO file, lacks; `rule` has labels and annotations."""
    name, annotations = rule["alert"], rule.get("annotations", {})
    findings = [f"{where}: {name}: no annotation {key}" for key in ("summary", "description") if not annotations.get(key)]
    if rule.get("labels", {}).get("severity") not in SEVERITIES:
        findings.append(f"{where}: {name}: severity is not one of {', '.join(SEVERITIES)}")
    if annotations.get("runbook_url") != URL % name:
        findings.append(f"{where}: {name}: runbook_url is not {URL % name}")
    runbook = os.path.join(RUNBOOKS, f"{name}.md")
    if not os.path.exists(runbook):
        return findings + [f"{where}: {name}: {shown(runbook)} does not exist"]
    lines = read(runbook).split("\n")
    if [line for line in lines if line.startswith("## ")] != SECTIONS:
        findings.append(f"{shown(runbook)}: its sections are not {SECTIONS}")
    if lines[0] != f"# {name}":
        findings.append(f"{shown(runbook)}: its title is not {name}")
    return findings


def tested(path):
    """Alerts that a file's unit tests show silent, and firing."""
    stem = os.path.basename(path).removesuffix(".rules.yml")
    silent, firing = set(), set()
    for test_file in glob.glob(os.path.join(RULES, "tests", f"{stem}*.test.yml")):
        for case in load(test_file)["tests"]:
            for alert in case.get("alert_rule_test", []):
                (firing if alert["exp_alerts"] else silent).add(alert["alertname"])
    return silent, firing


def test_findings(path, alerts):
    silent, firing = tested(path)
    names = {rule["alert"] for rule in alerts}
    findings = [f"{shown(path)}: {name}: no unit test shows it firing" for name in sorted(names - firing)]
    return findings + [f"{shown(path)}: {name}: no unit test shows it silent" for name in sorted(names - silent - {ALWAYS})]


def slos_of(path):
    """(alert as in a rule file, queries) of each SLO of a Sloth file."""
    for slo in load(path)["slos"]:
        alerting = slo["alerting"]
        for kind in ("page_alert", "ticket_alert"):
            labels = alerting[kind]["labels"]
            yield {"alert": alerting["name"], "labels": labels, "annotations": alerting["annotations"]}, slo


def ratio_of(slo):
    """The SLO's error ratio over 5 minutes as one expression."""
    sli = slo["sli"]
    events, raw = sli.get("events"), sli.get("raw")
    text = f"({events['error_query']}) / ({events['total_query']})" if events else raw["error_ratio_query"]
    return text.replace("{{.window}}", "5m")


def slo_tests(folder):
    """A unit-test file that evaluates the SLOs' queries; its path."""
    tests = []
    for path in sorted(glob.glob(os.path.join(RULES, "slo", "*.yml"))):
        name = os.path.basename(path).removesuffix(".yml")
        ratio = ratio_of(load(path)["slos"][0])
        for series, expected in SLO_CASES[name]:
            tests.append({
                "interval": "1m", "input_series": [{"series": s, "values": f"{v}x20"} for s, v in series.items()],
                "promql_expr_test": [{"expr": ratio, "eval_time": "15m", "exp_samples": [{"labels": "{}", "value": expected}]}]})
        tests.append({"interval": "1m", "input_series": [{"series": "other", "values": "1x20"}],
                      "promql_expr_test": [{"expr": ratio, "eval_time": "15m", "exp_samples": []}]})
    target = os.path.join(folder, "slo.test.yml")
    with open(target, "w", encoding="utf-8") as file:
        yaml.safe_dump({"evaluation_interval": "1m", "tests": tests}, file)
    return target


def table_findings(alerts, slos):
    """README.md's tables against the files: same rows, same severity, same `for`."""
    readme = read(os.path.join(RULES, "README.md"))
    row = re.compile(r"^\| `([^`]+)` \| \[(\w+)\]\(\.\./docs/runbooks/\2\.md\) \| ([^|]+?) \| ([^|]+?)(?: \| (\w+))? \|$", re.M)
    found = {(m[1], m[2]): (m[3], m[5]) for m in row.finditer(readme)}
    wanted = {(os.path.basename(path), rule["alert"]): (rule["labels"]["severity"], rule.get("for", "0m")) for path, rule in alerts}
    for path, slo in slos:
        wanted[(f"slo/{os.path.basename(path)}", slo["alerting"]["name"])] = (f"{slo['objective']} %", None)
    findings = [f"rules/README.md: {key}: {found.get(key)}, and the file says {value}" for key, value in wanted.items() if found.get(key) != value]
    return findings + [f"rules/README.md: {key} is in no file" for key in found if key not in wanted]


def metrics_of(expression):
    """Names of the metrics that an expression selects."""
    text = re.sub(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"", '""', expression)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\boffset\s+\S+", " ", text)
    text = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    words = re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?![\w:])(?!\s*\()", text)
    return set(words) - {"and", "or", "unless", "bool", "by", "on", "without", "Inf", "NaN"}


def input_findings(expressions):
    listed = set(re.findall(r"^\| `([^`]+)` \|", read(INPUTS), re.M))
    read_ones = set().union(*(metrics_of(e) for e in expressions))
    findings = [f"{shown(INPUTS)}: {name} is read by a rule and not listed" for name in sorted(read_ones - listed)]
    return findings + [f"{shown(INPUTS)}: {name} is listed and read by no rule" for name in sorted(listed - read_ones)]


def runbook_findings(binary, names):
    """Runbooks without an alert, and queries in runbooks that do not parse."""
    findings = []
    for path in sorted(glob.glob(os.path.join(RUNBOOKS, "*.md"))):
        name = os.path.basename(path).removesuffix(".md")
        if name not in names:
            findings.append(f"{shown(path)}: there is no alert {name}")
        for query in re.findall(r"^outrigger query '([^']*)'", read(path), re.M):
            done = subprocess.run([binary, "promql", "format", query], capture_output=True, text=True, timeout=30)
            if done.returncode != 0:
                findings.append(f"{shown(path)}: {query}: {done.stderr.strip()}")
    return findings


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    options.add_argument("--promtool", default="promtool")
    arguments = options.parse_args()
    files = rule_files()
    rules = [(path, rule) for path in files for rule in rules_of(path)]
    alerts = [(path, rule) for path, rule in rules if "alert" in rule]
    slo_files = sorted(glob.glob(os.path.join(RULES, "slo", "*.yml")))
    slos = [(path, slo) for path in slo_files for slo in load(path)["slos"]]

    findings = promtool(arguments.promtool, "check", "rules", *files)
    for path, rule in alerts:
        findings += alert_findings(shown(path), rule)
    for path in files:
        findings += test_findings(path, [rule for p, rule in alerts if p == path])
    for path in slo_files:
        for rule, _ in slos_of(path):
            findings += alert_findings(shown(path), rule)
    findings += table_findings(alerts, slos)
    findings += input_findings([rule["expr"] for _, rule in rules] + [ratio_of(slo) for _, slo in slos])
    names = [rule["alert"] for _, rule in alerts] + [slo["alerting"]["name"] for _, slo in slos]
    findings += [f"{name}: the name of two alerts" for name in sorted({n for n in names if names.count(n) > 1})]
    findings += runbook_findings(arguments.outrigger, set(names))

    tests = sorted(glob.glob(os.path.join(RULES, "tests", "*.test.yml")))
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        tests.append(slo_tests(folder))
        for found in pool.map(lambda test: promtool(arguments.promtool, "test", "rules", test), tests):
            findings += found
        same = lambda test: verdict_findings(arguments.outrigger, arguments.promtool, test, folder)
        for found in pool.map(same, tests):
            findings += found
    findings += builtin_findings(arguments.outrigger, files)
    if findings:
        raise Failed("\n".join(findings))
    print(f"{len(files)} rule files, {len(rules)} rules, {len(alerts)} alerts, {len(slos)} SLOs, {len(tests)} test files: all well")


if __name__ == "__main__":
    peers.main(check)
