#!/usr/bin/env python3
"""examples/demo: its one command tells its story to the end, in under three minutes, and leaves nothing behind.

What it must say, in this order: pending, firing, the budget's alert, what explain finds, what the webhook is told,
resolved, and that the instance is healthy. The application alone: its metrics parse, trouble is as ordered.
"""

import argparse
import os
import re
import subprocess
import sys
import time

import peers
from peers import Failed

FOLDER = os.path.join(peers.ROOT, "examples", "demo")
STORY = [
    r"The application answers \d+ requests a second and trains a model: loss [\d.]+", r"Trouble: ",
    r"DemoErrorsHigh is pending at \d+%", r"DemoErrorsHigh fires", r"burns \d+ times too fast.*DemoBudgetBurns fires", r"DemoSlow fires",
    r"\$ outrigger query demo:error_ratio:rate15s", r"\$ outrigger explain DemoErrorsHigh", r"went pending \d{4}-", r"fired +\d{4}-",
    r"The application is mended", r"DemoErrorsHigh is resolved", r"DemoSlow is resolved", r"\$ outrigger health", r"^healthy$", r"Done: ",
]
TOLD = ["DemoErrorsHigh firing", "DemoErrorsHigh resolved", "DemoSlow firing", "DemoSlow resolved", "DemoBudgetBurns firing"]


def application():
    """The sample application by itself."""
    port = peers.free_port()
    with peers.Exporter([sys.executable, os.path.join(FOLDER, "app.py"), f"--port={port}", "--users=0"], port, "/metrics") as app:
        statuses = {peers.get(port, "/")[0] for _ in range(10)}
        peers.get(port, "/trouble?errors=1&latency=0.2")
        began = time.monotonic()
        broken = peers.get(port, "/predict")[0]
        slow = time.monotonic() - began
        families = peers.parse(app.scrape())
        found = {key for _, samples in families.values() for key in samples}
        wanted = {("http_requests_total", (("code", "200"), ("handler", "/"))), ("http_requests_total", (("code", "500"), ("handler", "/predict"))),
                  ("ml_inference_requests_total", (("model", "demo"), ("result", "error")))}
        if statuses != {200} or broken != 500 or slow < 0.2 or wanted - found:
            raise Failed(f"app.py: well {statuses}, broken {broken} after {slow:.2f} s, missing {wanted - found}")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    arguments = options.parse_args()
    application()
    began = time.monotonic()
    done = subprocess.run([sys.executable, os.path.join(FOLDER, "demo.py"), "--outrigger", arguments.outrigger], capture_output=True, text=True, timeout=180)
    took = time.monotonic() - began
    if done.returncode != 0:
        raise Failed(f"demo.py ended with {done.returncode}: {done.stdout}{done.stderr}")
    at, lines = 0, done.stdout.splitlines()
    for part in STORY:
        found = next((i for i in range(at, len(lines)) if re.search(part, lines[i])), None)
        if found is None:
            raise Failed(f"demo.py does not say {part!r} where it should:\n{done.stdout}")
        at = found
    missing = [told for told in TOLD if f"the webhook is told: {told}" not in done.stdout]
    if missing:
        raise Failed(f"the webhook is not told {missing}:\n{done.stdout}")
    left = [p for p in re.findall(r"http://127\.0\.0\.1:(\d+)", done.stdout) if answers(int(p))]
    if left:
        raise Failed(f"still running: {left}")
    print(f"{len(lines)} lines in {took:.0f} s")


def answers(port):
    try:
        return peers.get(port, "/", timeout=2)[0]
    except OSError:
        return None


if __name__ == "__main__":
    peers.main(check)
