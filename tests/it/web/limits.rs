//! Clients that want too much: each is stopped, and the next scrape works.

use std::time::Duration;

use outrigger::web::{Limits, ReloadHandle, WebConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Running, closed_without_a_word, config, read_reply, start, state};

const SHORT: Duration = Duration::from_millis(30);
const HEALTHY: &str = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";
const RELOAD: &str = "POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

async fn limited(limits: Limits) -> Running {
    start(WebConfig { limits, ..config() }, state()).await
}

async fn ended(server: &Running, reason: &str) {
    let series = format!("outrigger_http_connections_closed_total{{reason=\"{reason}\"}}");
    server.metric_becomes(&series, 1.0).await;
    assert_eq!(server.get("/metrics").await.status, 200, "the next scrape works");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_dropped() {
    let server = limited(Limits { header_timeout: SHORT, ..Limits::default() }).await;
    assert!(closed_without_a_word(&mut server.connect().await).await);
    ended(&server, "header_timeout").await;
}

#[tokio::test]
async fn a_header_that_drips_is_cut_off() {
    let server = limited(Limits { header_timeout: SHORT, ..Limits::default() }).await;
    // The first request of a connection, and a later one.
    for begin in ["GET / HTTP/1.1\r\n", "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n"] {
        let stream = server.connect().await;
        let (mut read, mut write) = stream.into_split();
        write.write_all(begin.as_bytes()).await.unwrap();
        let dripping = tokio::spawn(async move {
            let mut drop_due = tokio::time::interval(Duration::from_millis(1));
            while write.write_all(b"a: b\r\n").await.is_ok() {
                drop_due.tick().await;
            }
        });
        let mut bytes = Vec::new();
        let _ = read.read_to_end(&mut bytes).await;
        dripping.abort();
        let answers = String::from_utf8_lossy(&bytes).matches("HTTP/1.1 200").count();
        assert_eq!(answers, begin.matches("healthy").count());
    }
    server.metric_becomes("outrigger_http_connections_closed_total{reason=\"header_timeout\"}", 2.0).await;
    assert_eq!(server.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_last_request() {
    let server = limited(Limits { idle_timeout: SHORT, ..Limits::default() }).await;
    let mut stream = server.connect().await;
    stream.write_all(HEALTHY.as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 200);
    assert!(closed_without_a_word(&mut stream).await);
    ended(&server, "idle").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let server = limited(Limits { write_stall_timeout: SHORT, ..Limits::default() }).await;
    let mut stream = server.connect().await;
    // Answers to these fill every buffer; then the server stops reading, and in the end hangs up.
    while stream.write_all(HEALTHY.repeat(100).as_bytes()).await.is_ok() {}
    ended(&server, "write_stall").await;
}

#[tokio::test]
async fn a_request_that_takes_for_ever_is_cut() {
    let (handle, mut requests) = ReloadHandle::new();
    let mut state = state();
    state.reload = Some(handle);
    let limits = Limits { request_timeout: SHORT, ..Limits::default() };
    let server = start(WebConfig { limits, ..config() }, state).await;
    let mut stream = server.connect().await;
    stream.write_all(RELOAD.as_bytes()).await.unwrap();
    let _held = requests.recv().await.unwrap();
    assert!(closed_without_a_word(&mut stream).await);
    ended(&server, "request_timeout").await;
}

#[test]
fn one_scrape_more_than_allowed_is_refused() {
    // Compression needs a blocking thread; the only one waits for the test.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    runtime.unwrap().block_on(async {
        let limits = Limits { max_requests: 1, max_requests_wait: SHORT, ..Limits::default() };
        let server = limited(limits).await;
        let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
        let held = tokio::task::spawn_blocking(move || released.recv());

        let mut first = server.connect().await;
        let compressed = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n";
        first.write_all(compressed.as_bytes()).await.unwrap();
        server.metric_becomes("promhttp_metric_handler_requests_in_flight", 1.0).await;
        let refused = server.get("/metrics").await;
        let text = "Limit of concurrent requests reached (1), try again later.\n";
        assert_eq!((refused.status, refused.text().as_str()), (503, text));
        assert_eq!(server.metric("promhttp_metric_handler_requests_total{code=\"503\"}"), Some(1.0));
        // A client that leaves keeps its turn until the work is done.
        drop(first);
        assert_eq!(server.get("/metrics").await.status, 503);
        release.send(()).unwrap();
        held.await.unwrap().unwrap();
        while server.get("/metrics").await.status != 200 {}
    });
}

#[tokio::test]
async fn headers_are_bounded_in_size_and_number() {
    let server = limited(Limits::default()).await;
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(40 << 10));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70 << 10));
    for request in [long, many, path] {
        let reply = server.send(&request).await;
        assert!(matches!(reply.status, 431 | 414), "{reply:?}");
    }
    assert_eq!(server.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = limited(Limits::default()).await;
    for garbage in [
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}",
        "hello\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\n\u{0}: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let reply = server.send(garbage).await;
        assert!(matches!(reply.status, 0 | 400 | 505), "{garbage:?}: {reply:?}");
    }
    assert_eq!(server.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_time() {
    let server = limited(Limits { body_timeout: SHORT, max_body_bytes: 1_000, ..Limits::default() }).await;
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1_000));
    for (headers, body, status) in [
        ("Content-Length: 1000\r\n", "x".repeat(1_000), 403),
        ("Content-Length: 1001\r\n", String::new(), 413),
        ("Content-Length: 99999999999\r\nExpect: 100-continue\r\n", String::new(), 413),
        ("Transfer-Encoding: chunked\r\n", format!("{chunk}0\r\n\r\n"), 403),
        ("Transfer-Encoding: chunked\r\n", chunk.repeat(2), 413),
        ("Transfer-Encoding: chunked\r\n", "zz\r\n".to_owned(), 400),
        ("Content-Length: 1000\r\n", "x".to_owned(), 408),
    ] {
        let request =
            format!("POST /-/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n{body}");
        let reply = server.send(&request).await;
        assert_eq!(reply.status, status, "{headers}: {reply:?}");
    }
    assert_eq!(server.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn a_refused_body_does_not_cost_the_client_the_answer() {
    let server = limited(Limits { max_body_bytes: 1_000, ..Limits::default() }).await;
    for _ in 0..20 {
        let mut stream = server.connect().await;
        let head = "POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read_reply(&mut stream).await.status, 413);
        // Still sending after the answer: no reset comes.
        stream.write_all(&[b'x'; 100_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn silent_connections_do_not_keep_the_next_scrape_out() {
    let server = limited(Limits { max_connections: 64, ..Limits::default() }).await;
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..2_000 {
        held.push(server.connect().await);
        // The client end of an evicted connection costs this process a descriptor.
        if held.len() > 200 {
            assert!(closed_without_a_word(&mut held.remove(0)).await);
        }
    }
    assert_eq!(server.get("/metrics").await.status, 200);
    let open = server.metric("outrigger_http_connections").unwrap();
    assert!(open <= 64.0, "{open}");
    assert_eq!(server.metric("outrigger_http_connections_refused_total"), Some(0.0));
}

#[tokio::test]
async fn busy_connections_are_kept_and_one_too_many_is_refused() {
    let (handle, mut requests) = ReloadHandle::new();
    let mut state = state();
    state.reload = Some(handle);
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let server = start(WebConfig { limits, ..config() }, state).await;
    let mut busy = server.connect().await;
    busy.write_all(RELOAD.as_bytes()).await.unwrap();
    let request = requests.recv().await.unwrap();
    assert!(closed_without_a_word(&mut server.connect().await).await);
    assert_eq!(server.metric("outrigger_http_connections_refused_total"), Some(1.0));
    request.finish(Ok(()));
    assert_eq!(read_reply(&mut busy).await.status, 200);
    assert_eq!(server.get("/metrics").await.status, 200, "takes the place of the one now idle");
}
