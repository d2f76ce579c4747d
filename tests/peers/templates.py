#!/usr/bin/env python3
"""The listed templates expand as Debian's promtool expands them, errors included.

The list, src/rules/template/golden.txt, is what our own tests hold us to; this holds the list to Prometheus. Each
template becomes an alert's annotation in a unit test that expects nothing, so that promtool prints what it got.
With --write, the list's expectations are replaced by promtool's.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LIST = Path(__file__).resolve().parents[2] / "src/rules/template/golden.txt"
LABELS = '{instance="web-1.example.com:9100", job="node"}'
SERIES = [
    {"series": 'q{host="a", n="10"}', "values": "2"},
    {"series": 'q{host="b", n="9"}', "values": "1"},
    {"series": 'q{host="c", n="2"}', "values": "3"},
]


def read(path):
    """Lines as they are, and for each template the indices of its own line and its expectation's, and its value."""
    lines = path.read_text(encoding="utf-8").split("\n")
    cases, value = [], None
    for at, line in enumerate(lines):
        if line.startswith("@value "):
            value = line.removeprefix("@value ")
        elif line and not line.startswith(("# ", "    ")):
            cases.append((at, line.replace("␤", "\n"), value))
    return lines, cases


def rule_file(folder, name, templates):
    rules = [
        {"alert": f"A{at}", "expr": "m", "annotations": {"t": template}} for at, template in templates
    ]
    path = folder / name
    path.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}), encoding="utf-8")
    return path


def refused(folder, cases):
    """Templates that promtool does not read: index of the line -> message."""
    files = [str(rule_file(folder, f"check{at}.yml", [(at, template)])) for at, template, _ in cases]
    run = subprocess.run(["promtool", "check", "rules", *files], capture_output=True, text=True, check=False)
    found = re.findall(r'"A(\d+)": annotation "t": (.*)', run.stdout + run.stderr)
    return {int(at): "! " + message for at, message in found}


def expanded(folder, cases):
    """Annotations as promtool quotes them: index of the line -> text."""
    got = {}
    for value in {value for _, _, value in cases}:
        chosen = [(at, template) for at, template, of in cases if of == value]
        rules = rule_file(folder, "rules.yml", chosen)
        series = [{"series": "m" + LABELS, "values": value}, *SERIES]
        wanted = [{"eval_time": "0m", "alertname": f"A{at}", "exp_alerts": []} for at, _ in chosen]
        test = {
            "interval": "1m",
            "input_series": series,
            "alert_rule_test": wanted,
            "external_labels": {"region": "eu"},
            "external_url": "http://prom.example.com:9090/prom/x",
        }
        path = folder / "test.yml"
        whole = {"rule_files": [rules.name], "evaluation_interval": "1m", "tests": [test]}
        path.write_text(json.dumps(whole), encoding="utf-8")
        run = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
        output = run.stdout + run.stderr
        for match in re.finditer(r"alertname: A(\d+), time.*?got:\[(.*?)\n\s*\]", output, re.DOTALL):
            text = re.search(r'Annotations:\{(?:t=("(?:[^"\\]|\\.)*"))?\}', match.group(2))
            if text:
                got[int(match.group(1))] = text.group(1) or '""'
    return got


def main():
    lines, cases = read(LIST)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        theirs = refused(folder, cases)
        theirs |= expanded(folder, [case for case in cases if case[0] not in theirs])
    theirs = {at: re.sub(r"__alert_A\d+", "__alert_T", text) for at, text in theirs.items()}
    if "--write" in sys.argv[1:]:
        whole = []
        for at, line in enumerate(lines):
            if not line.startswith("    "):
                whole.append(line)
            if at in theirs:
                whole.append("    " + theirs[at])
        LIST.write_text("\n".join(whole), encoding="utf-8")
    lines, cases = read(LIST) if "--write" not in sys.argv[1:] else (whole, [])
    wrong = [
        f"{template}\n    expected {lines[at + 1].strip()}\n    promtool {theirs.get(at)}"
        for at, template, _ in cases
        if lines[at + 1].removeprefix("    ") != theirs.get(at)
    ]
    print("\n".join(wrong))
    print(f"templates: {len(theirs)} compared with promtool, {len(wrong)} different")
    return 1 if wrong or not theirs else 0


if __name__ == "__main__":
    sys.exit(main())
