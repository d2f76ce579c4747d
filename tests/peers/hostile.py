#!/usr/bin/env python3
"""Clients that mean harm: slow, many, huge, malformed.

After each attack the exporter must answer an ordinary scrape, and its memory must stay bounded; resident size
before, at its highest and after is printed.
"""

import argparse
import resource
import socket
import time

import peers
from peers import Failed

CONNECTIONS = 10_000
SLOW_CLIENTS = 500
# Longer than any limit on reading a request's head, so that what is held must have been let go.
LET_GO_SECONDS = 60
HIGHEST_KB = 96 * 1024
GROWTH_KB = 24 * 1024


def connect(port, timeout=10.0):
    return socket.create_connection(("127.0.0.1", port), timeout)


def send_all(port, data, timeout=10.0):
    """Sends bytes, returns the start of the answer; a closed or reset connection is an answer too."""
    with connect(port, timeout) as s:
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            return s.recv(200)
        except OSError as error:
            return repr(error).encode()


def slow_loris(port):
    """Heads that never end, a byte at a time: each must be closed, and nobody else kept waiting."""
    clients = [connect(port) for _ in range(SLOW_CLIENTS)]
    for client in clients:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    deadline, closed = time.monotonic() + LET_GO_SECONDS, 0
    while clients and time.monotonic() < deadline:
        began = time.monotonic()
        status = peers.get(port, "/-/healthy")[0]
        if status != 200 or time.monotonic() - began > 5:
            raise Failed(f"/-/healthy beside slow clients: {status} after {time.monotonic() - began:.1f} s")
        still = []
        for client in clients:
            try:
                client.send(b"a")
                client.setblocking(False)
                if client.recv(1000) == b"":
                    raise ConnectionError
                client.setblocking(True)
                closed += 1
                client.close()
            except BlockingIOError:
                client.setblocking(True)
                still.append(client)
            except ConnectionError:
                closed += 1
                client.close()
        clients = still
        time.sleep(0.5)
    for client in clients:
        client.close()
    if clients:
        raise Failed(f"{len(clients)} of {SLOW_CLIENTS} slow clients still connected after {LET_GO_SECONDS} s")
    return f"all {closed} closed"


def slow_readers(port):
    """Clients that ask for a page and never read it."""
    clients = []
    for _ in range(SLOW_CLIENTS):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(10)
        try:
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        except OSError:
            pass
        clients.append(client)
    answer = peers.wait_for(lambda: peers.get(port, "/-/healthy", timeout=5)[0] == 200, "an answer beside slow readers",
                            LET_GO_SECONDS)
    for client in clients:
        client.close()
    return f"answered beside {len(clients)}: {answer}"


def many_connections(port):
    """Ten thousand connections at once that say nothing."""
    clients, refused = [], 0
    for _ in range(CONNECTIONS):
        try:
            clients.append(connect(port, 2.0))
        except OSError:
            refused += 1
            if refused > 50:
                break
    began = time.monotonic()
    peers.wait_for(lambda: peers.get(port, "/-/healthy", timeout=5)[0] == 200, "an answer beside idle connections",
                   LET_GO_SECONDS)
    waited = time.monotonic() - began
    for client in clients:
        client.close()
    return f"{len(clients)} held, {refused} refused, answered after {waited:.1f} s"


def huge_heads(port):
    """Heads, lines and targets far beyond any limit."""
    seen = set()
    for head in (
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (8 << 20) + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        b"GET /metrics?" + b"collect[]=cpu&" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * (4 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        seen.add(send_all(port, head)[:12])
    if any(answer.startswith(b"HTTP/1.1 2") for answer in seen):
        raise Failed(f"a huge head was accepted: {seen}")
    return f"answers {sorted(seen)}"


def huge_bodies(port):
    """Bodies nobody asked for, announced or chunked, gigabytes if they were read."""
    seen = set()
    for path in (b"/metrics", b"/-/reload", b"/"):
        head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
        seen.add(send_all(port, head + b"a" * (32 << 20))[:12])
        head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        seen.add(send_all(port, head + (b"100000\r\n" + b"a" * 0x100000 + b"\r\n") * 32)[:12])
    return f"answers {sorted(seen)}"


def malformed(port):
    """Not HTTP, or not quite."""
    seen = set()
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        bytes(range(256)) * 100,
        b"GET /metrics\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GET /metrics?collect[]=%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: " + b"a/b;q=9," * 2000 + b"\r\nConnection: close\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: -1e999\r\nConnection: close\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: NaN\r\nConnection: close\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x40\x00\x04\x00\x00\x00\x00\x00" * 1000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        + b"".join(b"\x00\x00\x01\x01\x04" + i.to_bytes(4, "big") + b"\x82\x00\x00\x04\x03" + i.to_bytes(4, "big")
                   + b"\x00\x00\x00\x08" for i in range(1, 20001, 2)),
    ):
        seen.add(send_all(port, data)[:12])
    return f"{len(seen)} kinds of answer"


def scraped(exporter):
    """Families of a scrape, None while what the attack had begun is still being answered (503)."""
    status, _, body = peers.get(exporter.port, "/metrics", {"Accept": peers.TEXT}, 5)
    return peers.parse(body.decode()) if status == 200 else None


def check():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--outrigger", required=True)
    binary = options.parse_args().outrigger
    want = CONNECTIONS + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, max(hard, want)))
    with peers.start_outrigger(binary) as ours:
        for _ in range(20):
            peers.parse(ours.scrape())
        before = ours.status("VmRSS")
        for attack in (malformed, huge_heads, huge_bodies, slow_readers, slow_loris, many_connections):
            said = attack(ours.port)
            if ours.poll() is not None:
                raise Failed(f"{attack.__name__}: the exporter ended with {ours.returncode}\n{ours.log()}")
            families = peers.wait_for(lambda: scraped(ours), f"a scrape after {attack.__name__}", 30, ours)
            print(f"{attack.__name__}: {said}; then {len(families)} families, "
                  f"RSS {ours.status('VmRSS')} kB, highest {ours.status('VmHWM')} kB")
        after, highest = ours.status("VmRSS"), ours.status("VmHWM")
        if "panicked" in ours.log(1 << 22):
            raise Failed(f"a panic:\n{ours.log()}")
        print(f"RSS before {before} kB, highest {highest} kB, after {after} kB, log {len(ours.log(1 << 30))} bytes")
        if highest > HIGHEST_KB or after > before + GROWTH_KB:
            raise Failed(f"memory grew from {before} to {highest} (highest), {after} (after) kB")
        if ours.stop() != 0:
            raise Failed(f"SIGTERM: exit code {ours.returncode}\n{ours.log()}")


if __name__ == "__main__":
    peers.main(check)
