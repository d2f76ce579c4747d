#!/usr/bin/env python3
"""Probes beside blackbox_exporter: the same modules, the same targets, the same families and values.

Servers of this check answer over HTTP, HTTPS, TCP and DNS; each target is asked by both programs. Durations are left
out, and what is listed in LATER: families and labels that blackbox_exporter has since a later version than Debian's.
What is too long for a network is sent in a namespace of its own, whose network is a small one.
"""

import argparse
import http.server
import os
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import zlib

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
  http_deflate: {prober: http, timeout: 5s, http: {compression: deflate, headers: {Accept-Encoding: deflate}, fail_if_body_not_matches_regexp: ['hel+o']}}
  http_gzip_limit: {prober: http, timeout: 5s, http: {compression: gzip, body_size_limit: 3B, headers: {Accept-Encoding: gzip}}}
  http_302: {prober: http, timeout: 5s, http: {follow_redirects: false, valid_status_codes: [302]}}
  http_302_body: {prober: http, timeout: 5s, http: {follow_redirects: false, valid_status_codes: [302], fail_if_body_matches_regexp: [x]}}
  http_302_header: {prober: http, timeout: 5s, http: {no_follow_redirects: true, valid_status_codes: [302], fail_if_header_not_matches: [{header: X-A, regexp: '^c$'}]}}
  http_302_version: {prober: http, timeout: 5s, http: {no_follow_redirects: true, follow_redirects: true, valid_status_codes: [302], valid_http_versions: [HTTP/2.0]}}
  http_302_ssl: {prober: http, timeout: 5s, http: {valid_status_codes: [302], fail_if_not_ssl: true}}
  http_302_any: {prober: http, timeout: 5s, http: {valid_status_codes: [200, 302]}}
  http_oauth2: {prober: http, timeout: 5s, http: {oauth2: {client_id: 'i d', client_secret: 's:c', token_url: 'TOKEN', scopes: [a, b], endpoint_params: {x: 'y z'}}}}
  http_oauth2_body: {prober: http, timeout: 5s, http: {oauth2: {client_id: 'i d', client_secret: 's:c', token_url: 'TOKEN?in=body', scopes: [a, b], endpoint_params: {x: 'y z'}}}}
  http_oauth2_form: {prober: http, timeout: 5s, http: {oauth2: {client_id: 'i d', client_secret: 's:c', token_url: 'TOKEN?as=form', scopes: [a, b], endpoint_params: {x: 'y z'}}}}
  http_oauth2_wrong: {prober: http, timeout: 5s, http: {oauth2: {client_id: 'i d', client_secret: wrong, token_url: 'TOKEN'}}}
  http_oauth2_tls: {prober: http, timeout: 5s, http: {oauth2: {client_id: 'i d', client_secret: 's:c', token_url: 'TOKENS', scopes: [a, b], endpoint_params: {x: 'y z'}, tls_config: {ca_file: CA}}}}
  http_proxy: {prober: http, timeout: 5s, http: {proxy_url: 'http://u:p@PROXY', preferred_ip_protocol: ip4}}
  http_proxy_host: {prober: http, timeout: 5s, http: {proxy_url: 'http://u:p@PROXY', headers: {Host: a.very.long.name.example}}}
  http_proxy_skip: {prober: http, timeout: 5s, http: {proxy_url: 'http://u:p@PROXY', skip_resolve_phase_with_proxy: true}}
  http_proxy_refused: {prober: http, timeout: 5s, http: {proxy_url: 'http://PROXY'}}
  https_proxy: {prober: http, timeout: 5s, http: {proxy_url: 'http://u:p@PROXY', preferred_ip_protocol: ip4, tls_config: {ca_file: CA}}}
  https_proxy_header: {prober: http, timeout: 5s, http: {proxy_url: 'http://u:p@PROXY', skip_resolve_phase_with_proxy: true, proxy_connect_header: {X-Names: [allowed]}, tls_config: {ca_file: CA}}}
  https_proxy_name: {prober: http, timeout: 5s, http: {proxy_url: 'http://u:p@PROXY', skip_resolve_phase_with_proxy: true, tls_config: {ca_file: CA}}}
  https_host: {prober: http, timeout: 5s, http: {headers: {host: elsewhere.example}, tls_config: {ca_file: CA}}}
  https_host_right: {prober: http, timeout: 5s, http: {headers: {Host: localhost}, tls_config: {ca_file: CA}}}
  https: {prober: http, timeout: 5s, http: {tls_config: {ca_file: CA}, fail_if_not_ssl: true}}
  https_any: {prober: http, timeout: 5s, http: {tls_config: {insecure_skip_verify: true}}}
  https_untrusted: {prober: http, timeout: 5s}
  not_ssl: {prober: http, timeout: 5s, http: {fail_if_not_ssl: true}}
  tcp: {prober: tcp, timeout: 5s}
  tcp_tls: {prober: tcp, timeout: 5s, tcp: {tls: true, tls_config: {ca_file: CA}}}
  tcp_talk: {prober: tcp, timeout: 5s, tcp: {query_response: [{expect: '^220 (\w+)', send: 'HELO ${1}'}, {expect: '^250 HELO ready$'}]}}
  tcp_starttls: {prober: tcp, timeout: 5s, tcp: {tls_config: {ca_file: CA}, query_response: [{expect: '^220 (\w+)', send: 'STARTTLS ${1}'}, {expect: '^220 STARTTLS ready$'}, {starttls: true}, {expect: '^250 (?P<word>\w+)', send: 'I am ${word}'}, {expect: '^bye I am secure$'}]}}
  tcp_starttls_untrusted: {prober: tcp, timeout: 5s, tcp: {query_response: [{expect: '^220', send: STARTTLS}, {expect: '^220', starttls: true}]}}
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
  icmp_whole: {prober: icmp, timeout: 5s, icmp: {preferred_ip_protocol: ip4, dont_fragment: true}}
