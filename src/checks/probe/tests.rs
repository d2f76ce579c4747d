//! Probes against servers of this test: those that answer, lie, never end and never begin.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::settings::from_text;
use super::{ProbeSettings, run};
use crate::http_client::testing::tls_peer_speaking;
use crate::wire::dns::testing::answer;

/// Only what hangs lasts this long; what must time out has an own, short one.
const PATIENCE: Duration = Duration::from_secs(60);

fn probe(module: &str, target: &str, timeout: Duration) -> ProbeSettings {
    let modules = from_text("m.yml", &format!("modules:\n  m: {module}\n")).unwrap_or_else(|e| panic!("{e}"));
    ProbeSettings {
        name: "p".to_owned(),
        target: target.to_owned(),
        module_name: "m".to_owned(),
        module: Arc::clone(&modules["m"]),
        labels: vec![("team".to_owned(), "x".to_owned())],
        interval: PATIENCE,
        timeout,
    }
}

/// Values by family, with the label that tells several apart; the reason for a failure.
pub(super) type Seen = (BTreeMap<String, f64>, Option<String>);

pub(super) async fn seen_within(module: &str, target: &str, timeout: Duration) -> Seen {
    let (samples, result) = run(&probe(module, target, timeout)).await;
    let mut seen = BTreeMap::new();
    for sample in samples {
        let own = ["module", "probe", "target", "team"];
        assert!(own.iter().all(|own| sample.labels.iter().any(|(name, _)| name == own)), "{sample:?}");
        let labels: Vec<_> = sample.labels.iter().filter(|(name, _)| !own.contains(&&**name)).collect();
        let super::super::sample::Shown::Value(value) = sample.shown else { panic!("{sample:?}") };
        let label = labels.first().map(|(_, value)| format!("/{value}")).unwrap_or_default();
        let name = sample.family.trim_start_matches("probe_");
        assert!(seen.insert(format!("{name}{label}"), value).is_none(), "{name}{label} twice");
    }
    assert_eq!(seen["success"], f64::from(u8::from(result.is_ok())), "{result:?}");
    (seen, result.err())
}

pub(super) async fn seen(module: &str, target: &str) -> Seen {
    seen_within(module, target, PATIENCE).await
}

/// Serves each connection with a function of it.
pub(super) async fn serve<F, R>(answer: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

/// The head of a request, as text.
pub(super) async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(bytes).unwrap()
}

