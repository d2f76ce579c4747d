#!/usr/bin/env python3
"""PromQL and its API compared with a real Prometheus, answer by answer.

Both servers get the same three hours of history (see history.py), then scrape the same small page for a moment. Some
fourteen hundred queries - made up from a grammar, and written by hand - are asked of both, as instant
or as range queries. Status, error type and text, result type, labels, timestamps and values must be the same; values to the last
bit, but where one of two reasons stands against it:

- Prometheus 3 adds with a compensation (Neumaier) where 2.x adds plainly, and averages likewise: a query that contains
  such a function may differ by SUMMING, relative to the largest number of the answer.
- Functions of the C library (sin, exp, pow, ...) round the last bit differently in Go: LIBRARY; more where one is
  applied to another, as in tan(atan(x)).

What differs because Debian's Prometheus is of another version stands in promql_exceptions.tsv, with its reason.
"""

import argparse
import http.client
import http.server
import json
import math
import os
import random
import re
import tempfile
import threading
import time
import urllib.parse

import history
import peers
import promql_queries as queries
from peers import Failed

SEED = 42
MADE = 1000
SUMMING = 1e-9
LIBRARY = 1e-14
SUMS = re.compile(r"\b(sum|avg|stddev|stdvar|deriv|predict_linear|\w+_over_time|rate|increase|delta|histogram_quantile)\b")
LIBRARY_FUNCTIONS = re.compile(r"\b(exp|ln|log2|log10|a?(sin|cos|tan)h?|atan2)\b|\^")
# Samples lie at 7 ms behind a whole second: nothing is ever on an edge.
INSTANT = history.BASE + 7200 + 13.5
RANGE = {"start": history.BASE + 1800.5, "end": history.END - 600 + 0.5, "step": "210"}


