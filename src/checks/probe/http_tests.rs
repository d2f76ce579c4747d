//! Probes over HTTP: redirects, proxies, tokens, cookies, bodies from files and in compressed form.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::tests::{head, seen, seen_within, serve};
use crate::http_client::testing::{Answer, Peer};

/// A probe of a URL with options of `http`; values, and the failure or "".
async fn probed(options: &str, url: &str) -> (BTreeMap<String, f64>, String) {
    let (values, failure) = seen(&format!("{{prober: http, http: {{{options}}}}}"), url).await;
    (values, failure.unwrap_or_default())
}

fn moved(status: u16, to: &str) -> Answer {
    Answer::Full(format!("HTTP/1.1 {status} x\r\nLocation: {to}\r\n"), b"hello".to_vec())
}

/// `/STATUS/PLACE` leads to the place.
async fn mover() -> Peer {
    Peer::start(|head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["", "loop"] => moved(302, "/loop"),
            ["", status, place @ ..] if status.parse::<u16>().is_ok() => {
                let place = place.join("/");
                let local = !place.is_empty() && !place.contains(':');
                moved(status.parse().unwrap(), &if local { format!("/{place}") } else { place })
            }
            _ => Answer::Text(200, "text/plain", "hello".to_owned()),
        }
    })
    .await
}

#[tokio::test]
async fn what_is_not_followed_has_no_body() {
    let peer = mover().await;
    let stays = "follow_redirects: false, valid_status_codes: [302]";
    let looks = "fail_if_body_matches_regexp: [x]";
    for (options, path, want, status, redirects, length, regex) in [
        (stays.to_owned(), "/302/there", "", 302.0, 1.0, 0.0, 0.0),
        (
            "no_follow_redirects: true".to_owned(),
            "/302/there",
            "status 302 is not valid; redirects are",
            302.0,
            1.0,
            0.0,
            0.0,
        ),
        (
            "no_follow_redirects: false, follow_redirects: false".to_owned(),
            "/302/there",
            "",
            200.0,
            1.0,
            5.0,
            0.0,
        ),
        (
            format!("{stays}, {looks}"),
            "/302/there",
            "the body of a redirect that is not followed is not read; redirects are not followed",
            302.0,
            1.0,
            0.0,
            1.0,
        ),
        ("valid_status_codes: [302]".to_owned(), "/loop", "", 302.0, 11.0, 0.0, 0.0),
        (
            format!("valid_status_codes: [302], {looks}"),
            "/loop",
            "not read; stopped after 10 redirects",
            302.0,
            11.0,
            0.0,
            1.0,
        ),
        // Nowhere to go: an answer like others.
        (stays.to_owned(), "/302", "", 302.0, 0.0, 5.0, 0.0),
        ("valid_status_codes: [304]".to_owned(), "/304/there", "", 304.0, 0.0, 0.0, 0.0),
        (
            "body_file: /dev/null".to_owned(),
            "/302/there",
            "body_file /dev/null: not a regular file",
            0.0,
            0.0,
            0.0,
            0.0,
        ),
    ] {
        let (values, why) = probed(&options, &peer.url(path).to_string()).await;
        assert!(why.contains(want) && why.is_empty() == want.is_empty(), "{options} {path}: {why}");
        let got =
            ["http_status_code", "http_redirects", "http_uncompressed_body_length", "failed_due_to_regex"];
        assert_eq!(got.map(|name| values[name]), [status, redirects, length, regex], "{options} {path}");
    }
}

#[tokio::test]
async fn a_body_comes_from_a_file_and_goes_out_once() {
    let peer = mover().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b" from a file\n").unwrap();
    let from_file = format!("method: POST, body_file: {}", file.path().display());
    for (options, path, want) in [
        (&*from_file, "/ok", ""),
        (&*from_file, "/302/there", ""),
        (&*from_file, "/307/there", "status 307 is not valid"),
        ("method: POST, body: x", "/307/there", ""),
        ("body_file: /nowhere/at/all", "/ok", "body_file /nowhere/at/all: No such file"),
    ] {
        let (_, why) = probed(options, &peer.url(path).to_string()).await;
        assert!(why.contains(want) && why.is_empty() == want.is_empty(), "{options} {path}: {why}");
    }
    let sent: Vec<String> =
        peer.bodies().iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect();
    assert_eq!(sent, [" from a file\n", " from a file\n", "", " from a file\n", "x", "x"]);
}

