#!/usr/bin/env python3
"""Probes beside blackbox_exporter: the same modules, the same targets, the same families and values.

Servers of this check answer over HTTP, HTTPS, TCP and DNS; each target is asked by both programs. Durations are left
out, and what is listed in LATER: families and labels that blackbox_exporter has since a later version than Debian's.
"""

import argparse
import http.server
import os
import socket
import socketserver
import ssl
import struct
import subprocess
import tempfile
import threading

from peers import Exporter, Failed, free_port, get, main, parse, start_outrigger, wait_for

MODULES = r"""
modules:
  http_2xx: {prober: http, timeout: 5s}
  http_404: {prober: http, timeout: 5s, http: {valid_status_codes: [404]}}
  http_ip4: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4}}
  http_stay: {prober: http, timeout: 5s, http: {follow_redirects: false}}
  http_body: {prober: http, timeout: 5s, http: {fail_if_body_not_matches_regexp: ['hel+o']}}
  http_not_body: {prober: http, timeout: 5s, http: {fail_if_body_matches_regexp: ['hel+o']}}
  http_header: {prober: http, timeout: 5s, http: {fail_if_header_not_matches: [{header: X-A, regexp: '^b$'}]}}
  http_not_header: {prober: http, timeout: 5s, http: {fail_if_header_matches: [{header: X-A, regexp: '^b$'}]}}
  http_post: {prober: http, timeout: 5s, http: {method: POST, headers: {X-B: c}, body: x}}
  http_version: {prober: http, timeout: 5s, http: {valid_http_versions: [HTTP/2.0]}}
  http_limit: {prober: http, timeout: 5s, http: {body_size_limit: 3B}}
  http_not_gzip: {prober: http, timeout: 5s, http: {compression: gzip}}
  http_gzip: {prober: http, timeout: 5s, http: {compression: gzip, headers: {Accept-Encoding: gzip}, fail_if_body_not_matches_regexp: ['hel+o']}}
  https: {prober: http, timeout: 5s, http: {tls_config: {ca_file: CA}, fail_if_not_ssl: true}}
  https_any: {prober: http, timeout: 5s, http: {tls_config: {insecure_skip_verify: true}}}
  https_untrusted: {prober: http, timeout: 5s}
  not_ssl: {prober: http, timeout: 5s, http: {fail_if_not_ssl: true}}
  tcp: {prober: tcp, timeout: 5s}
  tcp_tls: {prober: tcp, timeout: 5s, tcp: {tls: true, tls_config: {ca_file: CA}}}
  tcp_talk: {prober: tcp, timeout: 5s, tcp: {query_response: [{expect: '^220 (\w+)', send: 'HELO ${1}'}, {expect: '^250 HELO ready$'}]}}
  tcp_dumb: {prober: tcp, timeout: 2s, tcp: {query_response: [{expect: '^230'}]}}
  dns: {prober: dns, timeout: 5s, dns: {query_name: here.example, query_type: A, preferred_ip_protocol: ip4}}
  dns_soa: {prober: dns, timeout: 5s, dns: {query_name: zone.example, query_type: SOA}}
  dns_missing: {prober: dns, timeout: 5s, dns: {query_name: none.example, query_type: A}}
  dns_valid: {prober: dns, timeout: 5s, dns: {query_name: none.example, query_type: A, valid_rcodes: [NXDOMAIN]}}
  dns_text: {prober: dns, timeout: 5s, dns: {query_name: here.example, query_type: A, validate_answer_rrs: {fail_if_not_matches_regexp: ['^here\.example\.\t60\tIN\tA\t192\.0\.2\.1$']}}}
  dns_not_text: {prober: dns, timeout: 5s, dns: {query_name: here.example, query_type: A, validate_answer_rrs: {fail_if_matches_regexp: ['192\.0']}}}
  dns_gone: {prober: dns, timeout: 5s, dns: {query_name: none.example, query_type: A, valid_rcodes: [NXDOMAIN], validate_answer_rrs: {fail_if_not_matches_regexp: ['192\.0']}}}
  dns_one_of: {prober: dns, timeout: 5s, dns: {query_name: here.example, query_type: A, validate_answer_rrs: {fail_if_none_matches_regexp: ['192\.0', '198\.51']}}}
  dns_none_of: {prober: dns, timeout: 5s, dns: {query_name: here.example, query_type: A, validate_answer_rrs: {fail_if_none_matches_regexp: ['10\.0', '198\.51']}}}
  dns_tcp: {prober: dns, timeout: 5s, dns: {query_name: here.example, query_type: A, transport_protocol: tcp}}
  icmp: {prober: icmp, timeout: 5s, icmp: {preferred_ip_protocol: ip4}}
"""

