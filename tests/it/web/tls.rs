//! TLS: versions, ciphers, client certificates, HTTP/2, and files that change under way.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger::web::{Limits, WebConfig, check_config_file};
use rcgen::SanType;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::authority::{Authority, Client};
use super::{Running, closed_without_a_word, config, exchange, start, state};

const REQUEST: &str = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const SERVER: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

/// A server whose web configuration is `text`, looked at anew for every connection.
async fn serve(dir: &Path, text: &str) -> Running {
    let path = dir.join("web.yml");
    fs::write(&path, text).unwrap();
    let config = WebConfig { config_file: Some(path), config_file_interval: Duration::ZERO, ..config() };
    start(config, state()).await
}

/// Whether a request of this client is answered. In TLS 1.3 a refusal comes after the handshake.
async fn answered(client: &Client<'_>, address: SocketAddr) -> bool {
    let Ok(mut stream) = client.connect(address).await else { return false };
    let mut bytes = Vec::new();
    let _ = stream.write_all(REQUEST.as_bytes()).await;
    let _ = stream.read_to_end(&mut bytes).await;
    bytes.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test]
async fn both_versions_are_spoken_unless_bounded() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("a"));
    authority.sign_server().write(dir.path(), "server");
    for (bounds, tls12, tls13) in [
        ("", true, true),
        ("  min_version: TLS10\n", true, true),
        ("  min_version: TLS13\n", false, true),
        ("  max_version: TLS12\n", true, false),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", false, true),
        (
            "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_128_CBC_SHA]\n",
            true,
            true,
        ),
        ("  curve_preferences: [CurveP521, CurveP256]\n  prefer_server_cipher_suites: false\n", true, true),
    ] {
        let server = serve(dir.path(), &format!("{SERVER}{bounds}")).await;
        for (version, expected) in [(&TLS12, tls12), (&TLS13, tls13)] {
            let client = Client { versions: &[version], ..Client::new(&authority) };
            assert_eq!(answered(&client, server.address()).await, expected, "{bounds}{version:?}");
        }
    }
}

#[tokio::test]
async fn certificate_and_key_may_stand_in_the_file_itself() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("a"));
    let identity = authority.sign_server();
    let indented = |pem: String| pem.replace('\n', "\n    ");
    let (certificate, key) = (indented(identity.certificate_pem()), indented(identity.key_pem()));
    let text = format!("tls_server_config:\n  cert: |\n    {certificate}\n  key: |\n    {key}\n");
    let server = serve(dir.path(), &text).await;
    assert!(answered(&Client::new(&authority), server.address()).await);
}

#[tokio::test]
async fn a_key_of_another_certificate_is_an_error_at_its_place() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("a"));
    authority.sign_server().write(dir.path(), "server");
    fs::write(dir.path().join("server.key"), authority.sign_server().key_pem()).unwrap();
    let path = dir.path().join("web.yml");
    fs::write(&path, SERVER).unwrap();
    let error = check_config_file(&path).unwrap_err().to_string();
    assert!(error.contains("web.yml:2:14: tls_server_config.cert_file: "), "{error}");
}

