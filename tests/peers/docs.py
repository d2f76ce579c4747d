#!/usr/bin/env python3
"""The documentation's commands, run as they stand: docs/*.md, docs/migrate/*.md.

Each page is one shell in a folder of its own. Its ```sh blocks are run in order; a ```yaml block that begins with the name
of a file is written to /etc/outrigger, and a configuration among them is checked. What a reader has and a check may not
is put elsewhere: port 9780, /etc/outrigger, /var/lib/outrigger, /var/backups. `docs/incident.md` is run beside the demo's application in
trouble. A block that cannot be run says why in a comment before it. docs/runbooks.md is what tools/runbook_index.py
makes.
"""

import argparse
import concurrent.futures
import contextlib
import glob
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse

import peers
from peers import Failed
from shipped_rules import read

DOCS = os.path.join(peers.ROOT, "docs")
PAGES = ["getting-started.md", "operations.md", "incident.md", "migrate/README.md", "migrate/from-node_exporter.md",
         "migrate/from-gpu-exporters.md", "migrate/from-process-exporter.md", "migrate/from-blackbox_exporter.md",
         "migrate/from-pushgateway.md", "migrate/from-cadvisor.md", "migrate/from-alertmanager.md",
         "migrate/from-prometheus.md", "migrate/from-slo-generators.md"]
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]*) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)```", re.S)
# Subcommands that ask a running instance; the port is that of the check.
WRAPPER = """#!/bin/sh
# The binary under test, on this page's port.
case "$1" in
query|explain|health|healthcheck|scorecard|alert|events)
    case " $* " in *--url*|*--storage.path*|*--help*) ;; *) set -- "$@" --url http://127.0.0.1:{port} ;; esac ;;
check|rules|slo|test|promql|tsdb|backtest|completions|--version|--help) ;;
*) case " $* " in *--web.listen-address*) ;; *) set -- "$@" --web.listen-address=127.0.0.1:{port} ;; esac ;;
esac
exec {binary} "$@"
"""


class Page:
    """A page's commands and files, put into one script."""

    def __init__(self, name, folder, binary, port, application):
        self.name, self.folder, self.text = name, folder, read(os.path.join(DOCS, name))
        self.places = {"localhost:9780": f"127.0.0.1:{port}", "127.0.0.1:8000": f"127.0.0.1:{application}",
                       **{place: f"{folder}{place}" for place in ("/etc/outrigger", "/var/lib/outrigger", "/var/backups")}}
        for place in ("etc/outrigger", "var/lib/outrigger", "var/backups", "bin"):
            os.makedirs(os.path.join(folder, place))
        for name_ in ("examples", "rules", "alerts", "dashboards", "grafana", "docs"):
            os.symlink(os.path.join(peers.ROOT, name_), os.path.join(folder, name_))
        with open(os.path.join(folder, "bin", "outrigger"), "w", encoding="utf-8") as file:
            file.write(WRAPPER.format(port=port, binary=binary))
        os.chmod(os.path.join(folder, "bin", "outrigger"), 0o755)
        self.commands, self.left_out, self.files = [], [], {}
        for block in BLOCK.finditer(self.text):
            if block["reason"]:
                self.left_out.append(block["reason"])
            elif block["kind"] == "sh":
                self.commands.append(self.placed(block["text"]))
            elif block["kind"] == "yaml" and (found := re.match(r"# (\S+\.yml)\n", block["text"])):
                self.files[found[1]] = self.placed(block["text"])

    def placed(self, text):
        for place, here in self.places.items():
            text = text.replace(place, here)
        return text

    def run(self):
        """What went wrong."""
        for name, text in self.files.items():
            with open(os.path.join(self.folder, "etc", "outrigger", name), "w", encoding="utf-8") as file:
                file.write(text)
        # Whatever was started in the background ends with the page; a loop that waits has the shell's time.
        script = "set -e -m -o pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n" + "\n".join(self.commands)
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "HOME": self.folder}
        with open(os.path.join(self.folder, "log"), "w+b") as log:
            child = subprocess.Popen(["bash", "-x", "-c", script], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            try:
                code = child.wait(100)
            except subprocess.TimeoutExpired:
                child.terminate()
                code = "too long"
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(15)
            log.seek(0)
            said = log.read().decode(errors="replace")
        return [] if code == 0 else [f"docs/{self.name}: ended with {code}:\n{said[-1800:]}"]


def demo_in_trouble(binary, stack, page, port, application):
    """The demo's application and its Outrigger, until its alert fires."""
    demo = os.path.join(peers.ROOT, "examples", "demo")
    hook = peers.free_port()
    app = stack.enter_context(peers.Exporter([sys.executable, os.path.join(demo, "app.py"), f"--port={application}"], application, "/metrics"))
    environment = {**os.environ, "DEMO_APP": f"127.0.0.1:{application}", "DEMO_HOOK": f"127.0.0.1:{hook}"}
    ours = stack.enter_context(peers.Exporter(
        [binary, f"--config.file={demo}/demo.yml", f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={page.folder}/var/lib/outrigger", "--web.enable-admin-api"],
        port, "/-/ready", env=environment))
    peers.wait_for(lambda: b"demo:error_ratio" in peers.get(port, "/api/v1/query?query=demo:error_ratio:rate15s")[2], "traffic", 30, ours)
    peers.get(app.port, "/trouble?errors=0.3&latency=0.1")
    firing = urllib.parse.quote('ALERTS{alertname="DemoErrorsHigh",alertstate="firing"}')
    peers.wait_for(lambda: b"DemoErrorsHigh" in peers.get(port, f"/api/v1/query?query={firing}")[2], "the alert", 60, ours)


def one(name, binary, stack, folder):
    here = os.path.join(folder, name.replace("/", "-"))
    os.makedirs(here)
    port, application = peers.free_port(), peers.free_port()
    page = Page(name, here, binary, port, application)
    if name == "incident.md":
        demo_in_trouble(binary, stack, page, port, application)
    return page, page.run()


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    binary = os.path.realpath(options.parse_args().outrigger)
    findings = []
    there = {os.path.relpath(p, DOCS) for p in glob.glob(f"{DOCS}/migrate/*.md")}
    findings += [f"docs/{name} is not run" for name in sorted(there - set(PAGES))]
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(3) as pool:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        made = os.path.join(folder, "runbooks.md")
        subprocess.run([sys.executable, os.path.join(peers.ROOT, "tools", "runbook_index.py"), made], check=True, timeout=60)
        if read(made) != read(os.path.join(DOCS, "runbooks.md")):
            findings.append("docs/runbooks.md: is not what tools/runbook_index.py makes (`just made`)")
        done = list(pool.map(lambda name: one(name, binary, stack, folder), PAGES))
    for page, found in done:
        findings += found
    if findings:
        raise Failed("\n".join(findings))
    commands = sum(len([line for line in block.splitlines() if line.strip()]) for page, _ in done for block in page.commands)
    left_out = sum(len(page.left_out) for page, _ in done)
    print(f"{len(done)} pages, {commands} lines of commands run, {left_out} blocks left out with their reason")


if __name__ == "__main__":
    peers.main(check)