async fn web() -> SocketAddr {
    serve(|mut stream| async move {
        let head = head(&mut stream).await;
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = match path.as_str() {
            "/ok" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\nLast-Modified: Thu, 01 Jan 1970 00:01:00 GMT\r\n\r\nhello".to_owned(),
            "/missing" => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/once" => "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/for-ever" => "HTTP/1.1 302 Found\r\nLocation: /for-ever\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/nowhere" => "HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/echo" => format!("HTTP/1.0 200 OK\r\n\r\n{head}"),
            "/cut" => "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello".to_owned(),
            "/garbage" => "SSH-2.0-x\r\n\r\n".to_owned(),
            "/long-head" => format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(200_000)),
            "/hang" => {
                // Until the other side has had enough.
                let _ = stream.read_u8().await;
                return;
            }
            "/endless" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
                return;
            }
            _ => return,
        };
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

#[tokio::test]
async fn http_answers_are_judged() {
    let web = web().await;
    let url = |path: &str| format!("http://{web}{path}");
    let (seen_ok, failure) = seen("{prober: http}", &url("/ok")).await;
    assert_eq!(failure, None);
    for (name, want) in [
        ("http_status_code", 200.0),
        ("http_content_length", 5.0),
        ("http_uncompressed_body_length", 5.0),
        ("http_redirects", 0.0),
        ("http_ssl", 0.0),
        ("http_version", 1.1),
        ("http_last_modified_timestamp_seconds", 60.0),
        ("failed_due_to_regex", 0.0),
        ("ip_protocol", 4.0),
        ("http_duration_seconds/tls", 0.0),
    ] {
        assert_eq!(seen_ok.get(name), Some(&want), "{name} {seen_ok:?}");
    }
    assert!(seen_ok["http_duration_seconds/processing"] > 0.0 && seen_ok["duration_seconds"] > 0.0);
    for (options, path, want) in [
        ("", "/missing", "status 404 is not valid"),
        ("valid_status_codes: [404]", "/missing", ""),
        ("", "/once", ""),
        ("follow_redirects: false", "/once", "status 302 is not valid"),
        ("", "/for-ever", "status 302 is not valid; stopped after 10 redirects"),
        ("valid_status_codes: [302]", "/for-ever", ""),
        ("", "/nowhere", "which is no URL"),
        ("fail_if_not_ssl: true", "/ok", "did not come over TLS"),
        ("fail_if_body_matches_regexp: [hel+o]", "/ok", "the body matches"),
        ("fail_if_body_not_matches_regexp: [hel+o]", "/ok", ""),
        ("fail_if_body_not_matches_regexp: [x]", "/ok", "the body does not match"),
        ("fail_if_header_matches: [{header: x-a, regexp: b}]", "/ok", "the header \"x-a\" matches"),
        ("fail_if_header_matches: [{header: x-b, regexp: b}]", "/ok", "is missing"),
        ("fail_if_header_matches: [{header: x-b, regexp: b, allow_missing: true}]", "/ok", ""),
        ("fail_if_header_not_matches: [{header: x-a, regexp: b}]", "/ok", ""),
        ("fail_if_header_not_matches: [{header: x-a, regexp: c}]", "/ok", "does not match"),
        ("valid_http_versions: [HTTP/2.0]", "/ok", "HTTP/1.1 is none of the valid versions"),
        (
            "method: POST, headers: {X-C: d, Host: e}, body: f, basic_auth: {username: u, password: p}, fail_if_body_not_matches_regexp: [POST /echo, 'host: e', 'x-c: d', 'authorization: Basic dTpw']",
            "/echo",
            "",
        ),
        ("", "/cut", "end of file before message length reached"),
        ("", "/garbage", "invalid HTTP version parsed"),
        ("", "/long-head", "message head is too large"),
        ("body_size_limit: 1MB", "/endless", "a body of more than"),
    ] {
        let (_, failure) = seen(&format!("{{prober: http, http: {{{options}}}}}"), &url(path)).await;
        let failure = failure.unwrap_or_default();
        assert!(
            failure.contains(want) && failure.is_empty() == want.is_empty(),
            "{options} {path}: {failure}"
        );
    }
    let (seen_redirected, _) = seen("{prober: http}", &url("/once")).await;
    assert_eq!((seen_redirected["http_redirects"], seen_redirected["http_status_code"]), (1.0, 200.0));
}

#[tokio::test]
async fn what_never_ends_ends_at_the_deadline() {
    let web = web().await;
    let short = Duration::from_millis(300);
    for path in ["/hang", "/endless"] {
        let (_, failure) = seen_within("{prober: http}", &format!("http://{web}{path}"), short).await;
        let failure = failure.unwrap();
        assert!(
            failure.contains("no answer within") || failure.contains("a body of more"),
            "{path}: {failure}"
        );
    }
    // It accepts, and says nothing: no handshake.
    let silent = serve(|mut stream| async move { while stream.read_u8().await.is_ok() {} }).await;
    for (module, target) in [
        ("{prober: http}", format!("https://{silent}")),
        ("{prober: tcp, tcp: {tls: true}}", silent.to_string()),
        ("{prober: tcp, tcp: {query_response: [{expect: x}]}}", silent.to_string()),
        ("{prober: grpc}", silent.to_string()),
        ("{prober: dns, dns: {query_name: a, transport_protocol: tcp}}", silent.to_string()),
        (
            "{prober: dns, dns: {query_name: a}}",
            UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string(),
        ),
    ] {
        let (values, failure) = seen_within(module, &target, short).await;
        let failure = failure.unwrap();
        // Nobody listens on the port of the socket that is gone.
        assert!(failure.contains("no answer within") || failure.contains("refused"), "{module}: {failure}");
        assert_eq!(values["ip_protocol"], 4.0, "{module}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    for module in ["{prober: tcp}", "{prober: http}", "{prober: grpc}"] {
        let (_, failure) = seen(module, &address.to_string()).await;
        assert!(failure.as_ref().unwrap().contains("connection refused"), "{module}: {failure:?}");
    }
    let (values, failure) = seen("{prober: http}", "http://no-such-host.invalid/").await;
    assert!(failure.unwrap().contains("lookup no-such-host.invalid"));
    assert_eq!((values["ip_protocol"], values["http_status_code"]), (0.0, 0.0));
    let module = "{prober: tcp, tcp: {preferred_ip_protocol: ip6, ip_protocol_fallback: false}}";
    let (_, failure) = seen(module, &address.to_string()).await;
    assert!(failure.unwrap().contains("no address of ip6"));
}

#[test]
fn modules_of_blackbox_exporter() {
    for (module, want) in [
        ("http: {no_follow_redirects: true, skip_resolve_phase_with_proxy: true, compression: GZIP}", ""),
        (
            "http: {oauth2: {client_id: a, client_secret: b, token_url: 'http://h/'}, proxy_url: 'http://p:1'}",
            "",
        ),
        ("http: {compression: ''}", ""),
        ("http: {body: a, body_file: b}", "4:32: modules.m.http.body_file: setting body and body_file both"),
        ("http: {compression: br}", ""),
        ("http: {compression: lzw}", "4:25: modules.m.http.compression: \"lzw\" is not supported"),
        ("http: {proxy_url: 'socks5://p:1'}", ""),
        ("http: {proxy_url: 'ftp://p:1'}", "4:23: modules.m.http.proxy_url: a proxy is asked over http"),
        ("http: {no_proxy: a}", "4:22: modules.m.http.no_proxy: if no_proxy is configured"),
        ("http: {oauth2: {token_url: 'http://h/'}}", "4:20: modules.m.http.oauth2: oauth2 client_id must be"),
        (
            "http: {fail_if_body_json_matches_cel: a}",
            "4:12: modules.m.http.fail_if_body_json_matches_cel: fail_if",
        ),
        ("tcp: {query_response: [{expect: a, labels: [{name: b, value: $1}]}, {expect_bytes: c}]}", ""),
        (
            "tcp: {query_response: [{labels: [{name: a-b}]}]}",
            "4:45: modules.m.tcp.query_response[0].labels[0].name: \"a-b\" is not a name",
        ),
        ("tcp: {query_response: [{labels: [{name: probe}]}]}", "name: \"probe\" is set already"),
        ("tcp: {query_response: [{labels: [{name: a}, {name: a}]}]}", "name: \"a\" is set already"),
        ("tcp: {query_response: [{labels: [{value: a}]}]}", "labels[0]: the key \"name\" is missing"),
        (
            "tcp: {query_response: [{labels: [{name: a}]}, {labels: [{name: b}]}]}",
            "4:27: modules.m.tcp.query_response: only one step may have labels",
        ),
        ("dns: {query_name: a, valid_rcodes: [BADVERS, BADSIG], query_class: NONE}", ""),
        ("dns: {query_name: a, query_type: TLSA, query_class: ''}", ""),
        ("dns: {query_name: a, query_type: '', transport_protocol: '', source_ip_address: ''}", ""),
        ("http: {preferred_ip_protocol: '', method: ''}", ""),
        ("icmp: {dont_fragment: true}", ""),
        ("grpc: {metadata: {a: [b, c]}}", ""),
        ("grpc: {metadata: {a: b}}", "4:26: modules.m.grpc.metadata.a: expected a list"),
    ] {
        let prober = module.split(':').next().unwrap();
        let read = from_text("m.yml", &format!("modules:\n  m:\n    prober: {prober}\n    {module}\n"));
        let why = read.err().unwrap_or_default();
        assert!(why.contains(want) && why.is_empty() == want.is_empty(), "{module}: {why}");
    }
}

#[tokio::test]
async fn conversations_over_tcp() {
    let server = serve(|mut stream| async move {
        let _ = stream.write_all(b"220 ready\r\nPING :abc\r\n").await;
        let mut line = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            line.push(byte);
            if byte == b'\n' {
                let answer = [b"got ", line.as_slice()].concat();
                let _ = stream.write_all(&answer).await;
                break;
            }
        }
    })
    .await;
    for (steps, want) in [
        ("", ""),
        (
            "{expect: '^220'}, {expect: 'PING :(?P<x>.*)', send: 'PONG ${x} ${1}'}, {expect: '^got PONG abc abc$'}",
            "",
        ),
        ("{expect: '^220'}, {send: QUIT}, {expect: '^nothing'}", "ended before a line fitted"),
        (
            "{expect_bytes: '220 '}, {expect_bytes: \"ready\\r\\n\"}, {expect: 'PING', send: x}, {expect_bytes: 'got x'}",
            "",
        ),
        ("{expect: '^220', expect_bytes: PING}, {send: x}, {expect: '^got x$'}", ""),
    ] {
        let module = format!("{{prober: tcp, tcp: {{query_response: [{steps}]}}}}");
        let (values, failure) = seen(&module, &server.to_string()).await;
        let failure = failure.unwrap_or_default();
        assert!(failure.contains(want) && failure.is_empty() == want.is_empty(), "{steps}: {failure}");
        assert_eq!(values["failed_due_to_regex"], f64::from(u8::from(!want.is_empty())), "{steps}");
    }
    let seen_of = async |steps: &str| {
        let module = format!("{{prober: tcp, tcp: {{query_response: [{steps}]}}}}");
        let (values, failure) = seen(&module, &server.to_string()).await;
        (values, failure.unwrap_or_default())
    };
    let (values, why) = seen_of("{expect_bytes: '221'}").await;
    assert_eq!((values["failed_due_to_bytes"], values["failed_due_to_regex"]), (1.0, 0.0));
    assert_eq!(why, "expected the bytes \"221\", found \"220\"");
    let long = format!("{{expect_bytes: '{}'}}, {{send: x}}", "x".repeat(2000));
    let (values, why) = seen_of(&format!("{{send: x}}, {long}")).await;
    assert_eq!(
        (values["failed_due_to_bytes"], &*why),
        (0.0, "the conversation ended before 2000 bytes came")
    );
    let labels = "labels: [{name: greeting, value: '${1}!'}, {name: zero, value: '$2'}]";
    let (values, why) = seen_of(&format!("{{expect: '^220 (.*)', {labels}}}, {{expect: PING}}")).await;
    assert_eq!((values.get("expect_info/ready!"), &*why), (Some(&1.0), ""));
    let (values, _) = seen_of(&format!("{{send: x}}, {{expect: '^221 (.*)', {labels}}}")).await;
    assert!(!values.keys().any(|name| name.starts_with("expect_info")), "{values:?}");
    let endless =
        serve(|mut stream| async move { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} }).await;
    let (_, failure) =
        seen("{prober: tcp, tcp: {query_response: [{expect: y}]}}", &endless.to_string()).await;
    assert!(failure.unwrap().contains("a line of more than 64 KiB"));
    let lines = serve(|mut stream| async move { while stream.write_all(b"x\n").await.is_ok() {} }).await;
    let (_, failure) = seen("{prober: tcp, tcp: {query_response: [{expect: y}]}}", &lines.to_string()).await;
    assert!(failure.unwrap().contains("nothing fitted"));
    // Lines that fit may be as many as they like.
    let steps = vec!["{expect: y}"; 40].join(", ");
    let long = serve(|mut stream| async move {
        let line = [vec![b'y'; 60_000], b"\n".to_vec()].concat();
        while stream.write_all(&line).await.is_ok() {}
    });
    let (_, failure) =
        seen(&format!("{{prober: tcp, tcp: {{query_response: [{steps}]}}}}"), &long.await.to_string()).await;
    assert_eq!(failure, None);
}

