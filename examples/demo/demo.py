#!/usr/bin/env python3
"""Two minutes with Outrigger: an application gets into trouble and out of it again, and what is said about that.

    pip install prometheus-client        # or Debian's python3-prometheus-client
    python3 examples/demo/demo.py        # with `cargo build --release` done, or --outrigger PATH

Starts Outrigger and a small application on free ports of 127.0.0.1, breaks the application, shows the error budget burn
and an alert go pending, fire, explained, and end when the application is well again. --keep leaves both running.
"""

import argparse
import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
RELEASE = os.path.join(HERE, "..", "..", "target", "release", "outrigger")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fetch(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Messages:
    """The receiver of the demo's webhook: says what it is told."""

    def __init__(self, say):
        told = self.told = set()

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in payload["alerts"]:
                    told.add((alert["labels"]["alertname"], alert["status"]))
                    about = alert["annotations"].get("description") or alert["annotations"].get("summary", "")
                    say(f"   -> the webhook is told: {alert['labels']['alertname']} {alert['status']}. {about}")
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Demo:
    def __init__(self, binary, stack):
        self.began, self.binary, self.stack = time.monotonic(), binary, stack
        self.app, self.port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.logs = stack.enter_context(tempfile.TemporaryFile())

    def say(self, text):
        print(f"{time.monotonic() - self.began:5.0f} s  {text}", flush=True)

    def start(self, command, ready, **environment):
        child = subprocess.Popen(command, stdout=self.logs, stderr=self.logs, env={**os.environ, **environment})
        self.stack.callback(child.wait, 15)
        self.stack.callback(child.terminate)
        self.wait(ready, f"start of {os.path.basename(command[-1])}", 20, child)

    def wait(self, condition, what, seconds=60, child=None):
        """Asks until the answer is something; the demo is over when it never is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and (child is None or child.poll() is None):
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                answer = condition()
                if answer:
                    return answer
            time.sleep(0.2)
        self.logs.seek(0)
        sys.exit(f"{what}: it did not come.\n{self.logs.read().decode(errors='replace')[-2000:]}")

    def value(self, expression):
        """The first value that a query gives, or None."""
        status, body = fetch(self.port, "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        result = json.loads(body)["data"]["result"] if status == 200 else []
        return float(result[0]["value"][1]) if result else None

    def alert(self, name, state):
        alerts = json.loads(fetch(self.port, "/api/v1/alerts")[1])["data"]["alerts"]
        return next((a for a in alerts if a["labels"]["alertname"] == name and a["state"] == state), None)

    def ask(self, *arguments, lines=40):
        """Runs a command of Outrigger's, and shows it."""
        shown = " ".join(f"'{a}'" if re.search(r"[^\w./:=-]", a) else a for a in arguments)
        print(f"\n$ outrigger {shown} --url {self.url}", flush=True)
        done = subprocess.run([self.binary, *arguments, "--url", self.url], capture_output=True, text=True, timeout=60)
        text = (done.stdout + done.stderr).rstrip().splitlines()
        print("\n".join(text[:lines] + (["..."] if len(text) > lines else [])) + "\n", flush=True)
        return done.returncode

    def run(self):
        hook = Messages(self.say)
        self.start([sys.executable, os.path.join(HERE, "app.py"), f"--port={self.app}"], lambda: fetch(self.app, "/metrics")[0] == 200)
        self.start([self.binary, f"--config.file={HERE}/demo.yml", f"--web.listen-address=127.0.0.1:{self.port}", f"--web.external-url={self.url}"],
                   lambda: fetch(self.port, "/-/ready")[0] == 200, DEMO_APP=f"127.0.0.1:{self.app}", DEMO_HOOK=f"127.0.0.1:{hook.port}")
        self.say(f"Outrigger is at {self.url}, the application at http://127.0.0.1:{self.app}")
        rate = self.wait(lambda: self.value('sum(rate(http_requests_total{job="demo"}[15s])) > 20'), "traffic")
        loss = self.wait(lambda: self.value("ml:training_loss:value or ml_training_loss"), "a training loss")
        self.say(f"The application answers {rate:.0f} requests a second and trains a model: loss {loss:.3f}")

        fetch(self.app, "/trouble?errors=0.3&latency=0.3")
        self.say("Trouble: a third of the requests fails, all are 0.3 s slower")
        pending = self.wait(lambda: self.alert("DemoErrorsHigh", "pending"), "a pending alert")
        self.say(f"DemoErrorsHigh is pending at {float(pending['value']):.0%}: it has to last 10 s")
        self.wait(lambda: self.alert("DemoErrorsHigh", "firing"), "a firing alert")
        self.say("DemoErrorsHigh fires")
        self.wait(lambda: self.alert("DemoBudgetBurns", "firing"), "the budget's alert")
        burn = self.wait(lambda: self.value('slo:sli_error:ratio_rate5m{sloth_id="demo-availability"} / ignoring(sloth_window) slo:error_budget:ratio{sloth_id="demo-availability"} > 14.4'), "a burn rate")
        self.say(f"The error budget of 30 days burns {burn:.0f} times too fast, 14.4 is the limit: DemoBudgetBurns fires, too")
        self.wait(lambda: self.alert("DemoSlow", "firing"), "the slow alert")
        self.say("DemoSlow fires")
        self.ask("query", "demo:error_ratio:rate15s", "--range", "45s", "-o", "plot")
        self.ask("explain", "DemoErrorsHigh")

        fetch(self.app, "/trouble")
        self.say("The application is mended")
        for name in ("DemoErrorsHigh", "DemoSlow"):
            self.wait(lambda name=name: not self.alert(name, "firing"), f"the end of {name}")
            self.say(f"{name} is resolved")
            self.wait(lambda name=name: (name, "resolved") in hook.told, f"a message about the end of {name}")
        self.ask("health")
        self.say("Done: trouble found, explained, told and ended")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", default=RELEASE, help="the binary [default: target/release/outrigger]")
    options.add_argument("--keep", action="store_true", help="go on until Ctrl-C")
    arguments = options.parse_args()
    if not os.path.exists(arguments.outrigger):
        sys.exit(f"{arguments.outrigger} is not there: cargo build --release, or --outrigger PATH")
    # Whatever ends this ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        demo = Demo(os.path.abspath(arguments.outrigger), stack)
        demo.run()
        if arguments.keep:
            demo.say("Still running; Ctrl-C ends it. Break it yourself: "
                     f"curl 'http://127.0.0.1:{demo.app}/trouble?errors=0.3'")
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()


if __name__ == "__main__":
    main()
