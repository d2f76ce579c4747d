#!/usr/bin/env python3
"""`outrigger test rules` and Debian's `promtool test rules` give the same verdicts, and the same messages.

Each case is a small file of rules and one of tests; many fail on purpose. Compared are the exit status and, where both
read the files, everything that is printed. Messages about files that cannot be read differ in wording: ours name each
mistake with its place.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

RULES = {
    "groups": [
        {
            "name": "g",
            "rules": [
                {"record": "job:up:sum", "expr": "sum by (job) (up)"},
                {"record": "job:up:sum2", "expr": "job:up:sum * 2", "labels": {"kind": "twice"}},
                {
                    "alert": "Down",
                    "expr": "up == 0",
                    "for": "2m",
                    "labels": {"severity": "page", "job": "{{ $labels.job | toUpper }}"},
                    "annotations": {
                        "summary": "{{ $labels.instance }} {{ $value }} {{ $externalLabels.region }}",
                        "link": "{{ $externalURL }}",
                        "empty": "{{ $labels.nope }}",
                        "query": "{{ with query \"sum(up)\" }}{{ . | first | value }}{{ end }}",
                    },
                },
                {"alert": "Now", "expr": "m > 1", "annotations": {"v": "{{ $value | humanize }}"}},
                {"alert": "Kept", "expr": "m > 1", "keep_firing_for": "3m"},
                {"alert": "Broken", "expr": "m > 1", "annotations": {"v": "{{ template \"x\" }}"}},
            ],
        },
        {"name": "h", "interval": "3m", "rules": [{"record": "late", "expr": "count(ALERTS)"}]},
    ]
}
SERIES = [
    {"series": 'up{job="a", instance="x"}', "values": "1 0x10"},
    {"series": 'up{job="a", instance="y"}', "values": "1x3 _x3 1 stale"},
    {"series": "m", "values": "0 1 2 5 _ _ _ 0 0 0"},
    {"series": 'c{a="1"}', "values": "0+10x20"},
]


def alert(at, name, *expected):
    return {
        "eval_time": at,
        "alertname": name,
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations} for labels, annotations in expected],
    }


def expr(text, at, *expected):
    return {
        "expr": text,
        "eval_time": at,
        "exp_samples": [{"labels": labels, "value": value} for labels, value in expected],
    }


def test(alerts=(), exprs=(), **more):
    return {
        "interval": "1m",
        "input_series": SERIES,
        "alert_rule_test": list(alerts),
        "promql_expr_test": list(exprs),
        "external_labels": {"region": "eu"},
        "external_url": "http://p.example:9090",
        **more,
    }


X = {"severity": "page", "job": "A", "instance": "x"}
XA = {"summary": "x 0 eu", "link": "http://p.example:9090", "empty": "", "query": "1"}


def cases():
    """Name -> (tests, further keys of the file, rules)."""
    found = {}

    def add(name, *tests, rules=RULES, **top):
        found[name] = ({"rule_files": ["r.yml"], "evaluation_interval": "1m", "tests": list(tests), **top}, rules)

    for at in ("0m", "1m", "2m", "2m59s", "3m", "4m", "30m"):
        add(f"down at {at}, none expected", test([alert(at, "Down")]))
        add(f"down at {at}, one expected", test([alert(at, "Down", (X, XA))]))
    add("wrong label", test([alert("3m", "Down", ({**X, "job": "a"}, XA))]))
    add("missing annotation", test([alert("3m", "Down", (X, {"summary": "x 0 eu"}))]))
    add("empty annotation left out", test([alert("3m", "Down", (X, {k: v for k, v in XA.items() if v}))]))
    add("empty label expected", test([alert("3m", "Down", ({**X, "more": ""}, XA))]))
    add("alertname given", test([alert("3m", "Down", ({**X, "alertname": "Other"}, XA))]))
    add("unknown alert", test([alert("3m", "Nope")]), test([alert("3m", "Nope", ({}, {}))]))
    add("named", test([alert("3m", "Down")], name="a name"))
    add("without alertname", test([{"eval_time": "3m", "exp_alerts": []}]))
    for at in ("1m", "2m", "3m", "4m", "5m", "6m", "7m", "8m", "9m", "10m"):
        add(f"now at {at}", test([alert(at, "Now", ({}, {"v": "2"})), alert(at, "Kept", ({}, {}))]))
    add("a template that fails", test([alert("2m", "Broken", ({}, {}))]))
    add("twice the same", test([alert("2m", "Now", ({}, {"v": "2"}), ({}, {"v": "2"}))]))
    for at in ("0s", "90s", "3m", "7m", "12m", "2h"):
        add(
            f"samples at {at}",
            test(
                exprs=[
                    expr("job:up:sum", at, ('job:up:sum{job="a"}', 2)),
                    expr("job:up:sum2", at, ('job:up:sum2{job="a",kind="twice"}', 2)),
                    expr("up", at, ('up{job="a",instance="x"}', 1), ('up{instance="y",job="a"}', 1)),
                    # Not 5m: a sample at the window's left end counts in 2.42 and not since 3.0.
                    expr("rate(c[290s])", at),
                    expr("late", at, ("late", 3)),
                    expr("ALERTS", at),
                    expr("ALERTS_FOR_STATE", at),
                    expr("timestamp(m)", at),
                    expr("m offset -1m", at),
                    expr("max_over_time(m[10m:])", at),
                    expr("sum(up) by (instance)", at, ('{instance="x"}', 0)),
                    expr("vector(time())", at, ("{}", 0)),
                ]
            ),
            # promtool's order of groups that it was not told is another one in each run, and h counts what g makes.
            group_eval_order=["g", "h"],
        )
    add("numbers", test(exprs=[expr(text, "0", ("{}", value)) for text, value in [
        ("1e21", 1), ("0.1 + 0.2", 0.3), ("1 / 0", 1), ("-1 / 0", 1), ("123456789.125", 1), ("1e-9", 1),
    ]]))
    add("expressions that fail", test(exprs=[expr("up(", "0"), expr("up[5m]", "0"), expr("'a'", "0"), expr("nope(1)", "0")]))
    add("duplicates", test(), rules={"groups": [{"name": "g", "rules": [
        {"record": "z", "expr": "label_replace(up, \"instance\", \"\", \"\", \"\")"},
    ]}]})
    add("alerts alike", test([alert("0", "A")]), rules={"groups": [{"name": "g", "rules": [
        {"alert": "A", "expr": "up", "labels": {"instance": ""}},
        {"alert": "A", "expr": "up", "labels": {"instance": "same"}},
    ]}]})
    add("the limit", test([alert("0", "A")]), rules={"groups": [{"name": "g", "limit": 1, "rules": [
        {"alert": "A", "expr": "up"}, {"record": "r", "expr": "up"},
    ]}]})
    ordered = {"groups": [
        {"name": "a", "rules": [{"record": "x", "expr": "y + 1"}]},
        {"name": "b", "rules": [{"record": "y", "expr": "m"}]},
    ]}
    add("ordered", test(exprs=[expr("x", "0", ("x", 1))]), rules=ordered, group_eval_order=["b", "a"])
    add("order repeated", test(), rules=ordered, group_eval_order=["b", "b"])
    add("intervals apart", test([alert("150s", "Down", (X, XA))], interval="30s"), evaluation_interval="20s")
    add("no evaluation interval", test([alert("3m", "Down", (X, XA))]), evaluation_interval="0s")
    add("no tests")
    add("an unknown key", test(bogus=1))
    add("an unknown key on top", test(), evaluation_intervall="1m")
    add("bad values", test(input_series=[{"series": "m", "values": "1 2 oops"}]))
    add("bad series", test(input_series=[{"series": "m{a=", "values": "1"}]))
    add("bad labels", test(exprs=[expr("m", "0", ("m{", 1))]))
    add("bad rules", test(), rules={"groups": [{"name": "g", "rules": [{"record": "x", "expr": "up("}]}]})
    add("a bad template", test(), rules={"groups": [{"name": "g", "rules": [
        {"alert": "A", "expr": "up", "annotations": {"a": "{{ nope }}"}},
    ]}]})
    add("files that are not there", test(exprs=[expr("m", "0", ("m", 0))]), rule_files=["none*.yml", "none.yml"])
    add("two that fail", test([alert("3m", "Down")]), test([alert("4m", "Down")], name="two"))
    return found


# Where only the verdict is compared: the files, the series or the expectations cannot be read.
VERDICT_ONLY = {
    "an unknown key", "an unknown key on top", "bad values", "bad series", "bad labels", "bad rules", "a bad template",
    "without alertname", "order repeated",
}


def run(command, folder):
    done = subprocess.run([*command, "t.yml"], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    outrigger = str(Path(options.parse_args().outrigger).resolve())
    different, passed, failed = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, (tests, rules) in cases().items():
            (folder / "r.yml").write_text(json.dumps(rules), encoding="utf-8")
            (folder / "t.yml").write_text(json.dumps(tests), encoding="utf-8")
            theirs = run(["promtool", "test", "rules"], folder)
            ours = run([outrigger, "test", "rules"], folder)
            passed, failed = passed + (theirs[0] == 0), failed + (theirs[0] != 0)
            if name in VERDICT_ONLY:
                theirs, ours = theirs[0], ours[0]
            else:
                # Theirs prints an empty line after each failure.
                theirs = (theirs[0], theirs[1].split(), theirs[2])
                ours = (ours[0], ours[1].split(), ours[2])
            if theirs != ours:
                different.append(f"{name}:\n  promtool {theirs}\n  ours     {ours}")
    print("\n".join(different))
    print(f"rule tests: {passed} that pass and {failed} that fail compared, {len(different)} different")
    return 1 if different or not (passed and failed) else 0


if __name__ == "__main__":
    sys.exit(main())