#[tokio::test]
async fn nothing_is_offered_over_tls_that_is_not_spoken() {
    let tls = "tls_config: {insecure_skip_verify: true}";
    for (module, protocol, want) in [
        (format!("{{prober: tcp, tcp: {{tls: true, {tls}}}}}"), "smtp", None),
        (
            format!(
                "{{prober: dns, dns: {{query_name: a, transport_protocol: tcp, dns_over_tls: true, {tls}}}}}"
            ),
            "dot",
            // That is all this server says.
            Some("the answer is no DNS message"),
        ),
        (format!("{{prober: grpc, grpc: {{tls: true, {tls}}}}}"), "http/1.1", Some("alert")),
        (format!("{{prober: http, http: {{{tls}}}}}"), "http/1.1", None),
    ] {
        let port = tls_peer_speaking(protocol).await;
        let host = if module.contains("http:") { "https://127.0.0.1" } else { "127.0.0.1" };
        let (_, failure) = seen(&module, &format!("{host}:{port}")).await;
        let fits = match (&failure, want) {
            (Some(failure), Some(want)) => failure.contains(want) || failure.contains("broke off"),
            (failure, want) => failure.is_none() && want.is_none(),
        };
        assert!(fits, "{module} {protocol}: {failure:?}");
    }
}

