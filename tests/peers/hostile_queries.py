#!/usr/bin/env python3
"""Queries that mean harm: huge, deep, endless, never read, abandoned, too many.

Each is answered in its own words within moments, nobody else waits for it, and memory stays bounded. An ordinary
query and an ordinary scrape are answered after, and during, every attack.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import socket
import tempfile
import time
import urllib.parse

import history
import peers
from history import BASE, END
from peers import Failed

TIMEOUT_SECONDS = 4
FLAGS = [f"--query.timeout={TIMEOUT_SECONDS}s", "--query.max-concurrency=4", "--query.max-samples=1000000",
         "--collector.min-interval=0s"]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HIGHEST_KB = 400 * 1024
# At each of 5,401 steps the 10,800 values of a subquery are sorted, for each of 15 series: it does not end by itself
# within the query's time.
ENDLESS = "quantile_over_time(0.5, {__name__=~\"level|temperature|memory_bytes\"}[3h:1s])"
OVER = {"start": BASE, "end": END, "step": "2"}


def ask(port, path="query", method="POST", timeout=60, **parameters):
    """(status, answer, seconds) of a call."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        form = urllib.parse.urlencode(parameters)
        if method == "POST":
            connection.request("POST", "/api/v1/" + path, form, FORM)
        else:
            connection.request("GET", f"/api/v1/{path}?{form}")
        response = connection.getresponse()
        body = response.read()
    except (BrokenPipeError, ConnectionResetError) as error:
        # It answered and closed while we were still sending.
        return 0, repr(error), time.monotonic() - began
    finally:
        connection.close()
    try:
        return response.status, json.loads(body), time.monotonic() - began
    except ValueError:
        return response.status, body.decode(errors="replace"), time.monotonic() - began


def ordinary(port, what):
    """A small query and a scrape beside, or after, an attack."""
    began = time.monotonic()
    if peers.get(port, "/metrics", timeout=20)[0] != 200:
        raise Failed(f"{what}: a scrape was not answered")
    scraped = time.monotonic() - began
    if scraped > 2:
        raise Failed(f"{what}: a scrape took {scraped:.1f} s")


def refused(port):
    """What is too large or too deep is refused at once."""
    worst = 0.0
    many = lambda count, text: text * count
    for name, query, wanted in [
        ("50 MB", many(50 << 20, "a"), (0, 400, 413)),
        ("100,000 parentheses", many(100_000, "("), (0, 400)), ("30,000 parentheses", many(30_000, "("), (400,)),
        ("a nest", many(15_000, "(") + "1" + many(15_000, ")"), (400,)),
        ("signs", many(60_000, "-") + "1", (400,)), ("a chain", "1" + many(30_000, "+1"), (400,)),
        ("powers", "1" + many(30_000, "^1"), (400,)), ("subqueries", "a" + many(10_000, "[5m:]"), (400,)),
        ("calls", many(10_000, "abs(") + "a", (400,)), ("braces", "{" + many(60_000, "{"), (400,)),
        ("10,000 expressions", "{" + many(10_000, 'a=~"b",') + "}", (0, 400)),
        ("5,000 expressions", "{" + many(5_000, 'a=~"b",') + "}", (400,)),
        ("a large expression", '{a=~"' + many(1000, "(a|b){30}") + '"}', (400,)),
        ("repetitions", '{a=~"(((a{99}){99}){99}){99}"}', (400,)), ("a backreference", r'{a=~"(a)\\1"}', (400,)),
        ("a long string", '"' + many(60_000, "x") + '"', (200,)), ("an open string", '"' + many(60_000, "x"), (400,)),
        ("a long number", many(60_000, "1"), (200, 400)), ("NUL", "a\0b", (400,)), ("no UTF-8", b"\xff\xfe", (400,)),
        ("a long duration", "a[" + many(10_000, "1y") + "]", (400,)), ("many labels", "sum by (" + many(20_000, "a,") + "b)(c)", (200, 400)),
        ("comments", many(10_000, "#\n") + "1", (200,)), ("a large offset", "a offset 292y", (200, 400)),
        ("a far instant", "a @ 9e15", (200, 400)), ("another", "a @ -9e300", (400,)), ("large numbers", "topk(1e300, level)", (200, 422)),
    ]:
        status, answer, seconds = ask(port, query=query)
        worst = max(worst, seconds)
        if status not in wanted or seconds > 10:
            raise Failed(f"{name}: {status} after {seconds:.2f} s: {str(answer)[:300]}")
    ordinary(port, "after what is too large")
    return f"slowest answer {worst:.2f} s"


def odd_times(port):
    """Times without sense get an answer, too."""
    for moment in ("-1e15", "9e15", "NaN", "Inf", "-Inf", "0", "1e400", "-0", "1e-400", "0x10", "", "2025-02-30T00:00:00Z", "9999-12-31T23:59:59Z"):
        for path, more in (("query", {"time": moment}), ("query_range", {"start": moment, "end": moment, "step": 1}),
                           ("query_range", {"start": 0, "end": moment, "step": "1e9"})):
            for expression in ("sum(level)", "rate(level[5m])", "sum_over_time(level[1y:1w])", "level offset 100y", "hour()", "level @ end()",
                               "predict_linear(level[5m], 9e18)"):
                status, answer, seconds = ask(port, path, query=expression, **more)
                if status not in (200, 400, 422, 503) or seconds > TIMEOUT_SECONDS + 2:
                    raise Failed(f"{expression} {path} {more}: {status} after {seconds:.1f} s: {answer}")
    ordinary(port, "after odd times")
    return "all answered"


