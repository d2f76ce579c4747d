#!/usr/bin/env python3
"""A real Pushgateway beside ours: the same requests to both, then the same pages.

Each request gets the same status and the same text from both, and after the last one both show the same pushed
metrics, as text and as JSON. What differs is listed here with its reason, and must still differ. Then ours is killed
with SIGKILL right after an answer and must show the same again. Needs Debian's prometheus-pushgateway
and python3-prometheus-client.
"""

import argparse
import gzip
import http.client
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile

import peers
from peers import Failed

GROUP = "/metrics/job/j"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
TYPES = """# TYPE h histogram
h_bucket{le="1"} 2
h_bucket{le="+Inf"} 3
h_sum 1e6
h_count 3
# TYPE s summary
s{quantile="0.5"} 1
s_sum 2
s_count 3
# HELP g Help with \\\\ and \\n.
# TYPE g gauge
g{l="x"} 1000000
# TYPE c counter
c 0.5
n NaN
i -Inf
"""


def field(number, wire_type, payload):
    """One field of a protobuf message."""
    head = bytes([number << 3 | wire_type])
    return head + (bytes([len(payload)]) + payload if wire_type == 2 else payload)


def delimited(message):
    """A message of a delimited stream."""
    return bytes([len(message)]) + message


def gauge(name, value, timestamp=None):
    """A family with one gauge."""
    metric = field(2, 2, field(1, 1, struct.pack("<d", value)))
    if timestamp is not None:
        metric += field(6, 0, bytes([timestamp]))
    return delimited(field(1, 2, name) + field(3, 0, b"\1") + field(4, 2, metric))


