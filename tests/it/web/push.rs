//! The Pushgateway's API over HTTP: statuses, texts, bounds, and what `/metrics` shows of it.

use std::sync::Arc;

use outrigger::model::Timestamp;
use outrigger::scrape::push::{PushGateway, PushSettings};
use outrigger::web::{PushApi, WebState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Running, config, start, state};

fn api(settings: PushSettings, admin: bool) -> WebState {
    let gateway = Arc::new(PushGateway::open(settings, None).unwrap());
    let (build, flags) = (vec![("version", "1".to_owned())], vec![("push.ttl", "0s".to_owned())]);
    let started = Timestamp::from_millis(1_000);
    WebState { push: Some(PushApi { gateway, admin, build, flags, started }), ..state() }
}

async fn ask(server: &Running, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let reply = server.send(&request).await;
    (reply.status, reply.text())
}

#[tokio::test]
async fn requests_are_answered_as_a_pushgateway_does() {
    let server = start(config(), api(PushSettings::default(), true)).await;
    let gzip = {
        let mut packed = Vec::new();
        outrigger::expose::compress(outrigger::expose::ContentEncoding::Gzip, b"z 1\n", &mut packed).unwrap();
        packed
    };
    let group = "/metrics/job/j/l/x";
    for (method, path, headers, body, status, expected) in [
        ("PUT", group, "", b"a 1\n" as &[u8], 200, ""),
        ("POST", group, "Content-Type: text/plain\r\n", b"b 1\n", 200, ""),
        ("PUT", "/metrics/job/gz", "Content-Encoding: gzip\r\n", &gzip, 200, ""),
        (
            "PUT",
            "/metrics/job/gz",
            "Content-Encoding: gzip\r\n",
            b"a 1\n",
            400,
            "the body is not valid gzip: unexpected end of file\n",
        ),
        (
            "PUT",
            "/metrics/job/gz",
            "Content-Encoding: br\r\n",
            b"",
            415,
            "content encoding \"br\" is not supported; gzip, zstd and snappy are\n",
        ),
        (
            "PUT",
            group,
            "",
            b"c 1 5\n",
            400,
            "pushed metrics are invalid or inconsistent with existing metrics: pushed metrics must not have timestamps\n",
        ),
        (
            "PUT",
            group,
            "",
            b"c",
            400,
            "text format parsing error in line 1: the last line does not end in a line feed (column 2)\n",
        ),
        ("PUT", "/metrics/job/j/l", "", b"", 400, "odd number of components in label string \"/l\"\n"),
        (
            "PUT",
            "/metrics/job/j?ttl=soon",
            "",
            b"",
            400,
            "invalid ttl: not a valid duration: \"soon\"; write for example \"30s\", \"5m\" or \"1h30m\"\n",
        ),
        ("PUT", "/metrics/job/j?ttl=10m", "", b"", 200, ""),
        ("PUT", "/metrics/job@base64/=", "", b"", 400, "job name is required\n"),
        ("PUT", "/metrics/job//x", "", b"", 301, ""),
        ("DELETE", "/metrics/job/nobody", "", b"", 202, ""),
        ("DELETE", "/metrics/job/j", "", b"", 202, ""),
        ("GET", group, "", b"", 405, "Method Not Allowed\n"),
        ("PUT", "/metrics/job", "", b"", 404, "404 page not found\n"),
        ("GET", "/api/v1/admin/wipe", "", b"", 405, "Method Not Allowed\n"),
        (
            "GET",
            "/api/v1/status",
            "",
            b"",
            200,
            r#"{"data":{"build_information":{"version":"1"},"flags":{"push.ttl":"0s"},"start_time":"1970-01-01T00:00:01Z"},"status":"success"}"#,
        ),
    ] {
        let (got, text) = ask(&server, method, path, headers, body).await;
        assert_eq!((got, text.as_str()), (status, expected), "{method} {path}");
    }
    let shown = server.get("/metrics").await.text();
    for line in [
        "b{instance=\"\",job=\"j\",l=\"x\"} 1\n",
        "z{instance=\"\",job=\"gz\"} 1\n",
        "push_time_seconds{instance=\"\",job=\"j\",l=\"x\"} 1.7e+09\n",
        "push_failure_time_seconds{instance=\"\",job=\"j\",l=\"x\"} 1.7e+09\n",
    ] {
        assert!(shown.contains(line), "{line}{shown}");
    }
    assert!(
        !server.get("/metrics?exclude[]=stat").await.text().contains("job="),
        "who names collectors wants those"
    );
    let groups = server.get("/api/v1/metrics").await.text();
    assert!(
        groups.starts_with("{\"data\":[{") && groups.contains(r#""labels":{"job":"j","l":"x"}"#),
        "{groups}"
    );
    let (status, text) =
        ask(&server, "PUT", "/api/v1/admin/wipe", "Origin: http://evil.example\r\n", b"").await;
    assert_eq!((status, text.as_str()), (403, "pages of other origins may change nothing here\n"));
    assert_eq!(server.get("/api/v1/metrics").await.text(), groups);
    assert_eq!(ask(&server, "PUT", "/api/v1/admin/wipe", "", b"").await.0, 202);
    assert_eq!(server.get("/api/v1/metrics").await.text(), r#"{"data":[],"status":"success"}"#);
}

#[tokio::test]
async fn pages_of_other_origins_push_and_delete_nothing() {
    let server = start(config(), api(PushSettings::default(), false)).await;
    let group = "/metrics/job/j";
    assert_eq!(ask(&server, "PUT", group, "", b"a 1\n").await.0, 200);
    let held = server.get("/api/v1/metrics").await.text();
    // A form needs nobody's leave to send text/plain.
    let form = "Content-Type: text/plain\r\n";
    for method in ["PUT", "POST", "DELETE"] {
        for from in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n", "Origin: null\r\n"]
        {
            let refused = ask(&server, method, group, &format!("{form}{from}"), b"b 2\n").await;
            assert_eq!(
                refused,
                (403, "pages of other origins may change nothing here\n".to_owned()),
                "{from}"
            );
        }
    }
    assert_eq!(server.get("/api/v1/metrics").await.text(), held);
    for own in ["Origin: http://x\r\n", "Sec-Fetch-Site: same-origin\r\nOrigin: http://x\r\n"] {
        assert_eq!(ask(&server, "POST", group, own, b"b 2\n").await, (200, String::new()), "{own}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_before_and_after_decompression() {
    let server =
        start(config(), api(PushSettings { max_body_bytes: 1_000, ..PushSettings::default() }, false)).await;
    let long = "a 1\n".repeat(300);
    assert_eq!(ask(&server, "PUT", "/metrics/job/j", "", long.as_bytes()).await.0, 413);
    let mut packed = Vec::new();
    outrigger::expose::compress(outrigger::expose::ContentEncoding::Gzip, long.as_bytes(), &mut packed)
        .unwrap();
    assert!(packed.len() < 100);
    let (status, text) = ask(&server, "PUT", "/metrics/job/j", "Content-Encoding: gzip\r\n", &packed).await;
    assert_eq!((status, text.as_str()), (413, "the body is larger than 1000 bytes when decompressed\n"));
    assert_eq!(ask(&server, "PUT", "/api/v1/admin/wipe", "", b"").await.0, 404, "only with the admin API");
}

#[tokio::test]
async fn who_sends_nothing_keeps_nobody_from_pushing() {
    let server = start(config(), api(PushSettings::default(), false)).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = server.connect().await;
        let head =
            "PUT /metrics/job/j HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // Its body is waited for.
        let mut told = [0; 25];
        stream.read_exact(&mut told).await.unwrap();
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
        silent.push(stream);
    }
    assert_eq!(ask(&server, "PUT", "/metrics/job/j", "", b"a 1\n").await.0, 200);
    // Also one that is read in turn.
    let long = "a 1\n# more\n".to_owned() + &"# and more\n".repeat(10_000);
    assert_eq!(ask(&server, "PUT", "/metrics/job/j", "", long.as_bytes()).await.0, 200);
}

#[tokio::test]
async fn without_the_gateway_its_routes_are_not_there() {
    let server = start(config(), state()).await;
    for path in ["/metrics/job/j", "/api/v1/metrics", "/api/v1/status"] {
        assert_eq!(
            ask(&server, "PUT", path, "", b"a 1\n").await,
            (404, "404 page not found\n".to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn pushed_metrics_can_be_kept_off_the_page_of_metrics() {
    let server =
        start(config(), api(PushSettings { expose_on_metrics: false, ..PushSettings::default() }, false))
            .await;
    assert_eq!(ask(&server, "PUT", "/metrics/job/j", "", b"a 1\n").await.0, 200);
    assert!(!server.get("/metrics").await.text().contains("push_time_seconds"));
}