def too_many_samples(port):
    """More than --query.max-samples: Prometheus's words."""
    words = "query processing would load too many samples into memory in query execution"
    for path, expression in (("query", "{__name__=~\".+\"}[6h:250ms]"), ("query", "{__name__=~\".+\"}[6h:250ms] offset 1h"),
                             ("query_range", "{__name__=~\".+\"} or {__name__=~\".+\"} offset 1m")):
        status, answer, seconds = ask(port, path, query=expression, time=END, **{**OVER, "step": "1.1"})
        if status != 422 or answer["error"] != words:
            raise Failed(f"{expression}: {status} after {seconds:.1f} s: {str(answer)[:300]}")
    return "refused"


def running(port):
    """Queries that are evaluated now, by the program's own metric."""
    families = peers.parse(peers.get(port, "/metrics")[2].decode())
    return sum(families["outrigger_queries"][1].values())


def abandoned(port):
    """When the client goes, its query ends."""
    clients = []
    for _ in range(4):
        client = socket.create_connection(("127.0.0.1", port))
        form = urllib.parse.urlencode({"query": ENDLESS, **OVER}).encode()
        client.sendall(b"POST /api/v1/query_range HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                       b"Content-Length: %d\r\n\r\n%s" % (len(form), form))
        clients.append(client)
    peers.wait_for(lambda: running(port) == 4, "four queries at once", 5)
    began = time.monotonic()
    for client in clients:
        client.close()
    peers.wait_for(lambda: running(port) == 0, "the end of abandoned queries", TIMEOUT_SECONDS)
    ended = time.monotonic() - began
    if ended > TIMEOUT_SECONDS / 2:
        raise Failed(f"abandoned queries went on for {ended:.1f} s")
    return f"ended after {ended * 1000:.0f} ms"


def crowd(port):
    """A hundred endless queries: all end with Prometheus's words, and scrapes go on meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        began = time.monotonic()
        asked = [pool.submit(ask, port, "query_range", query=ENDLESS, **OVER) for _ in range(100)]
        peers.wait_for(lambda: running(port) == 4, "queries at work", 5)
        beside = 0
        while not all(a.done() for a in asked) and time.monotonic() - began < 10 * TIMEOUT_SECONDS:
            ordinary(port, "beside a hundred queries")
            beside += 1
            time.sleep(0.1)
        answers = [a.result() for a in asked]
    texts = {}
    for status, answer, _ in answers:
        key = (status, answer.get("errorType"), answer.get("error")) if isinstance(answer, dict) else (status, None, answer)
        texts[key] = texts.get(key, 0) + 1
    allowed = {(503, "timeout", "query timed out in query queue"), (503, "timeout", "query timed out in expression evaluation")}
    if not set(texts) <= allowed:
        raise Failed(f"a hundred queries: {texts}")
    slowest = max(seconds for _, _, seconds in answers)
    if slowest > TIMEOUT_SECONDS * 2:
        raise Failed(f"a query of {TIMEOUT_SECONDS} s took {slowest:.1f} s")
    return f"{beside} scrapes beside; slowest answer {slowest:.1f} s; {list(texts.values())} by text"


def slow_clients(port):
    """Bodies that come a byte at a time, and large answers that nobody reads."""
    writers, readers = [], []
    for _ in range(100):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"POST /api/v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nq")
        writers.append(client)
    target = "/api/v1/query_range?" + urllib.parse.urlencode({"query": '{__name__=~".+"}', **OVER})
    for _ in range(100):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", port))
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        readers.append(client)
    deadline = time.monotonic() + 3
    beside = 0
    while time.monotonic() < deadline:
        ordinary(port, "beside slow clients")
        beside += 1
    for client in writers + readers:
        client.close()
    peers.wait_for(lambda: ask(port, query="1")[0] == 200, "a query after slow clients", 20)
    return f"{beside} scrapes beside"


def attack(server):
    for part in (refused, odd_times, too_many_samples, abandoned, crowd, slow_clients):
        began = time.monotonic()
        said = part(server.port)
        print(f"{part.__name__}: {said} ({time.monotonic() - began:.1f} s, {server.status('VmRSS') // 1024} MB)")
    highest = server.status("VmHWM")
    if highest > HIGHEST_KB:
        raise Failed(f"{highest // 1024} MB at the highest")
    print(f"at the highest {highest // 1024} MB")


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "history.om")
        with open(file, "w", encoding="utf-8") as f:
            f.write(history.openmetrics())
        with history.Outrigger(arguments.outrigger, folder, file, flags=FLAGS) as server:
            attack(server)
    # The same without a store on disk: there is little to read, and nothing may go wrong.
    with peers.start_outrigger(arguments.outrigger, ["--query.timeout=4s"]) as server:
        peers.wait_for(lambda: ask(server.port, query="count(up)")[1]["data"]["result"], "a pass in history", 30, server)
        print("in memory only:", refused(server.port), odd_times(server.port), sep=" ")


if __name__ == "__main__":
    peers.main(check)
