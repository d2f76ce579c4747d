#!/usr/bin/env python3
"""Remote write between Outrigger and a real Prometheus, both ways, and between two Outriggers in 2.0.

Outrigger scrapes a small target and itself every second and sends to a Prometheus that takes remote writes (1.0) and
to a second Outrigger (2.0). The Prometheus is stopped for a while, and Outrigger is killed with SIGKILL meanwhile and
started again before the Prometheus is. In the end every sample that Outrigger has must be in both receivers, to the
bit, with the same instants. A second Prometheus scrapes the target and sends into a third Outrigger.
"""

import argparse
import http.server
import json
import os
import re
import tempfile
import threading
import time
import urllib.parse

import peers
from peers import Failed

# Everything there is, as raw samples.
EVERYTHING = '{__name__=~".+"}'


def target():
    """A server whose metrics change with each scrape; a series comes and goes."""
    scrapes = [0]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            scrapes[0] += 1
            n = scrapes[0]
            lines = ["# HELP work_total Work done.", "# TYPE work_total counter"]
            lines += [f'work_total{{part="{part}"}} {n * part}' for part in range(50)]
            lines += ["# TYPE odd gauge", 'odd{what="nan"} NaN', 'odd{what="inf"} -Inf', f'odd{{what="tiny"}} {n * 1e-300}']
            if n % 7 < 4:
                lines.append(f'odd{{what="comes and goes \\u00e9"}} {n}')
            body = ("\n".join(lines) + "\n").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def start_prometheus(folder, port, config, flags=()):
    """A Prometheus with its data below a folder; ready once it answers."""
    config = write(os.path.join(folder, "prometheus.yml"), config)
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
               f"--web.listen-address=127.0.0.1:{port}", *flags]
    return peers.Exporter(command, port, "/-/ready")