# (method, path, body, headers, why it may differ or None)
REQUESTS = [
    ("PUT", GROUP, "a 1\n"),
    ("POST", GROUP, "b 1\n"),
    ("PUT", "/metrics/job/types", TYPES),
    ("PUT", "/metrics/job/types/instance/i", TYPES),
    ("POST", "/metrics/job/types", "# TYPE c counter\nc 7\n"),
    ("PUT", "/metrics/job/empty", ""),
    ("POST", "/metrics/job/empty", ""),
    ("PUT", "/metrics/job/replaced", "r1 1\nr2 2\n"),
    ("PUT", "/metrics/job/replaced", "r3 3\n"),
    ("POST", "/metrics/job/replaced", "r3{x=\"y\"} 4\nr4 4\n"),
    # Labels: the group's win, an instance is there always, empty values count.
    ("PUT", "/metrics/job/l1", 'a{job="other",instance="x"} 1\n'),
    ("PUT", "/metrics/job/l2/instance/i", 'a{instance="x",z="1"} 1\n'),
    ("PUT", "/metrics/job/l3/a/", "a 1\n"),
    ("PUT", "/metrics/job/l4/job/x", "a 1\n"),
    ("PUT", "/metrics/job/l5/a/b/a/c", "a 1\n"),
    ("PUT", "/metrics/job/l6/", "a 1\n"),
    ("PUT", "/metrics/job/%C3%A4%20b+c/l/%E6%97%A5%E6%9C%AC", 'a{m="é\\"\\\\\\n"} 1\n'),
    ("PUT", "/metrics/job@base64/am9iL3dpdGgvc2xhc2hlcw", "a 1\n"),
    ("PUT", "/metrics/job/b1/path@base64/L3Zhci90bXA=", "a 1\n"),
    ("PUT", "/metrics/job/b2/path@base64/=", "a 1\n"),
    ("PUT", "/metrics/job/b3/path@base64/ab", "a 1\n"),
    ("PUT", "/metrics/job/b4/a/%41%2D%7e", "a 1\n"),
    # Paths that are wrong.
    ("PUT", "/metrics/job", "a 1\n"),
    ("PUT", "/metrics/job@base64/=", "a 1\n"),
    ("PUT", "/metrics/job/j/l", "a 1\n"),
    ("PUT", "/metrics/job/j/l/a%2Fb", "a 1\n"),
    ("PUT", "/metrics/job/j/l/a/b/", "a 1\n"),
    ("PUT", "/metrics/job/j/1l/a", "a 1\n"),
    ("PUT", "/metrics/job/j/__l/a", "a 1\n"),
    ("PUT", "/metrics/job/j/l-l/a", "a 1\n"),
    ("PUT", "/metrics/job/j/%E6%97%A5/a", "a 1\n"),
    ("PUT", "/metrics/job/j//l/a", "a 1\n"),
    ("PUT", "/metrics/job/j/l@base64/a", "a 1\n"),
    ("PUT", "/metrics/job/j/l@base64/abcde", "a 1\n"),
    ("PUT", "/metrics/job/j/l@base64/a!cd", "a 1\n"),
    ("PUT", "/metrics/job/j/l@base64/ab+/", "a 1\n"),
    ("PUT", "/metrics/job/j/l@base64", "a 1\n"),
    ("DELETE", "/metrics/job/j/l", ""),
    ("DELETE", "/metrics/job@base64/=", ""),
    # Bodies that are wrong.
    ("PUT", "/metrics/job/bad", "a 1"),
    ("PUT", "/metrics/job/bad", "a x\n"),
    ("PUT", "/metrics/job/bad", "a 1\nb{ 2\n"),
    ("PUT", "/metrics/job/bad", 'a{b="1",b="2"} 3\n'),
    ("PUT", "/metrics/job/bad", "1a 1\n"),
    ("PUT", "/metrics/job/bad", "a 1\n# TYPE a gauge\n"),
    ("PUT", "/metrics/job/bad", "# TYPE a gauge\n# TYPE a gauge\n"),
    ("PUT", "/metrics/job/bad", "# TYPE a nonsense\n"),
    ("PUT", "/metrics/job/bad", b"a{b=\"\xff\"} 1\n"),
    # Conflicts.
    ("PUT", "/metrics/job/k1", "a 1 1500000000000\n"),
    ("PUT", "/metrics/job/k2", "d 1\nd 2\n"),
    ("PUT", "/metrics/job/k3", 'd{x="1"} 1\nd{x="1"} 1\nd{x="2"} 1\n'),
    ("PUT", "/metrics/job/k4", "# TYPE a counter\na 1\n"),
    ("PUT", "/metrics/job/k5", "# TYPE h gauge\nh 1\n"),
    ("PUT", "/metrics/job/k6", "h_count 1\n"),
    ("PUT", "/metrics/job/k7", "h_bucket 1\n"),
    ("PUT", "/metrics/job/k8", "s_sum 1\n"),
    ("PUT", "/metrics/job/k9", "s_bucket 1\n"),
    ("PUT", "/metrics/job/k10", "q_count 1\n# TYPE q histogram\nq_sum 2\n"),
    ("PUT", "/metrics/job/l3", 'a{a=""} 1\n'),
    ("PUT", "/metrics/job/l5", 'a{a="c"} 1\n'),
    ("PUT", "/metrics/job/types", "# TYPE only gauge\nonly 1\n"),
    ("PUT", "/metrics/job/k11", "# TYPE s gauge\ns 1\n"),
    ("PUT", "/metrics/job/k12", "push_time_seconds 1\n# TYPE push_failure_time_seconds counter\npush_failure_time_seconds 1\n"),
    # Encodings and formats.
    ("PUT", "/metrics/job/e1", gzip.compress(b"a 1\n"), {"Content-Encoding": "gzip"}),
    ("PUT", "/metrics/job/e2", b"a 1\n", {"Content-Encoding": "gzip"}, "ours says what could not be read"),
    ("PUT", "/metrics/job/e3", b"a 1\n", {"Content-Encoding": "br"}, "theirs ignores codings that it does not know"),
    ("PUT", "/metrics/job/e4", gauge(b"p", 1.5), {"Content-Type": PROTOBUF}),
    ("POST", "/metrics/job/e4", gauge(b"p2", 2.5) + gauge(b"p3", 3), {"Content-Type": PROTOBUF}),
    ("PUT", "/metrics/job/e5", gauge(b"p", 1, 5), {"Content-Type": PROTOBUF}),
    ("PUT", "/metrics/job/e6", b"abc", {"Content-Type": PROTOBUF}, "ours says what could not be read, and where"),
    ("PUT", "/metrics/job/e7", "a 1\n", {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}),
    ("PUT", "/metrics/job/e8", "a 1\n", {"Content-Type": "nonsense"}),
    # Deletions and methods.
    ("DELETE", "/metrics/job/nobody", ""),
    ("DELETE", "/metrics/job/types/instance/i", ""),
    ("DELETE", "/metrics/job@base64/am9iL3dpdGgvc2xhc2hlcw==", ""),
    ("DELETE", "/metrics/job/k1/", ""),
    ("GET", GROUP, ""),
    ("PATCH", GROUP, ""),
    ("GET", "/api/v1/admin/wipe", ""),
    ("PUT", "/api/v1/metrics", ""),
    # Last: after this one, theirs never answers such a path again.
    ("PUT", "/metrics/job@base64/!!", "a 1\n", {}, "theirs forgets to name the job"),
]