#[tokio::test]
async fn only_the_target_learns_secrets() {
    let other = mover().await;
    let peer = mover().await;
    let options = "basic_auth: {username: u, password: p}, headers: {X-A: b, Accept: c, Host: d}";
    let away = format!("/302/http://localhost:{}/", other.address.port());
    for path in ["/302/here", &away] {
        let (_, why) = probed(options, &peer.url(path).to_string()).await;
        assert_eq!(why, "");
    }
    for request in peer.requests() {
        for part in ["authorization: Basic dTpw\r\n", "x-a: b\r\n", "accept: c\r\n", "host: d\r\n"] {
            assert!(request.contains(part), "{request}");
        }
    }
    let request = &other.requests()[0];
    assert!(request.contains("accept: c\r\n") && request.contains("host: localhost:"), "{request}");
    assert!(!request.contains("authorization") && !request.contains("x-a"), "{request}");
    let (_, why) = probed("", &peer.url("/ok").to_string().replace("//", "//u%40:p@")).await;
    assert_eq!(why, "");
    assert!(peer.requests().last().unwrap().contains("authorization: Basic dUA6cA==\r\n"));
    // What the module writes itself counts.
    let (_, why) = probed(
        "authorization: {credentials: t}, headers: {Authorization: own}",
        &peer.url("/ok").to_string(),
    )
    .await;
    assert_eq!(why, "");
    let request = peer.requests().pop().unwrap();
    assert!(request.contains("authorization: own\r\n") && !request.contains("Bearer"), "{request}");
}

#[tokio::test]
async fn cookies_are_kept_along_redirects() {
    let set = |text: &str, to: &str| {
        Answer::Full(format!("HTTP/1.1 302 x\r\nSet-Cookie: {text}\r\nLocation: {to}\r\n"), vec![])
    };
    let peer = Peer::start(move |head| {
        let cookies = head.lines().find_map(|line| line.strip_prefix("cookie: ")).unwrap_or_default();
        match (head.split(' ').nth(1).unwrap_or_default(), cookies) {
            ("/", "given=1") => set("a=b; Path=/; HttpOnly", "/"),
            ("/", "given=1; a=b") => set("c=d; Domain=example.org", "/second"),
            ("/second", "given=1; a=b") => set("a=; Max-Age=0", "/third"),
            ("/third", "given=1") => set("s=t; Secure", "/last"),
            ("/last", "given=1") => Answer::Text(200, "text/plain", String::new()),
            _ => Answer::Text(500, "text/plain", String::new()),
        }
    })
    .await;
    let (values, why) = probed("headers: {Cookie: given=1}", &peer.url("/").to_string()).await;
    assert_eq!((values["http_redirects"], &*why), (4.0, ""), "{:?}", peer.requests());
}

