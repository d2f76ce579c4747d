//! Every route's texts and codes, and what is counted about them.

use outrigger::web::{ReloadHandle, WebConfig};

use super::{config, start, state};

#[tokio::test]
async fn management_endpoints_answer_as_prometheus_does() {
    let state = state();
    let ready = state.ready.clone();
    let server = start(config(), state).await;
    for (path, status, body) in [
        ("/-/healthy", 200, "Outrigger is Healthy.\n"),
        ("/-/ready", 200, "Outrigger is Ready.\n"),
        ("/-/reload", 405, "Only POST or PUT requests allowed.\n"),
        ("/nothing", 404, "404 page not found\n"),
    ] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.text().as_str()), (status, body), "{path}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"), "{path}");
    }
    ready.set(false);
    assert_eq!(server.get("/-/ready").await.status, 503);
    assert_eq!(server.get("/-/healthy").await.status, 200);
}

#[tokio::test]
async fn head_has_headers_only_and_other_methods_are_refused() {
    let server = start(config(), state()).await;
    for path in ["/", "/metrics", "/-/healthy", "/-/ready"] {
        let head =
            server.send(&format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert!(head.header("content-length").is_some_and(|length| length != "0"), "{path}");
        let delete =
            server.send(&format!("DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(delete.status, 405, "{path}");
        assert_eq!(delete.header("allow"), Some("get,head"), "{path}");
    }
}

#[tokio::test]
async fn the_landing_page_links_to_the_metrics_and_loads_nothing_from_elsewhere() {
    let server = start(WebConfig { metrics_path: "/m".to_owned(), ..config() }, state()).await;
    let page = server.get("/").await;
    let text = page.text();
    assert!(text.contains("<h1>Outrigger</h1>") && text.contains("1.2.3"), "{text}");
    assert!(text.contains("href=\"m\"") && text.contains("href=\"-/healthy\""), "{text}");
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("src="), "{text}");
    assert!(page.header("content-security-policy").is_some_and(|p| p.starts_with("default-src 'none'")));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(server.get("/m").await.status, 200);
    assert_eq!(server.get("/metrics").await.status, 404);
}

#[tokio::test]
async fn metrics_may_have_the_root_path() {
    let server = start(WebConfig { metrics_path: "/".to_owned(), ..config() }, state()).await;
    let reply = server.get("/").await;
    assert!(
        reply.header("content-type").is_some_and(|t| t.starts_with("text/plain; version=0.0.4")),
        "{reply:?}"
    );
}

#[tokio::test]
async fn reload_is_refused_unless_enabled_and_tells_how_it_went() {
    let request = |method: &str| {
        format!("{method} /-/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    };
    let server = start(config(), state()).await;
    let refused = server.send(&request("POST")).await;
    assert_eq!((refused.status, refused.text().as_str()), (403, "Lifecycle API is not enabled."));

    let (handle, mut requests) = ReloadHandle::new();
    let mut state = state();
    state.reload = Some(handle);
    let server = start(config(), state).await;
    tokio::spawn(async move {
        let mut results = [Ok(()), Err("o.yml:1:1: wrong".to_owned())].into_iter();
        while let (Some(request), Some(result)) = (requests.recv().await, results.next()) {
            request.finish(result);
        }
    });
    for header in ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site"] {
        let foreign = request("POST").replace("Host: x\r\n", &format!("Host: x\r\n{header}\r\n"));
        let refused = server.send(&foreign).await;
        assert!(refused.status == 403 && refused.text().contains("other origins"), "{header}: {refused:?}");
    }
    // A page behind the external URL is an own one.
    let own = request("POST").replace("Host: x\r\n", "Host: x\r\nOrigin: https://o.example\r\n");
    assert_eq!(server.send(&own).await.status, 200);
    let failed = server.send(&request("PUT")).await;
    assert_eq!((failed.status, failed.text().as_str()), (500, "failed to reload config: o.yml:1:1: wrong\n"));
    let stopping = server.send(&request("PUT")).await;
    assert_eq!(
        (stopping.status, stopping.text().as_str()),
        (500, "failed to reload config: the program is stopping\n")
    );
    assert_eq!(server.get("/-/reload").await.header("allow"), Some("post, put"));
}

#[tokio::test]
async fn collect_and_exclude_are_checked_as_node_exporter_does() {
    let server = start(config(), state()).await;
    let refused = "Couldn't create filtered metrics handler: couldn't create collector: ";
    for (query, status, body) in [
        ("?collect[]=a&exclude[]=b", 400, "Combined collect and exclude queries are not allowed.".to_owned()),
        ("?collect[]=no_such", 400, format!("{refused}missing collector: no_such")),
        ("?collect%5B%5D=a%20b", 400, format!("{refused}missing collector: a b")),
    ] {
        let reply = server.get(&format!("/metrics{query}")).await;
        assert_eq!((reply.status, reply.text()), (status, body), "{query}");
    }
    for query in ["?exclude[]=whatever", "?collect=cpu", "?%zz;=;&&"] {
        assert_eq!(server.get(&format!("/metrics{query}")).await.status, 200, "{query}");
    }
    if let Some(spec) = outrigger::collect::specs().first() {
        let reply = server.get(&format!("/metrics?collect[]={}", spec.name)).await;
        assert_eq!(
            (reply.status, reply.text()),
            (400, format!("{refused}disabled collector: {}", spec.name))
        );
    }
}

#[tokio::test]
async fn the_body_is_negotiated() {
    let server = start(config(), state()).await;
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores";
    let text = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    for (headers, content_type, encoding) in [
        ("", text, None),
        ("Accept: application/openmetrics-text;version=1.0.0\r\n", open_metrics, None),
        ("Accept-Encoding: gzip\r\n", text, Some("gzip")),
        ("Accept-Encoding: br\r\nAccept-Encoding: zstd\r\n", text, Some("zstd")),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        let reply = server.send(&request).await;
        assert_eq!(reply.header("content-type"), Some(content_type), "{headers}");
        assert_eq!(reply.header("content-encoding"), encoding, "{headers}");
        assert_eq!(reply.header("vary"), Some("accept, accept-encoding"), "{headers}");
    }
}

#[tokio::test]
async fn requests_are_counted_under_bounded_labels() {
    let server = start(config(), state()).await;
    for path in ["/metrics", "/nothing", "/elsewhere?x=1", "/metrics?collect[]=no_such"] {
        server.get(path).await;
    }
    server.send("BREW /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    for (series, value) in [
        ("outrigger_http_requests_total{handler=\"/metrics\",method=\"get\",code=\"200\"}", 1.0),
        ("outrigger_http_requests_total{handler=\"/metrics\",method=\"get\",code=\"400\"}", 1.0),
        ("outrigger_http_requests_total{handler=\"not_found\",method=\"get\",code=\"404\"}", 2.0),
        ("outrigger_http_requests_total{handler=\"/-/healthy\",method=\"other\",code=\"405\"}", 1.0),
        ("outrigger_http_request_duration_seconds_count{handler=\"/metrics\"}", 2.0),
        ("promhttp_metric_handler_requests_total{code=\"200\"}", 1.0),
        ("promhttp_metric_handler_requests_total{code=\"503\"}", 0.0),
        ("promhttp_metric_handler_errors_total{cause=\"encoding\"}", 0.0),
        ("promhttp_metric_handler_requests_in_flight", 0.0),
        ("outrigger_http_requests_in_flight", 0.0),
    ] {
        assert_eq!(server.metric(series), Some(value), "{series}");
    }
}
