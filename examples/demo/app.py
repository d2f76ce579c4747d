#!/usr/bin/env python3
"""The demo's application: an HTTP service that is as slow and as faulty as it is told to be, and a training loop.

    pip install prometheus-client
    python3 app.py --port 8000
    curl '127.0.0.1:8000/trouble?errors=0.3&latency=0.4'     # a third fails, all take 0.4 s longer
    curl '127.0.0.1:8000/trouble'                            # well again

Metrics are at /metrics, by Python's official client; the names are those that the shipped rules and dashboards read.
"""

import argparse
import hashlib
import http.client
import http.server
import random
import threading
import time
import urllib.parse

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

REQUESTS = Counter("http_requests", "Requests by status", ["code", "handler"])
DURATION = Histogram("http_request_duration_seconds", "Duration of requests", ["handler"],
                     buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5))
IN_FLIGHT = Gauge("http_requests_in_flight", "Requests that are being answered")
LOSS = Gauge("ml_training_loss", "Training loss", ["model"])
EPOCHS = Counter("train_epochs", "Epochs that are done", ["model"])
EPOCH = Histogram("train_epoch_duration_seconds", "Duration of an epoch", ["model"], buckets=(0.1, 0.5, 1, 2, 5))
CACHE = Counter("ml_cache_requests", "Cache lookups", ["model", "result"])
INFERENCES = Counter("ml_inference_requests", "Inferences by result", ["model", "result"])
INFERENCE = Histogram("ml_inference_duration_seconds", "Duration of inferences", ["model"], buckets=(0.01, 0.05, 0.2, 1, 2, 5))
CONFIDENCE = Histogram("ml_prediction_confidence", "Confidence of predictions", ["model"], buckets=(0.2, 0.5, 0.8, 0.9))
PREDICTIONS = Counter("ml_predictions", "Predictions", ["model"])
REVIEWED = Counter("ml_predictions_reviewed", "Predictions that a person looks at", ["model"])
ACCURACY = Gauge("ml_accuracy_ratio", "Points that the model in use gets right", ["model"])
BASELINE = Gauge("ml_baseline_accuracy_ratio", "Points that the formula behind them gets right", ["model"])
CHECKED = Counter("ml_data_quality_checks", "Checks of training data", ["model", "check", "result"])
COMPUTED = Counter("ml_compute_seconds", "Time of training", ["model"])
COMPILED = Counter("ml_jit_seconds", "Time of training spent on compiling", ["model"])
SECURED = Counter("ml_security_seconds", "Time of training spent on checksums of its data", ["model"])
MODEL = "demo"


class Trouble:
    """What the service suffers from: part of requests that fail, seconds that each takes longer."""

    errors, latency = 0.0, 0.0


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/metrics":
            self.answer(200, generate_latest(), CONTENT_TYPE_LATEST)
        elif url.path == "/trouble":
            wanted = dict(urllib.parse.parse_qsl(url.query))
            Trouble.errors = min(max(float(wanted.get("errors", 0)), 0), 1)
            Trouble.latency = min(max(float(wanted.get("latency", 0)), 0), 5)
            self.answer(200, f"errors {Trouble.errors}, latency {Trouble.latency} s\n".encode())
        else:
            self.work(url.path)

    def work(self, path):
        handler = "/predict" if path == "/predict" else "/"
        began = time.monotonic()
        with IN_FLIGHT.track_inprogress():
            time.sleep(random.uniform(0.002, 0.02) + Trouble.latency)
            failed = random.random() < Trouble.errors
        spent = time.monotonic() - began
        if handler == "/predict":
            INFERENCES.labels(MODEL, "error" if failed else "ok").inc()
            INFERENCE.labels(MODEL).observe(spent)
            confidence = random.betavariate(8, 1)
            CONFIDENCE.labels(MODEL).observe(confidence)
            PREDICTIONS.labels(MODEL).inc()
            REVIEWED.labels(MODEL).inc(confidence < 0.5)
        # Counted before it is answered, so that whoever has an answer finds it counted.
        REQUESTS.labels("500" if failed else "200", handler).inc()
        DURATION.labels(handler).observe(spent)
        self.answer(500 if failed else 200, b"no\n" if failed else b"yes\n")

    def answer(self, status, body, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def right(points, weight):
    """The part of the points that the line comes near to."""
    return sum(abs(weight * x - y) < 0.25 for x, y in points) / len(points)


def spent(counter, began):
    """Adds the time since `began`; returns what time it is."""
    now = time.monotonic()
    counter.labels(MODEL).inc(now - began)
    return now


def train():
    """A regression line, learnt point by point for ever; its loss falls, and starts anew with every run."""
    for result in ("passed", "failed"):
        CHECKED.labels(MODEL, "range", result)
    while True:
        began = time.monotonic()
        step = compile("weight - rate * (weight * x - y) * x", "step", "eval")
        began = spent(COMPILED, began)
        weight, rate = 0.0, 0.05
        for _ in range(200):
            with EPOCH.labels(MODEL).time():
                points = [(x, 3 * x + random.gauss(0, 0.1)) for x in (random.uniform(-1, 1) for _ in range(200))]
                began = time.monotonic()
                hashlib.sha256(repr(points).encode()).hexdigest()
                began = spent(SECURED, began)
                CHECKED.labels(MODEL, "range", "passed" if all(abs(y) < 5 for _, y in points) else "failed").inc()
                for x, y in points:
                    weight = eval(step, {"weight": weight, "rate": rate, "x": x, "y": y})
                    CACHE.labels(MODEL, "hit" if random.random() < 0.95 else "miss").inc()
                spent(COMPUTED, began)
                time.sleep(0.3)
            EPOCHS.labels(MODEL).inc()
            LOSS.labels(MODEL).set(sum((weight * x - y) ** 2 for x, y in points) / len(points))
            ACCURACY.labels(MODEL).set(right(points, weight))
            BASELINE.labels(MODEL).set(right(points, 3))


def visit(port, pause):
    """A user who asks again and again."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            for _ in range(50):
                connection.request("GET", random.choice(["/", "/", "/predict"]))
                connection.getresponse().read()
                time.sleep(pause)
        except OSError:
            time.sleep(0.5)
        finally:
            connection.close()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--port", type=int, default=8000)
    options.add_argument("--users", type=int, default=4, help="users who ask all the time; 0: only you do")
    arguments = options.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", arguments.port), Service)
    server.daemon_threads = True
    threading.Thread(target=train, daemon=True).start()
    for _ in range(arguments.users):
        threading.Thread(target=visit, args=(server.server_address[1], 0.05), daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
