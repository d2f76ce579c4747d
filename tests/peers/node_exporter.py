#!/usr/bin/env python3
"""Debian's node_exporter and Outrigger side by side on the live machine.

Both are started with the same flags. A round is: scrape node_exporter, Outrigger, node_exporter. Families, types
and label sets must be the same; a value must be equal to one of node_exporter's two, or lie between them. What moves
both ways between two passes (free memory, say) gets many rounds and must fit in one of them.

Exceptions stand in node_exporter_exceptions.tsv, each with its reason; one that no longer applies is a failure.
"""

import argparse
import os
import re
import subprocess
import tempfile

import peers
from peers import Failed

# At most; it ends when every value has fitted.
ROUNDS = 40
ROUNDS_AT_LEAST = 4
EXCEPTIONS = os.path.join(peers.HERE, "node_exporter_exceptions.tsv")
FLAGS = [
    "--collector.cpu.info",
    "--collector.stat.softirq",
    "--collector.netdev.address-info",
    "--collector.netdev.device-exclude=^$",
    "--collector.diskstats.device-exclude=^$",
    "--collector.filesystem.mount-points-exclude=^/(dev|proc)($|/)",
    "--collector.filesystem.fs-types-exclude=^(autofs|cgroup|nsfs|proc|fuse.*)$",
    "--collector.netclass.ignored-devices=^$",
    "--collector.netstat.fields=.*",
    "--collector.vmstat.fields=.*",
    "--collector.rapl.enable-zone-label",
    "--collector.sysctl.include=vm.swappiness",
    "--collector.sysctl.include=net.ipv4.tcp_rmem:min,default,max",
    "--collector.sysctl.include-info=kernel.core_pattern",
]
TEXTFILE = """\
# HELP job_last_success_seconds When the job last went well.
# TYPE job_last_success_seconds gauge
job_last_success_seconds{job="backup \\"nightly\\"",path="C:\\\\x\\ny"} 1.5e+09
# TYPE job_runs_total counter
job_runs_total 3
# TYPE job_duration_seconds histogram
job_duration_seconds_bucket{le="1"} 1
job_duration_seconds_bucket{le="+Inf"} 2
job_duration_seconds_sum 7.25
job_duration_seconds_count 2
"""


class Exceptions:
    """Lines of the exceptions file: kind, regular expression on what was found, how often, reason."""

    def __init__(self, path):
        self.rows = []
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if line.strip() and not line.startswith("#"):
                    cells = line.rstrip("\n").split("\t")
                    if len(cells) != 4 or cells[2] not in ("always", "maybe") or not cells[3].strip():
                        raise Failed(f"{path}:{number}: want kind, expression, always or maybe, reason")
                    self.rows.append((cells[0], re.compile(cells[1]), cells[2], number))
        self.used = set()

    def excuse(self, kind, what):
        """Whether the finding is a known one."""
        for row_kind, expression, _, number in self.rows:
            if row_kind == kind and expression.fullmatch(what):
                self.used.add(number)
                return True
        return False

    def without_new_labels(self, families):
        """The families without the labels that only newer versions have."""
        for kind, expression, _, number in self.rows:
            if kind != "label":
                continue
            family_expression, label = expression.pattern.split(":")
            for family, (type_, samples) in families.items():
                if re.fullmatch(family_expression, family):
                    stripped = {(n, tuple(p for p in pairs if p[0] != label)): v for (n, pairs), v in samples.items()}
                    if stripped.keys() != samples.keys() and len(stripped) == len(samples):
                        self.used.add(number)
                        families[family] = (type_, stripped)
        return families

    def unused(self):
        return [
            f"line {number}: {kind} {expression.pattern}"
            for kind, expression, often, number in self.rows
            if often == "always" and number not in self.used
        ]


def names_of(binary):
    """Names of the collectors that a node_exporter knows, from its help."""
    names = set()
    text = subprocess.run([binary, "--help"], capture_output=True, text=True, check=True)
    flat = re.sub(r"\n {20,}", " ", text.stdout + text.stderr)
    for line in flat.splitlines():
        found = re.match(r" +--collector\.([a-z_0-9]+)\s+Enable the", line)
        if found:
            names.add(found.group(1))
    return names