"""

# For a network of 1000 bytes: what fits, what is taken apart, and what must not be.
FRAGMENTS = """
modules:
  fits: {prober: icmp, timeout: 1s, icmp: {preferred_ip_protocol: ip4, dont_fragment: true, payload_size: 972}}
  parts: {prober: icmp, timeout: 1s, icmp: {preferred_ip_protocol: ip4, payload_size: 973}}
  whole: {prober: icmp, timeout: 1s, icmp: {preferred_ip_protocol: ip4, dont_fragment: true, payload_size: 973}}
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
        path = urllib.parse.urlsplit(self.path).path
        place, _, count = path[1:].partition("/")
        code, to = {"missing": 404, "broken": 500, "moved": 302, "loop": 302}.get(place, 200), {"loop": "/loop"}.get(place, "/")
        body = b"hello"
        if place == "moved":
            body = body if count else b""
        elif place == "many" and count != "0":
            code, to = 302, f"/many/{int(count) - 1}"
        elif place == "cookie" and "seen=1" not in self.headers.get("Cookie", ""):
            code, to = 302, "/cookie"
        elif place == "secret" and self.headers.get("Authorization") != "Bearer token":
            code = 401
        elif place == "nowhere":
            code, to = 302, ""
        # Asked as a proxy, by whom it knows.
        if self.path.startswith("http://"):
            body = self.path.encode()
            code = 200 if self.headers.get("Proxy-Authorization") == "Basic dTpw" else 407
        accepts = self.headers.get("Accept-Encoding", "")
        if "gzip" in accepts:
            body = gzip.compress(body)
        elif "deflate" in accepts:
            packer = zlib.compressobj(wbits=-15)
            body = packer.compress(body) + packer.flush()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-A", "b")
        self.send_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
        if "gzip" in accepts:
            self.send_header("Content-Encoding", "gzip")
        if code == 302:
            self.send_header("Location", to)
            self.send_header("Set-Cookie", "seen=1")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path.startswith("/token"):
            return self.give_token(sent.decode())
        right = sent == b"x" and self.headers.get("X-B") == "c"
        self.send_response(204 if right else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give_token(self, sent):
        """A token for one client, which names itself in a header, or in the body where that is asked for."""
        asked = dict(urllib.parse.parse_qsl(sent))
        client = (asked.pop("client_id", None), asked.pop("client_secret", None))
        if "in=body" in self.path:
            known = client == ("i d", "s:c")
        else:
            known = self.headers.get("Authorization") == "Basic aStkOnMlM0Fj"
        known = known and asked == {"grant_type": "client_credentials", "scope": "a b", "x": "y z"}
        kind, body = "application/json", b'{"access_token": "token", "token_type": "bearer", "expires_in": 60}'
        if "as=form" in self.path:
            kind, body = "application/x-www-form-urlencoded", b"access_token=token&expires_in=60"
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self):
        """A tunnel for who is known: to addresses, and to names where that is asked for."""
        host, _, port = self.path.rpartition(":")
        named = not host.replace(".", "").isdigit()
        known = self.headers.get("Proxy-Authorization") == "Basic dTpw"
        if not known or named and self.headers.get("X-Names") != "allowed":
            return self.send_error(403)
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=passed_on, args=(there, self.connection), daemon=True)
            back.start()
            passed_on(self.connection, there)
            back.join()
        self.close_connection = True

    def log_message(self, *_):
        pass


