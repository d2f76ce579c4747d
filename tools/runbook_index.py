#!/usr/bin/env python3
"""Writes docs/runbooks.md: every shipped alert by severity, with what it means and its runbook.

    python3 tools/runbook_index.py [FILE]
"""

import glob
import os
import re
import sys

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SEVERITIES = [("critical", "SEV-1: answer within 15 minutes, at any time"), ("high", "SEV-2: within an hour, at any time"),
              ("medium", "SEV-3: within 4 hours, in working hours"), ("low", "SEV-4: the next business day")]
HEAD = """# Runbooks

<!-- Made by tools/runbook_index.py from rules/ and runbooks/. -->

One page for each alert of [rules/](../rules/README.md): what it means, what users notice, how to find the cause, what to do. An
alert's annotation `runbook_url` leads there. Alerts of objectives are listed with the severity of their page.
"""


def alerts():
    for path in sorted(glob.glob(os.path.join(ROOT, "rules", "*.rules.yml"))):
        with open(path, encoding="utf-8") as file:
            for group in yaml.safe_load(file)["groups"]:
                for rule in group["rules"]:
                    if "alert" in rule:
                        yield rule["alert"], rule["labels"]["severity"], meaning(rule["alert"])
    for path in sorted(glob.glob(os.path.join(ROOT, "rules", "slo", "*.yml"))):
        with open(path, encoding="utf-8") as file:
            for slo in yaml.safe_load(file)["slos"]:
                budget = f"while the error budget burns too fast: {slo['description'].rstrip('.')}"
                yield slo["alerting"]["name"], slo["alerting"]["page_alert"]["labels"]["severity"], budget


def meaning(name):
    """The sentence of a runbook that says when the alert fires."""
    with open(os.path.join(ROOT, "docs", "runbooks", f"{name}.md"), encoding="utf-8") as file:
        text = " ".join(file.read().split())
    found = re.search(r"Fires (.*?)\. Rules?:", text) or re.search(r"Fires (.*?)\. ", text)
    return found[1].removeprefix("at once when: ").replace("|", "\\|") if found else ""


def main():
    out, all_alerts = [HEAD], list(alerts())
    for severity, answer in SEVERITIES:
        out.append(f"## {severity.capitalize()} ({answer})\n\n| alert | fires |\n|---|---|")
        out += [f"| [{name}](runbooks/{name}.md) | {said} |" for name, of, said in all_alerts if of == severity]
        out.append("")
    with open(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "docs", "runbooks.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(out))


if __name__ == "__main__":
    main()