def ask(port, method, path, body, headers):
    """(status, text) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        data = body.encode() if isinstance(body, str) else body
        connection.request(method, path, body=data, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


def comparable(text):
    """A text without what cannot be the same: parsers word their findings differently, and theirs names whichever of
    two metrics in conflict comes second in a random order."""
    text = re.sub(r"(text format parsing error in line \d+): .*", r"\1", text.strip())
    text = re.sub(r'collected metric "\w+" \{[^\n]*\} is not a \w+', "CONFLICT", text)
    # Listed in a random order, and by a name that comes later in ours.
    collision = r'collected (metric|histogram|histogram or summary) named "\w+" collides with previously collected \w+ named "\w+"'
    text = re.sub(collision, "COLLISION", text)
    # Theirs goes on to compare metrics of a family that cannot be there.
    return re.sub(r"\d+ error\(s\) occurred:\n(\* (CONFLICT|COLLISION)\n?)+", r"\2", text)


OWN = re.compile(r"^(# (HELP|TYPE) )?(go|process|prometheus|promhttp|pushgateway|outrigger|node)_")


def pushed(port):
    """The pushed part of /metrics, times reduced to whether there is one."""
    lines = peers.get(port, "/metrics", {"Accept": peers.TEXT})[2].decode().splitlines()
    lines = [line for line in lines if not OWN.match(line)]
    timed = re.compile(r"^(push_(?:failure_)?time_seconds\{.*\}) (\S+)$")
    return [timed.sub(lambda m: f"{m[1]} {'0' if m[2] == '0' else 'TIME'}", line) for line in lines]


def groups(port):
    """The JSON of the groups, sorted, without times."""
    text = peers.get(port, "/api/v1/metrics")[2].decode()
    text = re.sub(r'"time_stamp":"[^"]*"', '"time_stamp":"T"', text)
    text = re.sub(r'"value":"1\.[0-9]{6,}e\+09"', '"value":"TIME"', text)
    data = json.loads(text)
    if data["status"] != "success":
        raise Failed(f"/api/v1/metrics: {text[:300]}")
    return sorted((json.dumps(g, sort_keys=True) for g in data["data"]))


def compare(what, ours, theirs):
    """Both lists are the same but for their order."""
    only_ours = sorted(set(ours) - set(theirs))
    only_theirs = sorted(set(theirs) - set(ours))
    if only_ours or only_theirs:
        raise Failed(f"{what}:\n  only ours:\n    " + "\n    ".join(only_ours) + "\n  only theirs:\n    "
                     + "\n    ".join(only_theirs))


def replay(ours, theirs):
    """Every request to both; returns how many differed with a reason."""
    differing, findings = 0, []
    for method, path, body, *rest in REQUESTS:
        headers, reason = (rest + [{}, None][len(rest):])[:2]
        answers = [(status, comparable(text)) for status, text in
                   (ask(port, method, path, body, headers) for port in (ours, theirs))]
        same = answers[0] == answers[1]
        if same == (reason is not None):
            findings.append(f"{method} {path} {body!r}: ours {answers[0]}, theirs {answers[1]}"
                            + (f" (no longer differs: {reason})" if same else ""))
        differing += reason is not None
        if reason is not None and "!!" not in path:
            # So that the pages can be compared.
            for port in (ours, theirs):
                ask(port, "DELETE", path, "", {})
    if findings:
        raise Failed("\n  ".join(findings))
    return differing


def train(port):
    """The example, which uses the official Python client, against ours."""
    script = os.path.join(peers.ROOT, "examples", "training", "train.py")
    command = [sys.executable, script, f"--gateway=127.0.0.1:{port}", "--epochs=3", "--points=100"]
    trained = lambda: {line.split("{")[0] for line in pushed(port) if line.startswith("train_")}
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)
    names = {"train_loss", "train_accuracy_ratio", "train_duration_seconds", "train_cache_requests_total"}
    if not names <= trained():
        raise Failed(f"train.py left {sorted(trained())}")
    subprocess.run([*command, "--forget"], check=True, timeout=60, stdout=subprocess.DEVNULL)
    if trained():
        raise Failed(f"train.py --forget left {sorted(trained())}")
    print("train.py: pushed, added and deleted with the official Python client")


def start(arguments, folder, port):
    return peers.Exporter(
        [arguments.outrigger, f"--web.listen-address=127.0.0.1:{port}", "--collector.disable-defaults",
         "--web.enable-admin-api", f"--storage.path={folder}/ours"], port, "/-/ready")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    options.add_argument("--pushgateway", default="prometheus-pushgateway")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port, their_port = peers.free_port(), peers.free_port()
        theirs = peers.Exporter(
            [arguments.pushgateway, f"--web.listen-address=127.0.0.1:{their_port}", "--web.enable-admin-api",
             "--persistence.file="], their_port, "/-/ready")
        with theirs, start(arguments, folder, port) as ours:
            differing = replay(port, their_port)
            compare("/metrics", pushed(port), pushed(their_port))
            if pushed(port) != pushed(their_port):
                raise Failed("/metrics: the order differs")
            compare("/api/v1/metrics", groups(port), groups(their_port))
            print(f"{len(REQUESTS)} requests, {differing} differ with a reason; {len(pushed(port))} lines and "
                  f"{len(groups(port))} groups are the same")
            before = groups(port)
            ask(port, "PUT", "/metrics/job/last", "a 1\n", {})
            os.kill(ours.pid, signal.SIGKILL)
            ours.child.wait()
            with start(arguments, folder, port):
                after = groups(port)
                lost = [g for g in before if g not in after]
                if lost or len(after) != len(before) + 1:
                    raise Failed(f"after SIGKILL: {len(after)} groups of {len(before) + 1}, lost {lost}")
                print(f"after SIGKILL: all {len(after)} groups are there")
                train(port)
                for p in (port, their_port):
                    status = ask(p, "PUT", "/api/v1/admin/wipe", "", {})[0]
                    if status != 202 or groups(p):
                        raise Failed(f"wipe: status {status}, {len(groups(p))} groups left")


if __name__ == "__main__":
    peers.main(check)
