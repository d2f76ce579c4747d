#!/usr/bin/env python3
"""Generated rules in front of promtool, and an outage played through in Prometheus's evaluator beside our words for it.

`promtool check rules` accepts what every example gives, and what `outrigger rules export` writes of all rules that
ship, of short forms and of examples, in each format. Then `promtool test rules` feeds the rules of one objective
counters of which a part fails for an hour, and asks minute by minute which alerts fire: each must begin within two
minutes of what `outrigger slo simulate` says (rules are evaluated each minute, and one builds on the other), and end so.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile
import textwrap

import peers
from peers import Failed

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "slo"
# Longer than the longest window, so that all of it is known.
START_MIN = 4_400
LASTS_MIN = 60
SLO = """version: prometheus/v1
service: svc
slos:
- name: avail
  objective: 99.9
  sli:
    events:
      error_query: sum(rate(bad_total[{{.window}}]))
      total_query: sum(rate(all_total[{{.window}}]))
  alerting: {name: Burn}
"""


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def check_rules(outrigger, folder):
    for example in sorted(EXAMPLES.glob("*.yml")):
        rules = folder / f"{example.stem}.rules.yml"
        run(outrigger, "slo", "generate", example, "-o", rules)
        said = run("promtool", "check", "rules", rules)
        found = re.search(r"SUCCESS: (\d+) rules found", said)
        if not found:
            raise Failed(said)
        print(f"promtool check rules: {example.name}: {found[1]} rules")


def check_export(outrigger, folder):
    shipped = [*sorted((ROOT / "rules").glob("*.rules.yml")), *sorted(EXAMPLES.glob("*.yml"))]
    own = [ROOT / "tests" / "cmd" / "files" / name for name in ("good.rules.yml", "short.rules.yml")]
    for form in ("prometheus", "mimir", "prometheus-operator"):
        for files in [[*shipped, *own]] if form == "prometheus" else [[file] for file in (*shipped, *own)]:
            written = run(outrigger, "rules", "export", "--format", form, *files)
            if form == "prometheus-operator":
                written = textwrap.dedent(written.split("\nspec:\n", 1)[1])
            elif form == "mimir":
                written = written.split("\n", 1)[1]
            rules = folder / "exported.rules.yml"
            rules.write_text(written)
            said = run("promtool", "check", "rules", rules)
            if not re.search(r"SUCCESS: [1-9]\d* rules found", said):
                raise Failed(f"{form}: {files}: {said}")
        print(f"promtool check rules: export to {form}: {len(shipped) + len(own)} files")


def minutes(text):
    parts = dict((unit, int(n)) for n, unit in re.findall(r"(\d+)(h|m|s)(?![a-z])", text))
    return parts.get("h", 0) * 60 + parts.get("m", 0) + parts.get("s", 0) / 60


def expected(outrigger, slo, rate):
    """Severity -> (begin, end) in minutes after the outage began; the earliest pair's begin, the latest pair's end."""
    said = run(outrigger, "slo", "simulate", slo, "--error-rate", f"{rate}%", "--for", f"{LASTS_MIN}m")
    times = {}
    for severity, begin, end in re.findall(
        r"^  (page|ticket).*fires after (\S+),.*resolved (\S+) after the end", said, re.MULTILINE
    ):
        begin, end = minutes(begin), LASTS_MIN + minutes(end)
        was = times.get(severity, (begin, end))
        times[severity] = (min(was[0], begin), max(was[1], end))
    return times


def played_in_prometheus(rules, folder, rate, points):
    """Asks Prometheus's evaluator whether the alerts fire: points of (severity, minute after the beginning, firing)."""
    bad = int(1000 * rate / 100)
    series = f"0+0x{START_MIN} {bad}+{bad}x{LASTS_MIN - 1} {bad * LASTS_MIN}+0x600"
    tests = "".join(
        f"  - expr: count(ALERTS{{alertname=\"Burn\",alertstate=\"firing\",sloth_severity=\"{severity}\"}}) or vector(0)\n"
        f"    eval_time: {START_MIN + minute}m\n"
        f"    exp_samples: [{{labels: '{{}}', value: {int(firing)}}}]\n"
        for severity, minute, firing in points
    )
    test = folder / "alert.test.yml"
    test.write_text(
        f"rule_files: [{rules}]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n"
        f"  - {{series: all_total, values: '0+1000x{START_MIN + 600}'}}\n  - {{series: bad_total, values: '{series}'}}\n"
        f"  promql_expr_test:\n{tests}"
    )
    run("promtool", "test", "rules", test)


def play(outrigger, folder):
    slo, rules = folder / "slo.yml", folder / "slo.rules.yml"
    slo.write_text(SLO)
    run(outrigger, "slo", "generate", slo, "-o", rules)
    for rate in (5, 20):
        times = expected(outrigger, slo, rate)
        if not times:
            raise Failed(f"simulate names no alert at {rate} %")
        points = []
        for severity, (begin, end) in sorted(times.items()):
            points += [
                (severity, int(begin) - 1, False),
                (severity, int(begin) + 2, True),
                (severity, int(end) - 1, True),
                (severity, int(end) + 3, False),
            ]
        played_in_prometheus(rules, folder, rate, points)
        for severity, (begin, end) in sorted(times.items()):
            print(f"{rate} % for {LASTS_MIN} min: {severity} from {begin:.1f} to {end:.1f} min, in Prometheus too")


def check():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outrigger", required=True)
    outrigger = parser.parse_args().outrigger
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_rules(outrigger, folder)
        check_export(outrigger, folder)
        play(outrigger, folder)


if __name__ == "__main__":
    peers.main(check)