# Values that no two probes have alike.
DURATIONS = {"probe_duration_seconds", "probe_dns_lookup_time_seconds", "probe_http_duration_seconds",
             "probe_dns_duration_seconds", "probe_icmp_duration_seconds"}

# Of later versions, or ours: what Debian's 0.23 does not show.
LATER = {"probe_tls_cipher_info"}
LATER_LABELS = {"issuer", "subject", "subjectalternative", "serialnumber"}


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        import gzip
        codes = {"/": 200, "/missing": 404, "/moved": 302, "/loop": 302, "/broken": 500}
        code = codes.get(self.path, 200)
        accepts = "gzip" in self.headers.get("Accept-Encoding", "")
        body = b"" if code == 302 else b"hello"
        if accepts:
            body = gzip.compress(body)
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-A", "b")
        self.send_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
        if accepts:
            self.send_header("Content-Encoding", "gzip")
        if code == 302:
            self.send_header("Location", "/loop" if self.path == "/loop" else "/")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        length = int(self.headers.get("Content-Length", "0"))
        right = self.rfile.read(length) == b"x" and self.headers.get("X-B") == "c"
        self.send_response(204 if right else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Talk(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 ready\r\n")
        line = self.rfile.readline().strip()
        self.wfile.write(b"250 " + line + b"\r\n")


def dns_answer(query):
    """Answers two names, denies the others."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]])
        at += 1 + query[at]
    name, kind = b".".join(labels), struct.unpack(">H", query[at + 1:at + 3])[0]
    record = b""
    if name == b"here.example" and kind == 1:
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 1])
    elif name == b"zone.example" and kind == 6:
        data = b"\x02ns\xc0\x0c\x01m\xc0\x0c" + struct.pack(">IIIII", 4711, 1, 2, 3, 4)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 6, 1, 60, len(data)) + data
    code = 0 if record else 3
    head = query[:2] + bytes([0x85, 0x80 | code]) + struct.pack(">HHHH", 1, 1 if record else 0, 0, 0)
    return head + query[12:at + 5] + record


class DnsUdp(socketserver.BaseRequestHandler):
    def handle(self):
        query, sock = self.request
        sock.sendto(dns_answer(query), self.client_address)


class DnsTcp(socketserver.StreamRequestHandler):
    def handle(self):
        head = self.rfile.read(2)
        if len(head) == 2:
            answer = dns_answer(self.rfile.read(struct.unpack(">H", head)[0]))
            self.wfile.write(struct.pack(">H", len(answer)) + answer)


def started(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


class Threaded(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True


def certificates(directory):
    """An authority and a certificate for localhost that it signed, in files."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "400",
            "-subj", "/CN=check authority")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "leaf.csr", "-subj", "/O=A, B/CN=localhost")
    with open(os.path.join(directory, "ext"), "w", encoding="utf-8") as f:
        f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "100",
            "-out", "leaf.pem", "-extfile", "ext")


def normal(families, own_labels=()):
    """{(name, labels): value} of probe families, without durations and what is of later versions."""
    out = {}
    for family, (_, samples) in families.items():
        if not family.startswith("probe_") or family in LATER:
            continue
        for (name, labels), value in samples.items():
            labels = tuple((k, v) for k, v in labels if k not in own_labels and k not in LATER_LABELS)
            out[(name, labels)] = None if family in DURATIONS else value
    return out


def theirs(port, module, target):
    status, _, body = get(port, f"/probe?module={module}&target={target}")
    if status != 200:
        raise Failed(f"blackbox_exporter: {module} {target}: {status} {body[:200]!r}")
    return normal(parse(body.decode()))