def structure(findings, excused, before, ours, after):
    """Compares families, types and label sets of one round."""
    theirs = {**before, **after}
    for family in sorted(theirs.keys() | ours.keys()):
        if family not in ours:
            if family in before and family in after and not excused("missing", family):
                findings.add(f"missing family: {family}")
            continue
        if family not in theirs:
            if not excused("extra", family):
                findings.add(f"extra family: {family}")
            continue
        if theirs[family][0] != ours[family][0] and not excused("type", family):
            findings.add(f"type of {family}: {ours[family][0]}, theirs {theirs[family][0]}")
        first, second = (set(s.get(family, ("", {}))[1]) for s in (before, after))
        mine = set(ours[family][1])
        for key in sorted((first & second) - mine):
            if not excused("missing", peers.show(key)):
                findings.add(f"missing series: {peers.show(key)}")
        for key in sorted(mine - (first | second)):
            if not excused("extra", peers.show(key)):
                findings.add(f"extra series: {peers.show(key)}")


def values(pending, before, ours, after):
    """Takes from `pending` the series that fit in this round; notes for the others what was seen."""
    for family, (_, samples) in ours.items():
        for key, value in samples.items():
            if pending.get(key) == "fits":
                continue
            seen = [s[family][1][key] for s in (before, after) if key in s.get(family, ("", {}))[1]]
            if not seen:
                continue
            both_nan = value != value and any(s != s for s in seen)
            fits = both_nan or any(value == s for s in seen) or min(seen) <= value <= max(seen)
            pending[key] = "fits" if fits else f"{value!r}, theirs {' then '.join(map(repr, seen))}"


def compare(arguments):
    exceptions = Exceptions(EXCEPTIONS)
    wanted = sorted(n for n in names_of(arguments.node_exporter) if not exceptions.excuse("collector", n))
    if len(wanted) < 40:
        raise Failed(f"only {len(wanted)} collectors found in {arguments.node_exporter} --help")
    structural, pending = None, {}
    with tempfile.TemporaryDirectory() as textfiles:
        with open(os.path.join(textfiles, "job.prom"), "w", encoding="utf-8") as f:
            f.write(TEXTFILE)
        flags = FLAGS + [f"--collector.textfile.directory={textfiles}", "--collector.disable-defaults"]
        flags += [f"--collector.{name}" for name in wanted]
        with peers.start_node_exporter(arguments.node_exporter, flags) as theirs, \
                peers.start_outrigger(arguments.outrigger, flags) as ours:
            theirs.scrape(), ours.scrape()
            for rounds in range(1, ROUNDS + 1):
                before, mine, after = (peers.parse(e.scrape()) for e in (theirs, ours, theirs))
                mine = exceptions.without_new_labels(mine)
                findings = set()
                structure(findings, exceptions.excuse, before, mine, after)
                # What came or went during one round (a mount, a process state) is not there in the next.
                structural = findings if structural is None else structural & findings
                values(pending, before, mine, after)
                if rounds >= ROUNDS_AT_LEAST and all(
                    seen == "fits" or exceptions.excuse("value", peers.show(key)) for key, seen in pending.items()
                ):
                    break
    findings = sorted(structural)
    for key, seen in sorted(pending.items()):
        if seen != "fits" and not exceptions.excuse("value", peers.show(key)):
            findings.append(f"value of {peers.show(key)}: {seen}")
    findings += [f"exception no longer needed: {line}" for line in exceptions.unused()]
    if findings:
        raise Failed(f"{len(findings)} differences from node_exporter:\n  " + "\n  ".join(findings))
    fitted = sum(1 for seen in pending.values() if seen == "fits")
    print(f"{len(wanted)} collectors, {len(mine)} families, {fitted} values alike after {rounds} rounds, "
          f"{len(exceptions.used)} listed exceptions")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    options.add_argument("--node-exporter", default="prometheus-node-exporter")
    compare(options.parse_args())


if __name__ == "__main__":
    peers.main(check)