#[tokio::test]
async fn proxies_are_asked_in_the_targets_place() {
    let proxy = Peer::start(|head| match head.split(' ').nth(1).unwrap_or_default() {
        "http://127.0.0.1:9/away" => moved(302, "http://nowhere.invalid/there"),
        _ if head.starts_with("CONNECT") => Answer::Text(403, "text/plain", "no".to_owned()),
        _ => Answer::Text(200, "text/plain", "proxied".to_owned()),
    })
    .await;
    let through = format!("proxy_url: 'http://u:p@{}'", proxy.address);
    for (more, target, want, asked) in [
        ("", "http://127.0.0.1:9/x?y", "", "GET http://127.0.0.1:9/x?y HTTP/1.1\r\n"),
        (", headers: {Host: h.example}", "http://127.0.0.1:9/x", "", "GET http://h.example/x HTTP/1.1\r\n"),
        ("", "http://127.0.0.1:9/away", "", "GET http://nowhere.invalid/there HTTP/1.1\r\n"),
        ("", "http://nowhere.invalid/", "lookup nowhere.invalid", ""),
        (
            ", skip_resolve_phase_with_proxy: true",
            "http://nowhere.invalid/",
            "",
            "GET http://nowhere.invalid/ HTTP/1.1\r\n",
        ),
        ("", "https://localhost:9/", "proxyconnect tcp: 403 x", "CONNECT 127.0.0.1:9 HTTP/1.1\r\n"),
        (
            ", proxy_connect_header: {X-C: [d]}, skip_resolve_phase_with_proxy: true",
            "https://localhost:9/",
            "proxyconnect tcp: 403 x",
            "CONNECT localhost:9 HTTP/1.1\r\n",
        ),
        (", no_proxy: '10.0.0.0/8'", "http://localhost:9/", "127.0.0.1:9: connect: connection refused", ""),
    ] {
        let before = proxy.requests().len();
        let options = format!("{through}, preferred_ip_protocol: ip4{more}");
        let (values, why) = probed(&options, target).await;
        assert!(why.contains(want) && why.is_empty() == want.is_empty(), "{more} {target}: {why}");
        let request = proxy.requests().get(before..).and_then(|new| new.last().cloned()).unwrap_or_default();
        assert!(request.starts_with(asked) && request.is_empty() == asked.is_empty(), "{target}: {request}");
        assert!(request.is_empty() || request.to_lowercase().contains("proxy-authorization: basic dtpw\r\n"));
        assert_eq!(more.contains("X-C"), request.contains("x-c: d\r\n"), "{request}");
        let told =
            ["dns_lookup_time_seconds", "ip_protocol", "ip_addr_hash", "http_duration_seconds/resolve"];
        assert!(told.iter().all(|name| values.contains_key(*name) != more.contains("skip_")), "{values:?}");
    }
    let gone = "proxy_url: 'http://127.0.0.1:9'";
    let (_, why) = probed(gone, "http://127.0.0.1:9/").await;
    assert_eq!(why, "proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused");
}

#[tokio::test]
async fn a_token_is_fetched_for_a_probe() {
    let peer = mover().await;
    let server = Peer::start(|head| match head.starts_with("POST /good ") {
        true => Answer::Text(200, "application/json", "{\"access_token\":\"t\"}".to_owned()),
        false => Answer::Text(403, "text/plain", "no".to_owned()),
    })
    .await;
    for (path, want, asked) in [("/good", "", 2), ("/bad", "oauth2: cannot fetch token: 403 x: no", 0)] {
        let options =
            format!("oauth2: {{client_id: a, client_secret: b, token_url: '{}'}}", server.url(path));
        let before = peer.requests().len();
        let (values, why) = probed(&options, &peer.url("/302/there").to_string()).await;
        assert_eq!((&*why, values["ip_protocol"]), (want, 4.0));
        let requests = peer.requests().split_off(before);
        assert_eq!(requests.len(), asked);
        assert!(requests.iter().all(|request| request.contains("authorization: Bearer t\r\n")));
    }
}

const BROTLI: [u8; 15] =
    [0x0b, 0x05, 0x80, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x03];