def start_outrigger(binary, port, config, flags=()):
    command = [binary, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", *flags]
    return peers.Exporter(command, port, "/-/ready")


def samples(port, until, extra=()):
    """{series: [(instant, value text)]} of all raw samples up to an instant; labels in `extra` are left out."""
    path = "/api/v1/query?" + urllib.parse.urlencode({"query": EVERYTHING + "[10m]", "time": f"{until:.3f}"})
    answer = json.loads(peers.get(port, path)[2])
    if answer["status"] != "success":
        raise Failed(f"query on port {port}: {answer}")
    found = {}
    for row in answer["data"]["result"]:
        labels = tuple(sorted((k, v) for k, v in row["metric"].items() if k not in extra))
        found[labels] = [(instant, value) for instant, value in row["values"]]
    return found


def stale_at(port, until, extra=()):
    """Series that are there at an instant: ended ones are not, though they have samples."""
    path = "/api/v1/query?" + urllib.parse.urlencode({"query": EVERYTHING, "time": f"{until:.3f}"})
    answer = json.loads(peers.get(port, path)[2])
    rows = answer["data"]["result"]
    return {tuple(sorted((k, v) for k, v in row["metric"].items() if k not in extra)) for row in rows}


def differences(left, right):
    findings = []
    for labels in sorted(set(left) | set(right)):
        a, b = left.get(labels, []), right.get(labels, [])
        if a != b:
            missing, more = sorted(set(a) - set(b)), sorted(set(b) - set(a))
            findings.append(f"{dict(labels)}: {len(missing)} missing {missing[:3]}, {len(more)} more {more[:3]}")
    return findings


def same(name, left_port, right_port, until, extra=(), ignore=()):
    """Waits until both sides have the same samples up to an instant."""
    def compare():
        left = {k: v for k, v in samples(left_port, until).items() if dict(k).get("__name__") not in ignore}
        right = samples(right_port, until, extra)
        found[:] = [left, right, differences(left, right)]
        return not found[2]

    found = [{}, {}, []]
    try:
        peers.wait_for(compare, f"{name}: the same samples", 20)
    except Failed as failure:
        raise Failed(f"{failure}\n  " + "\n  ".join(found[2][:10])) from None
    left = found[0]
    there = {k for k in stale_at(left_port, until) if dict(k).get("__name__") not in ignore}
    if there != stale_at(right_port, until, extra):
        raise Failed(f"{name}: other series have ended")
    count = sum(len(values) for values in left.values())
    # The series that comes and goes is gone at some of these instants, and has ended there on both sides.
    ended = 0
    for back in range(1, 8):
        at = until - back
        there = {k for k in stale_at(left_port, at) if dict(k).get("__name__") not in ignore}
        if there != stale_at(right_port, at, extra):
            raise Failed(f"{name}: other series have ended {back} s before the end")
        ended = max(ended, len(left) - len(there))
    print(f"{name}: {len(left)} series, {count} samples, all the same; {ended} series ended, on both sides")
    return left


def own(outrigger, name):
    """{labels: value} of an own metric."""
    families = peers.parse(outrigger.scrape())
    found = {}
    for family in families.values():
        found.update({labels: value for (sample, labels), value in family[1].items() if sample == name})
    return found


def of(metric, remote, reason=None):
    wanted = {"remote_name": remote} | ({"reason": reason} if reason else {})
    matching = [v for labels, v in metric.items() if wanted.items() <= dict(labels).items()]
    return sum(matching)


def pass_time(seconds):
    """Lets scrapes happen; what is waited for is time itself."""
    began = time.monotonic()
    peers.wait_for(lambda: time.monotonic() - began > seconds, "time", seconds + 5)


def outage(binary, folder, port, config, receiver_port, receiver_config, receiver):
    """Stops the receiver, kills the sender meanwhile, starts both again; returns the two."""
    sender = start_outrigger(binary, port, config)
    try:
        pass_time(6)
        receiver.stop()
        pass_time(4)
        pending = lambda: of(own(sender, "prometheus_remote_storage_samples_pending"), "prometheus")
        # Brought up to date every ten seconds while nothing is sent.
        waiting = peers.wait_for(pending, "samples that wait while the receiver is dead", 20, sender)
        sender.child.kill()
        sender.child.wait()
        print(f"killed with {waiting:.0f} samples waiting")
        sender = start_outrigger(binary, port, config)
        pass_time(4)
        receiver = start_prometheus(folder, receiver_port, receiver_config, ["--web.enable-remote-write-receiver"])
        return sender, receiver
    except BaseException:
        sender.stop()
        raise


def sending(binary, folder, exposed):
    """Outrigger to Prometheus and to Outrigger."""
    port, receiver_port, second_port = peers.free_port(), peers.free_port(), peers.free_port()
    empty = "scrape_configs: []\n"
    second_config = write(os.path.join(folder, "second.yml"), "collect: {history_interval: 0s}\nbuiltin_rules: {enabled: false}\n")
    config = write(os.path.join(folder, "outrigger.yml"), f"""
builtin_rules: {{ enabled: false }}
global: {{ scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{ site: here }} }}
collect: {{ history_interval: 1s, disable_defaults: true, collectors: {{ loadavg: true, meminfo: true, stat: true }} }}
storage: {{ path: {folder}/store }}
scrape_configs:
  - job_name: target
    static_configs: [{{ targets: ['127.0.0.1:{exposed}'] }}]
remote_write:
  - name: prometheus
    url: http://127.0.0.1:{receiver_port}/api/v1/write
    queue_config: {{ batch_send_deadline: 500ms }}
    write_relabel_configs: [{{ source_labels: [__name__], regex: node_memory_MemFree_bytes, action: drop }}]
    metadata_config: {{ send_interval: 2s }}
  - name: second
    url: http://127.0.0.1:{second_port}/api/v1/write
    protobuf_message: io.prometheus.write.v2.Request
    queue_config: {{ batch_send_deadline: 500ms }}
""")
    receiver = start_prometheus(folder, receiver_port, empty, ["--web.enable-remote-write-receiver"])
    sender = None
    with start_outrigger(binary, second_port, second_config, ["--web.enable-remote-write-receiver"]):
        try:
            sender, receiver = outage(binary, folder, port, config, receiver_port, empty, receiver)
            pass_time(3)
            until = time.time() - 1
            same("to Prometheus, 1.0", port, receiver_port, until, {"site"}, {"node_memory_MemFree_bytes"})
            same("to Outrigger, 2.0", port, second_port, until, {"site"})
            counts = {
                name: [of(own(sender, f"prometheus_remote_storage_{name}_total"), remote)
                       for remote in ("prometheus", "second")]
                for name in ("samples", "samples_failed", "samples_retried", "bytes", "metadata")
            }
            print("since the kill, Prometheus and Outrigger:", counts)
            dropped = own(sender, "prometheus_remote_storage_samples_dropped_total")
            if of(dropped, "prometheus", "dropped_series") <= 0 or of(dropped, "second") != 0:
                raise Failed(f"dropped samples: {dropped}")
            if counts["metadata"][0] <= 0:
                raise Failed("no metadata was sent")
            # What may be repeated after the kill is what was in flight: one window of each receiver.
            complaints = len(re.findall("Out of order sample from remote write", receiver.log(1 << 20)))
            print(f"Prometheus complains of {complaints} requests with samples that it had")
        finally:
            receiver.stop()
            if sender is not None:
                sender.stop()


def receiving(binary, folder, exposed):
    """Prometheus to Outrigger."""
    port, sender_port = peers.free_port(), peers.free_port()
    config = write(os.path.join(folder, "third.yml"), "collect: {history_interval: 0s}\nbuiltin_rules: {enabled: false}\n")
    with start_outrigger(binary, port, config, ["--web.enable-remote-write-receiver"]) as receiver, \
            start_prometheus(folder, sender_port, f"""
global: {{ scrape_interval: 1s, scrape_timeout: 1s }}
scrape_configs:
  - job_name: target
    static_configs: [{{ targets: ['127.0.0.1:{exposed}'] }}]
remote_write:
  - url: http://127.0.0.1:{port}/api/v1/write
    queue_config: {{ batch_send_deadline: 500ms }}
""") as sender:
        scraped = lambda: max(map(len, samples(sender_port, time.time()).values()), default=0) >= 8
        peers.wait_for(scraped, "eight scrapes by Prometheus", 40, sender)
        pass_time(1)
        same("from Prometheus, 1.0", sender_port, port, time.time() - 1)
        if sender.log(1 << 20).count("non-recoverable"):
            raise Failed(f"Prometheus was refused:\n{sender.log()}")
        refused = own(receiver, "outrigger_store_samples_out_of_order_total")
        if sum(refused.values()) != 0:
            raise Failed(f"out of order: {refused}")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    arguments = options.parse_args()
    server = target()
    exposed = server.server_address[1]
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        sending(arguments.outrigger, first, exposed)
        receiving(arguments.outrigger, second, exposed)
    server.shutdown()


if __name__ == "__main__":
    peers.main(check)