def cases(ports):
    web, tls, talk, dns, dns_tcp = (ports[name] for name in ("web", "tls", "talk", "dns", "dns_tcp"))
    url = f"http://127.0.0.1:{web}"
    yield from [("http_2xx", f"{url}{path}") for path in ("/", "/missing", "/moved", "/loop", "/broken")]
    yield from [("http_2xx", f"127.0.0.1:{web}"), ("http_404", f"{url}/missing"), ("http_stay", f"{url}/moved")]
    yield from [(f"http_{name}", f"{url}/") for name in ("body", "not_body", "header", "not_header", "post", "version", "limit", "gzip", "not_gzip")]
    yield ("http_ip4", f"http://localhost:{web}/")
    yield from [(name, f"https://localhost:{tls}/") for name in ("https", "https_any", "https_untrusted")]
    yield ("not_ssl", f"{url}/")
    yield from [("tcp", f"127.0.0.1:{web}"), ("tcp", f"127.0.0.1:{free_port()}"), ("tcp_tls", f"localhost:{tls}")]
    yield from [("tcp_talk", f"127.0.0.1:{talk}"), ("tcp_dumb", f"127.0.0.1:{talk}")]
    yield from [(name, f"127.0.0.1:{dns}") for name in ("dns", "dns_soa", "dns_missing", "dns_valid", "dns_text", "dns_not_text",
                                                      "dns_gone", "dns_one_of", "dns_none_of")]
    yield ("dns_tcp", f"127.0.0.1:{dns_tcp}")
    yield ("icmp", "127.0.0.1")


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outrigger", required=True)
    parser.add_argument("--peer", default="prometheus-blackbox-exporter")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        certificates(directory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(directory, "leaf.pem"), os.path.join(directory, "key.pem"))
        tls = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
        tls.socket = context.wrap_socket(tls.socket, server_side=True)
        ports = {
            "web": started(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)),
            "tls": started(tls),
            "talk": started(Threaded(("127.0.0.1", 0), Talk)),
            "dns": started(socketserver.ThreadingUDPServer(("127.0.0.1", 0), DnsUdp)),
            "dns_tcp": started(Threaded(("127.0.0.1", 0), DnsTcp)),
        }
        modules = os.path.join(directory, "blackbox.yml")
        with open(modules, "w", encoding="utf-8") as f:
            f.write(MODULES.replace("CA}", os.path.join(directory, "ca.pem") + "}"))
        all_cases = list(cases(ports))
        probes = "".join(f"    - {{name: p{number}, module: {module}, targets: ['{target}']}}\n"
                         for number, (module, target) in enumerate(all_cases))
        config = os.path.join(directory, "outrigger.yml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(f"checks:\n  modules_file: blackbox.yml\n  probes:\n{probes}"
                    f"  certificates:\n    - {{name: files, files: [leaf.pem, ca.pem]}}\n"
                    f"    - {{name: served, endpoints: ['localhost:{ports['tls']}']}}\n")
        port = free_port()
        command = [arguments.peer, f"--config.file={modules}", f"--web.listen-address=127.0.0.1:{port}"]
        with Exporter(command, port) as blackbox, start_outrigger(arguments.outrigger, [f"--config.file={config}"]) as ours:
            def all_there():
                families = parse(ours.scrape())
                samples = families.get("probe_success", ("", {}))[1]
                files = families.get("x509_source_up", ("", {}))[1]
                return families if len(samples) == len(all_cases) and len(files) == 2 else None

            families = wait_for(all_there, "the first probes", 60, ours)
            wrong = []
            for number, (module, target) in enumerate(all_cases):
                mine = {}
                for family, (kind, samples) in families.items():
                    own = {key: value for key, value in samples.items() if ("probe", f"p{number}") in key[1]}
                    if own:
                        mine[family] = (kind, own)
                mine = normal(mine, ("probe", "module", "target"))
                other = theirs(port, module, target)
                for key in sorted(set(mine) | set(other), key=str):
                    if mine.get(key, "absent") != other.get(key, "absent"):
                        wrong.append(f"{module} {target}: {key}: ours {mine.get(key, 'absent')}, theirs {other.get(key, 'absent')}")
            if wrong:
                raise Failed(f"{len(wrong)} differences\n  " + "\n  ".join(wrong))
            print(f"{len(all_cases)} probes: the same families, labels and values")
            check_certificates(families, directory)


def check_certificates(families, directory):
    """What openssl says of the same files."""
    from calendar import timegm
    from time import strptime
    ends = {}
    for name in ("leaf.pem", "ca.pem"):
        command = ["openssl", "x509", "-noout", "-enddate", "-serial", "-in", os.path.join(directory, name)]
        lines = dict(line.split("=", 1) for line in subprocess.check_output(command, text=True).splitlines())
        ends[str(int(lines["serial"], 16))] = timegm(strptime(lines["notAfter"], "%b %d %H:%M:%S %Y %Z"))
    seen = families["x509_cert_not_after"][1]
    found = [(dict(labels), value) for (_, labels), value in seen.items()]
    if len(found) != 3 or any(ends[labels["serial_number"]] != value for labels, value in found):
        raise Failed(f"certificates: {found}, openssl says {ends}")
    up = {dict(labels)["source_name"]: value for (_, labels), value in families["x509_source_up"][1].items()}
    if up != {"files": 1, "served": 1}:
        raise Failed(f"sources of certificates: {up}")
    print("3 certificates end when openssl says")


if __name__ == "__main__":
    main(run)