#[tokio::test]
async fn answers_of_dns() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let asked = &buffer[..length];
            let name = &asked[13..13 + usize::from(asked[12])];
            // An answer to something else comes first.
            let _ = socket.send_to(b"\xff\xff\x80\0\0\0\0\0\0\0\0\0", from).await;
            let soa = b"\x01a\0\x01m\0\0\0\0\x2a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
            let mut answer = match name {
                b"lies" => answer(asked, 0, [&[(1, vec![1, 2, 3, 4])], &[], &[]]),
                b"none" => answer(asked, 3, [&[], &[], &[]]),
                _ => answer(
                    asked,
                    0,
                    [&[(1, vec![192, 0, 2, 1]), (6, soa)], &[(2, b"\x02ns\0".to_vec())], &[]],
                ),
            };
            if name == b"lies" {
                let at = answer.len() - 5;
                answer[at] = 0xff;
            }
            let _ = socket.send_to(&answer, from).await;
        }
    });
    for (options, want) in [
        ("query_name: here", ""),
        ("query_name: here, query_type: SOA", ""),
        ("query_name: none, query_type: SOA", "response code 3 is not valid"),
        ("query_name: none", "response code 3 is not valid"),
        ("query_name: none, valid_rcodes: [NXDOMAIN]", ""),
        ("query_name: lies", "the answer is no DNS message"),
        ("query_name: 'a..b'", "is not a name of the DNS"),
        (
            "query_name: here, validate_answer_rrs: {fail_if_matches_regexp: ['192\\.0']}",
            "answer section: one matches",
        ),
        (
            "query_name: here, validate_answer_rrs: {fail_if_not_matches_regexp: ['192\\.0']}",
            "one does not match",
        ),
        ("query_name: here, validate_answer_rrs: {fail_if_none_matches_regexp: ['192\\.0']}", ""),
        (
            "query_name: here, validate_authority_rrs: {fail_if_all_match_regexp: ['NS\\tns\\.']}",
            "authority section: all match",
        ),
        ("query_name: here, validate_answer_rrs: {fail_if_none_matches_regexp: ['192\\.0', '198\\.51']}", ""),
        ("query_name: here, validate_answer_rrs: {fail_if_none_matches_regexp: [x, y]}", "none matches"),
        ("query_name: here, validate_additional_rrs: {fail_if_none_matches_regexp: [x]}", "none matches"),
        (
            "query_name: here, validate_additional_rrs: {fail_if_not_matches_regexp: [x]}",
            "one does not match",
        ),
        ("query_name: here, validate_additional_rrs: {fail_if_all_match_regexp: [x]}", ""),
    ] {
        let (values, failure) =
            seen(&format!("{{prober: dns, dns: {{{options}}}}}"), &server.to_string()).await;
        let failure = failure.unwrap_or_default();
        assert!(failure.contains(want) && failure.is_empty() == want.is_empty(), "{options}: {failure}");
        if options == "query_name: here" {
            let names = ["dns_answer_rrs", "dns_authority_rrs", "dns_additional_rrs", "dns_query_succeeded"];
            assert_eq!(names.map(|name| values[name]), [2.0, 1.0, 0.0, 1.0]);
        }
        let serial = match options {
            "query_name: here, query_type: SOA" => Some(42.0),
            "query_name: none, query_type: SOA" => Some(0.0),
            _ => None,
        };
        assert_eq!(values.get("dns_serial").copied(), serial, "{options}");
    }
}

/// The kernel answers itself. Where neither kind of socket is allowed, that is what the failure must say.
#[tokio::test]
async fn echoes_from_this_machine() {
    let (values, failure) =
        seen("{prober: icmp, icmp: {preferred_ip_protocol: ip4, payload_size: 100, ttl: 5}}", "127.0.0.1")
            .await;
    match failure {
        None => {
            assert_eq!(values["ip_protocol"], 4.0);
            assert!(values["icmp_duration_seconds/rtt"] > 0.0, "{values:?}");
        }
        Some(why) => assert!(why.contains("give CAP_NET_RAW"), "{why}"),
    }
}