class Client:
    """One kept connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, path, **parameters):
        """(status, answer) of a call by POST."""
        form = urllib.parse.urlencode(parameters)
        self.connection.request("POST", path, form, {"Content-Type": "application/x-www-form-urlencoded"})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def query(self, expression, is_range, at=INSTANT):
        """The same by instant or range."""
        if is_range:
            return self.ask("/api/v1/query_range", query=expression, **RANGE)
        return self.ask("/api/v1/query", query=expression, time=at)


def rows(data):
    """{labels: [(time, value)]} of a vector or matrix; other results under no labels."""
    kind, result = data["resultType"], data["result"]
    if kind in ("scalar", "string"):
        return {(): [tuple(result)]}
    found = {}
    for row in result:
        labels = tuple(sorted(row["metric"].items()))
        if labels in found:
            raise Failed(f"twice in one answer: {labels}")
        found[labels] = [tuple(p) for p in row["values"]] if "values" in row else [tuple(row["value"])]
    return found


def tolerance(expression):
    """How far values of this expression may differ, relative to the largest of the answer."""
    library = len(LIBRARY_FUNCTIONS.findall(expression))
    if SUMS.search(expression) or library > 1:
        return SUMMING
    return LIBRARY if library else 0.0


PAIR = re.compile(r"match group {.*} on the (left|right) hand-side of the operation: \[{.*}, {.*}\];")


PARAMETER = 'invalid parameter "query": '


def error_text(text, is_range):
    """An error's text as compared. Prometheus 2 does not name the parameter of a range query that it refuses; which
    of many duplicates a range query names depends there on the order of a Go map."""
    if is_range:
        text = PAIR.sub(r"match group on the \1 hand-side of the operation;", text)
    return text


def difference(expression, is_range, ours, theirs):
    """None where the answers are the same; else what is not. Second: by how much values differ at most."""
    (our_status, our_answer), (their_status, their_answer) = ours, theirs
    for answer in (our_answer, their_answer):
        if "error" in answer:
            answer["error"] = error_text(answer["error"], is_range)
    if is_range and their_status == 400:
        their_answer["error"] = PARAMETER + their_answer["error"].removeprefix(PARAMETER)
    for key in ("status", "errorType", "error"):
        if our_answer.get(key) != their_answer.get(key):
            return f"{key}: {our_answer.get(key, our_status)!r}, Prometheus {their_answer.get(key, their_status)!r}", 0.0
    if our_status != their_status:
        return f"HTTP status {our_status}, Prometheus {their_status}", 0.0
    if our_answer["status"] == "error":
        return None, 0.0
    ours, theirs = our_answer["data"], their_answer["data"]
    if ours["resultType"] != theirs["resultType"]:
        return f"{ours['resultType']}, Prometheus {theirs['resultType']}", 0.0
    is_sorted = re.match(r"(sort|topk|bottomk)", expression) and ours["resultType"] == "vector"
    our_rows, their_rows = rows(ours), rows(theirs)
    if our_rows.keys() != their_rows.keys():
        more, less = our_rows.keys() - their_rows.keys(), their_rows.keys() - our_rows.keys()
        return f"{len(our_rows)} series, Prometheus {len(their_rows)}: too much {sorted(more)[:2]}, lacking {sorted(less)[:2]}", 0.0
    if is_sorted:
        our_order, their_order = ([float(r["value"][1]) for r in d["result"]] for d in (ours, theirs))
        # To the tolerance of the values themselves, which are compared next.
        if not all(math.isclose(a, b, rel_tol=1e-9) or str(a) == str(b) for a, b in zip(our_order, their_order)):
            return f"order {our_order}, Prometheus {their_order}", 0.0
    if ours["resultType"] == "string":
        return (None, 0.0) if our_rows == their_rows else (f"{our_rows}, Prometheus {their_rows}", 0.0)
    return values_differ(tolerance(expression), our_rows, their_rows)


def values_differ(allowed, ours, theirs):
    numbers = [abs(float(v)) for points in theirs.values() for _, v in points]
    largest = max((n for n in numbers if math.isfinite(n)), default=0.0)
    worst = 0.0
    for labels, points in theirs.items():
        if [t for t, _ in points] != [t for t, _ in ours[labels]]:
            return f"{dict(labels)}: at {len(ours[labels])} instants, Prometheus {len(points)}", 0.0
        for (at, theirs_at), (_, ours_at) in zip(points, ours[labels]):
            if theirs_at == ours_at:
                continue
            a, b = float(ours_at), float(theirs_at)
            relative = abs(a - b) / largest if largest and math.isfinite(a) and math.isfinite(b) else math.inf
            worst = max(worst, relative)
            if relative > allowed:
                return f"{dict(labels)} at {at}: {ours_at}, Prometheus {theirs_at}", worst
    return None, worst


class Exceptions:
    """What other versions answer otherwise: regular expressions on the query, each with its reason."""

    def __init__(self):
        self.rows, self.used = [], set()
        with open(os.path.join(peers.HERE, "promql_exceptions.tsv"), encoding="utf-8") as f:
            for line in f:
                if line.strip() and not line.startswith("#"):
                    pattern, found, reason = line.rstrip("\n").split("\t")
                    self.rows.append((re.compile(pattern), re.compile(found), reason))

    def explain(self, expression, what):
        for at, (pattern, found, reason) in enumerate(self.rows):
            if pattern.search(expression) and found.search(what):
                self.used.add(at)
                return reason
        return None

    def unused(self):
        return [row[0].pattern for at, row in enumerate(self.rows) if at not in self.used]


class Tally:
    """What became of the queries."""

    def __init__(self):
        self.exceptions = Exceptions()
        self.asked = self.same_bits = self.close = self.errors = self.empty = 0
        self.explained, self.findings, self.worst = {}, [], (0.0, "")

    def compare(self, expression, ours, theirs, where):
        """Counts one answer."""
        self.asked += 1
        what, worst = difference(expression, where == "range", ours, theirs)
        if what is not None:
            reason = self.exceptions.explain(expression, what)
            if reason is None:
                self.findings.append(f"{where}: {expression}\n      {what}")
            else:
                self.explained[reason] = self.explained.get(reason, 0) + 1
            return
        self.close += worst > 0
        self.same_bits += worst == 0
        self.worst = max(self.worst, (worst, expression))
        self.errors += theirs[1]["status"] == "error"
        self.empty += theirs[1]["status"] == "success" and theirs[1]["data"]["result"] == []

    def report(self):
        explained = sum(self.explained.values())
        print(f"{self.asked} queries: {self.same_bits} equal to the bit (of them {self.errors} errors, "
              f"{self.empty} empty), {self.close} equal within rounding, {explained} explained by version, "
              f"{len(self.findings)} different")
        print(f"largest relative difference by rounding: {self.worst[0]:.1e}: {self.worst[1][:120]}")
        for reason, count in sorted(self.explained.items(), key=lambda row: -row[1]):
            print(f"  {count:4} {reason}")


def ask_all(ours, theirs, tally, seed, count):
    expressions = queries.made(random.Random(seed), count)
    expressions += [(text, is_range) for text in queries.lines(queries.WRITTEN) for is_range in (False, True)]
    expressions += [(text, i % 2 == 1) for i, text in enumerate(queries.lines(queries.REFUSED))]
    for expression, is_range in expressions:
        answers = [client.query(expression, is_range) for client in (ours, theirs)]
        tally.compare(expression, *answers, "range" if is_range else "instant")


def page(now):
    """What is scraped: every sample carries its instant, so that both servers get the same."""
    out, second = history.Writer(), int(now)
    out.family("live_requests", "counter", "A counter with a reset")
    out.sample("live_requests_total", {"code": "200"}, second, second % 7)
    out.family("live_gauge", "gauge", "Odd values")
    for name, value in {"nan": math.nan, "inf": math.inf, "ünï": -0.0, "third": 1 / 3}.items():
        out.sample("live_gauge", {"name": name}, second, value)
    if second % 3:
        out.sample("live_gauge", {"name": "sometimes"}, second, second)
    out.family("live_seconds", "histogram", "A histogram")
    for i, bound in enumerate(["0.1", "1.0", "+Inf"]):
        out.sample("live_seconds_bucket", {"le": bound}, second, (second % 1000) * (i + 1))
    out.sample("live_seconds_count", {}, second, (second % 1000) * 3)
    out.sample("live_seconds_sum", {}, second, second % 1000)
    return out.text()


class Pages:
    """Serves the page of each second; what it said in a second it says again."""

    def __init__(self):
        said = {}
        lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with lock:
                    now = int(time.time())
                    body = said.setdefault(now, page(now)).encode()
                self.send_response(200)
                self.send_header("Content-Type", peers.OPENMETRICS + "; charset=utf-8")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


LIVE = """
live_gauge
live_gauge{name="ünï"}
live_requests_total
live_seconds_bucket
histogram_quantile(0.5, live_seconds_bucket)
sum(live_gauge{name!~"nan|inf"})
count({__name__=~"live_.+"})
live_gauge == live_gauge
1 / live_gauge
max(live_gauge)
sort(live_gauge)
timestamp(live_gauge)
absent(live_gauge{name="sometimes"})
"""


def live(ours, theirs, tally):
    """The newest instant that both have, asked of both."""
    def common():
        instants = []
        for client in (ours, theirs):
            _, answer = client.ask("/api/v1/query", query='live_gauge{name="third"}[15s]')
            found = answer["data"]["result"]
            instants.append({int(t) for t, _ in found[0]["values"]} if found else set())
        both = instants[0] & instants[1]
        return max(both) if len(both) >= 3 else None

    at = peers.wait_for(common, "three instants that both scraped", 30)
    for expression in queries.lines(LIVE):
        # Half a second behind, so that only the sample of this instant is the last one.
        answers = [client.query(expression, False, at + 0.5) for client in (ours, theirs)]
        tally.compare(expression, *answers, f"live at {at}")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    options.add_argument("--seed", type=int, default=SEED, help="of the expressions")
    options.add_argument("--made", type=int, default=MADE, help="so many expressions")
    arguments = options.parse_args()
    pages = Pages()
    targets = [("live", pages.server.server_address[1])]
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "history.om")
        with open(file, "w", encoding="utf-8") as f:
            f.write(history.openmetrics())
        with history.Outrigger(arguments.outrigger, folder, file, targets) as ours, \
                history.Prometheus(folder, file, targets) as theirs:
            tally = Tally()
            clients = Client(ours.port), Client(theirs.port)
            ask_all(*clients, tally, arguments.seed, arguments.made)
            live(*clients, tally)
    pages.server.shutdown()
    tally.report()
    unused = tally.exceptions.unused()
    if unused:
        tally.findings.append(f"exceptions that explain nothing: {unused}")
    if tally.findings:
        raise Failed(f"{len(tally.findings)} differences\n  " + "\n  ".join(tally.findings))


if __name__ == "__main__":
    peers.main(check)
