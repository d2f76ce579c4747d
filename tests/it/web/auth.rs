//! Users, headers and the rate limit of the web configuration file, over plain HTTP.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outrigger::web::{WebConfig, WebError};

use super::{Reply, Running, config, start, state};

async fn serve(dir: &Path, text: &str) -> Running {
    let path = dir.join("web.yml");
    fs::write(&path, text).unwrap();
    let config = WebConfig { config_file: Some(path), config_file_interval: Duration::ZERO, ..config() };
    start(config, state()).await
}

async fn get_as(server: &Running, user_and_password: &str) -> Reply {
    let credentials = STANDARD.encode(user_and_password);
    let head = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {credentials}\r\n\r\n"
    );
    server.send(&head).await
}

fn users(password: &str) -> String {
    format!("basic_auth_users:\n  ann: {}\n", bcrypt::hash(password, 4).unwrap())
}

#[tokio::test]
async fn every_page_asks_for_a_known_user() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &users("s3cret")).await;
    for path in ["/", "/metrics", "/-/healthy", "/-/reload", "/nothing"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.text().as_str()), (401, "Unauthorized\n"), "{path}");
        assert_eq!(reply.header("www-authenticate"), Some("basic"), "{path}");
    }
    for (credentials, status) in
        [("ann:s3cret", 200), ("ann:wrong", 401), ("bob:s3cret", 401), ("ann:s3cret", 200), ("ann", 401)]
    {
        assert_eq!(get_as(&server, credentials).await.status, status, "{credentials}");
    }
    assert_eq!(
        server.metric("outrigger_http_requests_total{handler=\"/metrics\",method=\"get\",code=\"401\"}"),
        Some(4.0)
    );

    fs::write(dir.path().join("web.yml"), users("changed")).unwrap();
    assert_eq!(get_as(&server, "ann:s3cret").await.status, 401);
    assert_eq!(get_as(&server, "ann:changed").await.status, 200);
    fs::write(dir.path().join("web.yml"), "basic_auth_users: {}\n").unwrap();
    assert_eq!(server.get("/metrics").await.status, 401, "an emptied file does not open the door");
}

#[tokio::test]
async fn configured_headers_are_on_every_answer() {
    let dir = tempfile::tempdir().unwrap();
    let text = "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n    Strict-Transport-Security: max-age=9\n";
    let server = serve(dir.path(), text).await;
    for path in ["/", "/metrics", "/nothing"] {
        let reply = server.get(path).await;
        assert_eq!(reply.header("x-frame-options"), Some("sameorigin"), "{path}");
        assert_eq!(reply.header("strict-transport-security"), Some("max-age=9"), "{path}");
        assert_eq!(reply.head.matches("x-frame-options").count(), 1, "{path}");
    }
}

#[tokio::test]
async fn more_than_the_burst_is_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), "rate_limit:\n  interval: 1h\n  burst: 2\n").await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(server.get("/metrics").await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
}

#[tokio::test]
async fn a_wrong_file_is_refused_with_every_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yml");
    fs::write(&path, "basic_auth_users: {ann: plain}\ntsl_server_config: {}\n").unwrap();
    let config = WebConfig { config_file: Some(path), ..config() };
    let error = outrigger::web::Server::bind(config, state()).await.err().unwrap();
    assert!(matches!(error, WebError::ConfigFile(_)));
    let text = error.to_string();
    assert!(
        text.contains("not a bcrypt hash") && text.contains("did you mean \"tls_server_config\"?"),
        "{text}"
    );
    assert!(!text.contains("plain"), "{text}");
    let missing = WebConfig { config_file: Some(dir.path().join("none.yml")), ..super::config() };
    let error = outrigger::web::Server::bind(missing, state()).await.err().unwrap().to_string();
    assert!(error.contains("none.yml: No such file"), "{error}");
}