#[tokio::test]
async fn compressed_bodies() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    raw.write_all(b"hello hello").unwrap();
    let raw = raw.finish().unwrap();
    let long = [b"start".repeat(1 << 20), b"end".to_vec()].concat();
    let bodies = Arc::new(BTreeMap::from([
        ("gzip", gzip(b"hello hello")),
        ("two", [gzip(b"hello "), gzip(b"hello")].concat()),
        ("cut", gzip(&long)[..3000].to_vec()),
        ("long", gzip(&long)),
        ("cutraw", raw[..raw.len() - 2].to_vec()),
        ("raw", raw),
        // "hello hello".
        ("br", BROTLI.to_vec()),
        ("cutbr", BROTLI[..BROTLI.len() - 2].to_vec()),
    ]));
    let web = serve(move |mut stream| {
        let bodies = Arc::clone(&bodies);
        async move {
            use tokio::io::AsyncWriteExt as _;
            let head = head(&mut stream).await;
            let body = &bodies[head[5..].split(' ').next().unwrap()];
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
        }
    })
    .await;
    for (options, path, want, length) in [
        ("compression: gzip", "gzip", "", 11.0),
        ("compression: GZip, fail_if_body_not_matches_regexp: ['^hello hello$']", "gzip", "", 11.0),
        ("compression: deflate, fail_if_body_not_matches_regexp: ['^hello hello$']", "raw", "", 11.0),
        ("compression: gzip", "raw", "unexpected EOF", 0.0),
        ("compression: deflate", "gzip", "flate: corrupt input", 0.0),
        ("compression: deflate, body_size_limit: 10B", "raw", "a body of more than 10 bytes", 10.0),
        ("compression: deflate, body_size_limit: 11B", "raw", "", 11.0),
        ("compression: gzip", "two", "", 11.0),
        ("compression: br, fail_if_body_not_matches_regexp: ['^hello hello$']", "br", "", 11.0),
        ("compression: br", "gzip", "brotli: corrupt input", 0.0),
        ("compression: gzip", "cut", "unexpected EOF", 0.0),
        ("compression: deflate", "cutraw", "unexpected EOF", 0.0),
        ("compression: br", "cutbr", "unexpected EOF", 0.0),
        // Only the beginning of a long one is looked at; all of it counts.
        ("compression: gzip, fail_if_body_not_matches_regexp: [^start]", "long", "", 5_242_883.0),
        ("compression: gzip, fail_if_body_matches_regexp: [end]", "long", "", 5_242_883.0),
        ("compression: gzip, body_size_limit: 5MB", "long", "more than 5242880 bytes", 5_242_880.0),
    ] {
        let (values, why) = probed(options, &format!("http://{web}/{path}")).await;
        assert!(why.contains(want) && why.is_empty() == want.is_empty(), "{options} {path}: {why}");
        let got = values["http_uncompressed_body_length"];
        assert!(
            got == length || path.starts_with("cutraw") || path == "cutbr" || path == "cut" && got > 0.0,
            "{options}: {got}"
        );
    }
}

#[tokio::test]
async fn heads_that_go_takes_are_taken() {
    let many =
        |name: &str, count: usize| (0..count).map(|at| format!("{name}{at}: b\r\n")).collect::<String>();
    for headers in [
        many("X-", 300),
        "Set-Cookie: a=b\r\n".repeat(200),
        "X-A : b\r\n".to_owned(),
        "X-A: b\r\n folded\r\n".to_owned(),
        "X-A: b\u{1}c\r\n".to_owned(),
        "X(A): b\r\n".to_owned(),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nok");
        let peer = Peer::fixed(Answer::Raw(answer.into_bytes())).await;
        let (values, why) = probed("", &peer.url("/").to_string()).await;
        assert_eq!((&*why, values["http_uncompressed_body_length"]), ("", 2.0), "{headers}");
    }
}

#[tokio::test]
async fn urls_are_escaped_where_they_must_be() {
    let peer = Peer::start(|head| match head.split(' ').nth(1).unwrap_or_default() {
        "/1" => moved(302, "/caf\u{e9}/a b/<x>/^`"),
        "/2" => moved(302, "?c=\"d\""),
        _ => Answer::Text(200, "text/plain", "hello".to_owned()),
    })
    .await;
    let address = peer.address;
    for (target, asked) in [
        (format!("http://{address}/a b/<c>?d={{\"e\":1}}#f"), "/a%20b/%3Cc%3E?d={%22e%22:1}"),
        (format!("HTTP://{address}?x=1"), "/?x=1"),
        (format!("{address}?x=http://y"), "/?x=http://y"),
        (format!("{address}/caf\u{e9}"), "/caf%C3%A9"),
        (format!("{address}/1"), "/caf%C3%A9/a%20b/%3Cx%3E/%5E%60"),
        (format!("{address}/2"), "/2?c=%22d%22"),
    ] {
        let (_, why) = probed("", &target).await;
        assert_eq!(why, "", "{target}");
        let request = peer.requests().pop().unwrap();
        assert!(request.starts_with(&format!("GET {asked} HTTP/1.1\r\n")), "{target}: {request}");
    }
}