#[tokio::test]
async fn client_certificates_are_asked_for_as_go_does() {
    let (dir, authority, stranger) = (tempfile::tempdir().unwrap(), Authority::new("a"), Authority::new("b"));
    authority.sign_server().write(dir.path(), "server");
    fs::write(dir.path().join("ca.crt"), authority.pem()).unwrap();
    let name = [SanType::DnsName("scraper.example.org".try_into().unwrap())];
    let (known, unknown) = (authority.sign(&name), stranger.sign(&name));
    for (policy, with_none, with_unknown, with_known) in [
        ("NoClientCert", true, true, true),
        ("RequestClientCert", true, true, true),
        ("RequireAnyClientCert", false, true, true),
        ("RequireClientCert", false, true, true),
        ("VerifyClientCertIfGiven", true, false, true),
        ("RequireAndVerifyClientCert", false, false, true),
    ] {
        let ca = if policy.contains("Verify") { "  client_ca_file: ca.crt\n" } else { "" };
        let server = serve(dir.path(), &format!("{SERVER}{ca}  client_auth_type: {policy}\n")).await;
        for version in [&TLS12, &TLS13] {
            for (identity, expected) in
                [(None, with_none), (Some(&unknown), with_unknown), (Some(&known), with_known)]
            {
                let client = Client { identity, versions: &[version], ..Client::new(&authority) };
                let given = identity.map(|i| i.certificate == known.certificate);
                assert_eq!(
                    answered(&client, server.address()).await,
                    expected,
                    "{policy} {version:?} {given:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn only_allowed_names_come_in() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("a"));
    authority.sign_server().write(dir.path(), "server");
    fs::write(dir.path().join("ca.crt"), authority.pem()).unwrap();
    let text = format!(
        "{SERVER}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
         client_allowed_sans: [a.example.org, 192.0.2.1, 'spiffe://x/y', m@example.org]\n"
    );
    let server = serve(dir.path(), &text).await;
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    for (names, expected) in [
        (vec![dns("a.example.org")], true),
        (vec![dns("b.example.org"), SanType::IpAddress([192, 0, 2, 1].into())], true),
        (vec![SanType::URI("spiffe://x/y".try_into().unwrap())], true),
        (vec![SanType::Rfc822Name("m@example.org".try_into().unwrap())], true),
        (vec![dns("b.example.org")], false),
        (vec![dns("*.example.org")], false),
        (vec![], false),
    ] {
        let identity = authority.sign(&names);
        let client = Client { identity: Some(&identity), ..Client::new(&authority) };
        assert_eq!(answered(&client, server.address()).await, expected, "{names:?}");
    }
}

#[tokio::test]
async fn http2_is_negotiated_and_can_be_switched_off() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("a"));
    authority.sign_server().write(dir.path(), "server");
    let client = Client { protocols: &["h2", "http/1.1"], ..Client::new(&authority) };
    let server = serve(dir.path(), SERVER).await;
    let stream = client.connect(server.address()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut requests, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    for path in ["/metrics", "/-/healthy", "/nothing"] {
        let uri = format!("https://localhost{path}");
        let request = hyper::Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
        let response = requests.send_request(request).await.unwrap();
        assert_eq!(response.status(), if path == "/nothing" { 404 } else { 200 }, "{path}");
        response.into_body().collect().await.unwrap();
    }
    // The stop is said to the client, which then hangs up.
    let stopped = server.stop();
    connection.await.unwrap().unwrap();
    assert_eq!(stopped.await.unwrap().cut_connections, 0);

    let server = serve(dir.path(), &format!("{SERVER}http_server_config:\n  http2: false\n")).await;
    let stream = client.connect(server.address()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(exchange(stream, REQUEST).await.status, 200);
}

#[tokio::test]
async fn plain_http_on_a_tls_port_gets_a_word() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("a"));
    authority.sign_server().write(dir.path(), "server");
    let server = serve(dir.path(), SERVER).await;
    let reply = server.get("/").await;
    let text = "Client sent an HTTP request to an HTTPS server.\n";
    assert_eq!((reply.status, reply.text().as_str()), (400, text));
    for garbage in ["\u{16}\u{3}\u{1}", "\u{0}", "\u{16}\u{3}\u{1}\u{0}\u{2}\u{7f}\u{7f}"] {
        let mut stream = server.connect().await;
        stream.write_all(garbage.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert!(answered(&Client::new(&authority), server.address()).await);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut_off() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("a"));
    authority.sign_server().write(dir.path(), "server");
    let path = dir.path().join("web.yml");
    fs::write(&path, SERVER).unwrap();
    let limits = Limits { header_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = start(WebConfig { config_file: Some(path), limits, ..config() }, state()).await;
    assert!(closed_without_a_word(&mut server.connect().await).await);
    let mut partial = server.connect().await;
    partial.write_all(b"\x16\x03\x01").await.unwrap();
    assert!(closed_without_a_word(&mut partial).await);
    assert!(answered(&Client::new(&authority), server.address()).await);
}

#[tokio::test]
async fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    const GOOD: &str = "outrigger_web_config_last_reload_successful";
    let (dir, old, new) = (tempfile::tempdir().unwrap(), Authority::new("old"), Authority::new("new"));
    old.sign_server().write(dir.path(), "server");
    let server = serve(dir.path(), SERVER).await;
    let works = async |authority: &Authority| answered(&Client::new(authority), server.address()).await;
    assert!(works(&old).await && !works(&new).await);

    new.sign_server().write(dir.path(), "server");
    assert!(works(&new).await && !works(&old).await);
    assert_eq!(server.metric(GOOD), Some(1.0));

    fs::write(dir.path().join("server.crt"), "broken").unwrap();
    assert!(works(&new).await, "the last good one stays");
    assert_eq!(server.metric(GOOD), Some(0.0));

    // An editor that empties the file before it writes must not open the door.
    fs::write(dir.path().join("web.yml"), "").unwrap();
    assert!(works(&new).await);
    assert_ne!(server.get("/-/healthy").await.status, 200);
    assert_eq!(server.metric(GOOD), Some(0.0));

    old.sign_server().write(dir.path(), "server");
    fs::write(dir.path().join("web.yml"), format!("{SERVER}  min_version: TLS13\n")).unwrap();
    assert!(works(&old).await);
    assert_eq!(server.metric(GOOD), Some(1.0));
}

#[tokio::test]
async fn the_documented_file_works() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/web-configuration.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("a"));
    authority.sign_server().write(dir.path(), "server");
    fs::write(dir.path().join("ca.crt"), authority.pem()).unwrap();
    let server = serve(dir.path(), text).await;
    let identity = authority.sign(&[SanType::DnsName("prometheus.example.org".try_into().unwrap())]);
    let client = Client { identity: Some(&identity), ..Client::new(&authority) };
    let reply = exchange(client.connect(server.address()).await.unwrap(), REQUEST).await;
    assert_eq!((reply.status, reply.header("x-frame-options")), (401, Some("deny")), "{reply:?}");
}
