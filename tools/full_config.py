#!/usr/bin/env python3
"""Writes examples/configs/outrigger-full.yml: every key of docs/reference/configuration.md once, with its default.

    python3 tools/full_config.py [FILE]

What has no default stands as a comment. The sections that are Prometheus's own (scrape_configs, remote_write,
alerting) have an example in place of all their keys.
"""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REFERENCE = os.path.join(ROOT, "docs", "reference", "configuration.md")
ROW = re.compile(r"^\| `([^`]+)` \| (.*?)(?<!\\) \| (.*) \|$")
HEAD = """# Every key, once, with its default: a place to look things up in, not one to start from (outrigger-minimal.yml).
# Made by tools/full_config.py from docs/reference/configuration.md. `outrigger check config` takes it as it is.
"""
TAIL = """
# Prometheus's own sections: see prometheus.io, and docs/reference/configuration.md for what differs.
global:
  scrape_interval: 1m
  scrape_timeout: 10s
  evaluation_interval: 1m
  external_labels: {}

# scrape_configs:
#   - job_name: application
#     static_configs: [{ targets: ["localhost:8080"] }]

# remote_write:
#   - url: http://prometheus:9090/api/v1/write

# Which of the rules that are in the program are wanted.
builtin_rules:
  enabled: true
  exclude: []

rule_files: []
slo_files: []

# Without pillars the built-in one, made of the rules that ship and of error budgets.
scorecard:
  enabled: true
  # pillars:
  #   performance:
  #     target: 0.2
  #     worst: 1
  #     values: { p95: { query: 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))' } }

alerting:
  # A line in the log when an alert begins to fire and when it is resolved.
  console: true
  # Resolve firing alerts when the program ends.
  resolve_on_shutdown: false
  # alertmanagers:
  #   - static_configs: [{ targets: ["localhost:9093"] }]
  # webhooks:
  #   - url: http://localhost:8080/alerts
"""


def keys():
    """(path, default or None, meaning) of every row of the tables."""
    with open(REFERENCE, encoding="utf-8") as file:
        for line in file:
            found = ROW.match(line.rstrip("\n"))
            if not found:
                continue
            path, default, rest = found.groups()
            default = default.strip().strip("`").replace("\\|", "|")
            meaning = re.sub(r"^[^|]*? \| (?=[A-Z])", "", rest) if " | " in rest else rest
            yield path.split("."), default or None, meaning.replace("\\|", "|").strip()


def scalar(text):
    if re.fullmatch(r"true|false|-?[0-9]+(\.[0-9]+)?", text):
        return text
    return "'" + text.replace("'", "''") + "'" if not re.fullmatch(r"[A-Za-z0-9/_.-]+", text) else text


def tree():
    root = {}
    for path, default, meaning in keys():
        # `arp` is a switch of its own, and has options: the switch becomes `enabled`.
        if path[:2] == ["collect", "collectors"]:
            path = [*path[:3], ".".join(path[3:]) or "enabled"]
        node = root
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = (default, meaning)
    return root


def write(node, depth, out):
    indent = "  " * depth
    for name, value in node.items():
        if isinstance(value, dict):
            given = any_default(value)
            out.append(f"{indent}{'' if given else '# '}{name}:")
            write(value, depth + 1, out) if given else comment(value, depth + 1, out)
            continue
        default, meaning = value
        out.append(f"{indent}# {meaning}")
        listed = "epeatable" in meaning or name in ("listen_addresses",)
        shown = "" if default is None else f" [{scalar(default)}]" if listed else f" {scalar(default)}"
        out.append(f"{indent}{'# ' if default is None else ''}{name}:{shown}")


def comment(node, depth, out):
    lines = []
    write(node, depth, lines)
    out.extend(line if line.lstrip().startswith("#") else f"{'  ' * depth}# {line.strip()}" for line in lines)


def any_default(node):
    return any(any_default(v) if isinstance(v, dict) else v[0] is not None for v in node.values())


def main():
    out = [HEAD]
    for name, node in tree().items():
        if isinstance(node, dict):
            write({name: node}, 0, out)
        else:
            write({name: node}, 0, out)
        out.append("")
    target = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "examples", "configs", "outrigger-full.yml")
    with open(target, "w", encoding="utf-8") as file:
        file.write("\n".join(out).rstrip() + "\n" + TAIL)


if __name__ == "__main__":
    main()