#[tokio::test]
async fn an_empty_body_has_a_length_where_there_could_be_one() {
    let peer = mover().await;
    for (options, told) in [
        ("method: POST", true),
        ("method: PUT", true),
        ("method: PATCH", true),
        ("method: DELETE", false),
        ("", false),
    ] {
        let (_, why) = probed(options, &peer.url("/ok").to_string()).await;
        assert_eq!(why, "");
        let request = peer.requests().pop().unwrap();
        assert_eq!(request.contains("content-length: 0\r\n"), told, "{options}: {request}");
    }
}

#[tokio::test]
async fn lengths_as_the_head_tells_them() {
    for (options, head, body, want) in [
        ("", "200 OK\r\nContent-Length: 2\r\n", "ok", 2.0),
        ("", "200 OK\r\nContent-Length: 0\r\n", "", 0.0),
        ("", "200 OK\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n", -1.0),
        ("", "200 OK\r\n", "ok", -1.0),
        ("method: HEAD", "200 OK\r\n", "", -1.0),
        ("method: HEAD", "200 OK\r\nContent-Length: 7\r\n", "", 7.0),
        ("", "204 No Content\r\nContent-Length: 7\r\n", "", 0.0),
        ("valid_status_codes: [101]", "101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n", "", 0.0),
    ] {
        let peer = Peer::fixed(Answer::Raw(format!("HTTP/1.1 {head}\r\n{body}").into_bytes())).await;
        let (values, why) = probed(options, &peer.url("/").to_string()).await;
        assert_eq!((values["http_content_length"], &*why), (want, ""), "{options} {head}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_is_counted_and_fits_no_expression() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello".to_vec();
    let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    stored.write_all(&[b'x'; 100_000]).unwrap();
    let stored = stored.finish().unwrap();
    let half = serve(move |mut stream| {
        let half = stored[..70_000].to_vec();
        async move {
            use tokio::io::AsyncWriteExt as _;
            head(&mut stream).await;
            let _ = stream.write_all(&[b"HTTP/1.1 200 OK\r\n\r\n", half.as_slice()].concat()).await;
            std::future::pending().await
        }
    })
    .await;
    let (cut, stalls) = (Peer::fixed(Answer::Raw(cut)).await, Peer::fixed(Answer::Stall).await);
    let (cut, stalls) = (&cut.address, &stalls.address);
    for (options, address, length, regex, why) in [
        ("", cut, 5.0, 0.0, "end of file"),
        ("fail_if_body_matches_regexp: [x]", cut, 5.0, 1.0, "end of file"),
        ("fail_if_body_not_matches_regexp: [hello], valid_status_codes: [404]", cut, 5.0, 0.0, "status 200"),
        ("fail_if_body_matches_regexp: [x]", stalls, 4.0, 1.0, "no answer within"),
        ("compression: gzip", &half, 1.0, 0.0, "no answer within"),
    ] {
        let module = format!("{{prober: http, http: {{{options}}}}}");
        let (values, failure) =
            seen_within(&module, &format!("http://{address}/"), Duration::from_secs(2)).await;
        assert!(failure.as_ref().is_some_and(|failure| failure.contains(why)), "{options}: {failure:?}");
        let got = values["http_uncompressed_body_length"];
        assert!(got == length || *address == half && got > 60_000.0, "{options}: {got}");
        assert_eq!(values["failed_due_to_regex"], regex, "{options}");
    }
}