class WebServer(http.server.ThreadingHTTPServer):
    # All probes begin at once.
    request_queue_size = 128

    def handle_error(self, *_):
        """Who hangs up does so on purpose: a certificate or a length is not what it wants."""


def passed_on(source, sink):
    """Bytes of one socket to another until either ends."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class StartTls(socketserver.StreamRequestHandler):
    context = None

    def handle(self):
        self.wfile.write(b"220 ready\r\n")
        line = self.rfile.readline().strip()
        self.wfile.write(b"220 " + line + b"\r\n")
        try:
            with self.context.wrap_socket(self.connection, server_side=True) as stream:
                stream.sendall(b"250 secure\r\n")
                stream.sendall(b"bye " + stream.recv(1000))
        except OSError:
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
    yield from [("http_2xx", f"{url}{path}") for path in ("/", "/missing", "/moved", "/loop", "/broken", "/cookie", "/nowhere")]
    yield from [("http_2xx", f"{url}/many/{count}") for count in (9, 10, 11, 12)]
    yield from [("http_2xx", f"127.0.0.1:{web}"), ("http_404", f"{url}/missing"), ("http_stay", f"{url}/moved")]
    yield from [(f"http_{name}", f"{url}/") for name in ("body", "not_body", "header", "not_header", "post", "version", "limit", "gzip",
                                                        "not_gzip", "deflate", "gzip_limit")]
    yield from [(f"http_302{name}", f"{url}{path}") for name in ("", "_body", "_header", "_version", "_ssl", "_any")
                for path in ("/moved", "/moved/with-body", "/loop", "/many/10", "/many/11", "/nowhere")]
    yield from [(f"http_oauth2{name}", f"{url}/secret") for name in ("", "_body", "_form", "_wrong", "_tls")]
    yield ("http_oauth2", f"{url}/moved")
    yield from [("http_proxy", f"http://{host}:{web}{path}") for host, path in (("127.0.0.1", "/"), ("localhost", "/x"))]
    yield from [("http_proxy_host", f"{url}/"), ("http_proxy_refused", f"{url}/"), ("http_proxy", "http://nowhere.invalid/")]
    yield from [("http_proxy_skip", "http://nowhere.invalid/"), ("http_proxy_skip", f"http://localhost:{web}/")]
    yield from [(f"https_proxy{name}", f"https://localhost:{tls}/") for name in ("", "_header", "_name")]
    yield from [(name, f"https://127.0.0.1:{tls}/") for name in ("https_host", "https_host_right")]
    yield ("http_ip4", f"http://localhost:{web}/")
    yield from [(name, f"https://localhost:{tls}/") for name in ("https", "https_any", "https_untrusted")]
    yield ("not_ssl", f"{url}/")
    yield from [("tcp", f"127.0.0.1:{web}"), ("tcp", f"127.0.0.1:{free_port()}"), ("tcp_tls", f"localhost:{tls}")]
    yield from [("tcp_talk", f"127.0.0.1:{talk}"), ("tcp_dumb", f"127.0.0.1:{talk}")]
    yield from [(name, f"localhost:{ports['starttls']}") for name in ("tcp_starttls", "tcp_starttls_untrusted")]
    yield from [(name, f"127.0.0.1:{dns}") for name in ("dns", "dns_soa", "dns_missing", "dns_valid", "dns_text", "dns_not_text",
                                                      "dns_gone", "dns_one_of", "dns_none_of")]
    yield ("dns_tcp", f"127.0.0.1:{dns_tcp}")
    yield from [("icmp", "127.0.0.1"), ("icmp_whole", "127.0.0.1")]


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outrigger", required=True)
    parser.add_argument("--peer", default="prometheus-blackbox-exporter")
    parser.add_argument("--small-network", action="store_true", help="in a namespace of its own: echoes that are too long")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if arguments.small_network:
            subprocess.run(["ip", "link", "set", "lo", "mtu", "1000", "up"], check=True)
            targets = [(name, "127.0.0.1") for name in ("fits", "parts", "whole")]
            seen = compare(arguments, directory, FRAGMENTS, targets, ())
            if seen != [1, 1, 0]:
                raise Failed(f"echoes over a network of 1000 bytes: {seen}")
            return
        certificates(directory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(directory, "leaf.pem"), os.path.join(directory, "key.pem"))
        StartTls.context = context
        tls = WebServer(("127.0.0.1", 0), Web)
        tls.socket = context.wrap_socket(tls.socket, server_side=True)
        ports = {
            "web": started(WebServer(("127.0.0.1", 0), Web)),
            "tls": started(tls),
            "talk": started(Threaded(("127.0.0.1", 0), Talk)),
            "starttls": started(Threaded(("127.0.0.1", 0), StartTls)),
            "dns": started(socketserver.ThreadingUDPServer(("127.0.0.1", 0), DnsUdp)),
            "dns_tcp": started(Threaded(("127.0.0.1", 0), DnsTcp)),
        }
        modules = MODULES
        for name, value in (("CA}", os.path.join(directory, "ca.pem") + "}"), ("PROXY", f"127.0.0.1:{ports['web']}"),
                            ("TOKENS", f"https://localhost:{ports['tls']}/token"), ("TOKEN", f"http://127.0.0.1:{ports['web']}/token")):
            modules = modules.replace(name, value)
        checks = [f"{{name: served, endpoints: ['localhost:{ports['tls']}']}}", "{name: files, files: [leaf.pem, ca.pem]}"]
        compare(arguments, directory, modules, list(cases(ports)), checks)
    again = [sys.executable, __file__, "--outrigger", arguments.outrigger, "--peer", arguments.peer, "--small-network"]
    if subprocess.run(["unshare", "--net", *again], check=False).returncode:
        raise Failed("echoes over a small network")


def compare(arguments, directory, modules, all_cases, checks):
    """Asks each target through both programs; which probes succeeded. `checks`: certificates to look at beside them."""
    peers = os.path.join(directory, "blackbox.yml")
    with open(peers, "w", encoding="utf-8") as f:
        f.write(modules)
    probes = "".join(f"    - {{name: p{number}, module: {module}, targets: ['{target}']}}\n"
                     for number, (module, target) in enumerate(all_cases))
    config = os.path.join(directory, "outrigger.yml")
    with open(config, "w", encoding="utf-8") as f:
        f.write(f"checks:\n  modules_file: blackbox.yml\n  probes:\n{probes}")
        f.write("".join(["  certificates:\n"] * bool(checks) + [f"    - {check}\n" for check in checks]))
    port = free_port()
    command = [arguments.peer, f"--config.file={peers}", f"--web.listen-address=127.0.0.1:{port}"]
    with Exporter(command, port) as blackbox, start_outrigger(arguments.outrigger, [f"--config.file={config}"]) as ours:
        def all_there():
            families = parse(ours.scrape())
            samples = families.get("probe_success", ("", {}))[1]
            up = families.get("x509_source_up", ("", {}))[1]
            return families if len(samples) == len(all_cases) and len(up) == len(checks) else None

        families = wait_for(all_there, "the first probes", 60, ours)
        wrong, succeeded = [], []
        for number, (module, target) in enumerate(all_cases):
            mine = {}
            for family, (kind, samples) in families.items():
                own = {key: value for key, value in samples.items() if ("probe", f"p{number}") in key[1]}
                if own:
                    mine[family] = (kind, own)
            mine = normal(mine, ("probe", "module", "target"))
            succeeded.append(mine[("probe_success", ())])
            other = theirs(port, module, target)
            for key in sorted(set(mine) | set(other), key=str):
                if mine.get(key, "absent") != other.get(key, "absent"):
                    wrong.append(f"{module} {target}: {key}: ours {mine.get(key, 'absent')}, theirs {other.get(key, 'absent')}")
        if wrong:
            raise Failed(f"{len(wrong)} differences\n  " + "\n  ".join(wrong))
        print(f"{len(all_cases)} probes: the same families, labels and values; {int(sum(succeeded))} of them succeeded")
        if checks:
            check_certificates(families, directory)
    return succeeded


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
