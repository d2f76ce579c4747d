#!/usr/bin/env python3
"""Makes docs/reference/metrics.md of what a live Outrigger with everything on exposes: tools/metrics_reference.py BINARY.

The live set-up is that of the dashboards' check (tests/peers/live_all.py; Debian, root, Docker), which also says when the
page is no longer current. What a machine has not is not on the page: rows of families that depend on the machine say so,
and collectors that found nothing are listed. Names, types, helps, labels come from the exposition; a unit from the name.
"""

import contextlib
import os
import re
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(ROOT, "docs", "reference", "metrics.md")
sys.path.append(os.path.join(ROOT, "tests", "peers"))

# Heading, what its families begin with, and whether they depend on the machine. The first that fits counts.
SECTIONS = [
    ("Outrigger itself", "outrigger_(?!gpu_|container|certificate|slo_|scorecard_|delivery_|backup_|events|process_)|process_|prometheus_|node_scrape_|node_textfile_|promhttp_", False),
    ("Objectives", "outrigger_slo_", False),
    ("Scorecard", "outrigger_scorecard_", False),
    ("Events and delivery", "outrigger_delivery_|outrigger_events", False),
    ("Pushes", "push_", False),
    ("Probes", "probe_", False),
    ("Certificates", "x509_|outrigger_certificate", False),
    ("Backups", "outrigger_backup_", False),
    ("Groups of processes", "namedprocess_|outrigger_process_", False),
    ("GPUs", "DCGM_|nvidia_smi_|outrigger_gpu_", False),
    ("Containers", "container_|machine_|outrigger_container", True),
    ("The machine", "node_", True),
]
UNITS = ("seconds", "bytes", "ratio", "celsius", "volts", "amperes", "joules", "watts", "hertz", "meters", "percent", "info")
# Pushed by whoever pushes, and shown for them.
PUSHED = re.compile("workflow_|train_|ml_")
INTRO = """# Metrics

<!-- Made by tools/metrics_reference.py of a live run; `tests/peers/dashboards.py` says when it is not current. -->

What `/metrics` shows with everything on, by name: type, unit where the name has one, labels, help. Applications' metrics and
recorded rules are in the history beside these; [rule-inputs.md](rule-inputs.md) has the names that rules read, and
[containers.md](../containers.md) what is left out of cAdvisor's.

Families under *Containers* and *The machine* depend on the machine: its kernel, its version of control groups, its devices.
The page shows what one machine had. Everything else is the same everywhere, if it is configured; GPUs have those of a
Hopper, of which older ones give fewer.
"""


def families(text):
    """{name: (type, help, sorted labels)} of an exposition in the text format."""
    kinds, helps, labels = {}, {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            kinds[name] = kind
            labels.setdefault(name, set())
        elif line.startswith("# HELP "):
            _, _, name, said = line.split(" ", 3)
            helps[name] = said.replace("\\n", " ").replace("\\\\", "\\")
        elif line:
            sample = re.match(r"([a-zA-Z0-9_:]+)(?:\{(.*)\})? ", line)
            name = sample[1] if sample[1] in kinds else re.sub("_(bucket|sum|count)$", "", sample[1])
            labels.setdefault(name, set()).update(re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="(?:[^"\\]|\\.)*"', sample[2] or ""))
    own = {"histogram": {"le"}, "summary": {"quantile"}}
    return {name: (kind, helps.get(name, ""), sorted(labels[name] - own.get(kind, set()))) for name, kind in kinds.items() if not PUSHED.match(name)}


def section_of(name):
    return next(((heading, varies) for heading, begin, varies in SECTIONS if re.match(begin, name)), None)


def unit_of(name):
    # What failed for its bytes is no number of bytes.
    found = [unit for unit in UNITS if re.search(rf"(?<!_due_to)_{unit}(_total)?$", name)]
    return found[0] if found and found[0] != "info" else "-"


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("{{", "{ {")


def page(found, idle):
    """The page for `found`; `idle`: collectors that found nothing."""
    lines = [INTRO]
    for heading, _, varies in SECTIONS:
        rows = sorted(name for name in found if section_of(name) == (heading, varies))
        lines.append(f"## {heading}\n\n{len(rows)} families{'; they depend on the machine' if varies else ''}.\n\n| name | type | unit | labels | help |\n|---|---|---|---|---|")
        for name in rows:
            kind, said, labels = found[name]
            lines.append(f"| `{name}` | {kind} | {unit_of(name)} | {', '.join(f'`{label}`' for label in labels) or '-'} | {cell(said)} |")
        lines.append("")
    lines.append("## Collectors that found nothing on that machine\n\nTheir families are node_exporter's: "
                 f"{', '.join(f'`{name}`' for name in sorted(idle))}.")
    return "\n".join(lines) + "\n"


def written():
    """{name: type} of the page that is committed."""
    with open(PAGE, encoding="utf-8") as file:
        return {row[1]: row[2] for row in re.finditer(r"^\| `([a-zA-Z0-9_:]+)` \| (\w+) \|", file.read(), re.M)}


def findings(found):
    """What the page says otherwise: all of what does not depend on the machine, types of what does."""
    there, wrong = written(), []
    for name, (kind, _, _) in sorted(found.items()):
        if section_of(name) is None:
            wrong.append(f"tools/metrics_reference.py: no section for {name}")
        elif name in there and there[name] != kind:
            wrong.append(f"docs/reference/metrics.md: {name} is a {kind}")
        elif name not in there and not section_of(name)[1]:
            wrong.append(f"docs/reference/metrics.md: {name} is missing (`just metrics-reference`)")
    wrong += [f"docs/reference/metrics.md: {name} is not exposed (`just metrics-reference`)" for name in sorted(there.keys() - found.keys()) if not section_of(name)[1]]
    return wrong


def of_all(everything, past):
    """The families of the live program and of its machine of files, and those of objectives from the one with a history."""
    slos = {name: family for name, family in families(past.scrape()).items() if name.startswith("outrigger_slo_")}
    return families(everything.beside.scrape()) | families(everything.ours.scrape()) | slos


def idle_collectors(everything):
    """Those that said that the machine has nothing for them."""
    found = lambda server, value: set(re.findall(rf'^node_scrape_collector_success{{collector="([a-z_0-9]+)"}} {value}', server.scrape(), re.M))
    return found(everything.ours, 0) - found(everything.beside, 1)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    import dashboards
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as stack:
        everything, past = dashboards.start_all(os.path.abspath(sys.argv[1]), folder, stack)
        missing = dashboards.settled(dashboards.read_boards(), everything)
        found, idle = of_all(everything, past), idle_collectors(everything)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(page(found, idle))
    print(f"{len(found)} families; questions of dashboards without an answer meanwhile: {len(missing)}")


if __name__ == "__main__":
    main()
