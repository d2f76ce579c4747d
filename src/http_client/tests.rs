//! The client against peers, well-behaved and not.

use std::time::Duration;

use hyper::HeaderMap;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::testing::{Answer, Peer, tls_peer, version_1, wrong_key};
use super::*;
use crate::config::Secret;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn text(client: &HttpClient, url: &hyper::Uri) -> Result<String, String> {
    let response = client.get(url, HeaderMap::new(), soon()).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let mut body = Vec::new();
    response.read(&mut body, |_| true).await.map_err(|e| e.to_string())?;
    Ok(format!("{} {}", status.as_str(), String::from_utf8_lossy(&body)))
}

fn client(change: impl FnOnce(&mut HttpClientSettings)) -> HttpClient {
    let mut settings = HttpClientSettings::default();
    change(&mut settings);
    HttpClient::new(&settings)
}

fn basic() -> Auth {
    Auth::Basic { username: Some(Secret::inline("u")), password: Some(Secret::inline("p")) }
}

#[tokio::test]
async fn a_call_carries_credentials_and_headers_and_reuses_its_connection() {
    let peer = Peer::fixed(Answer::Text(200, "text/plain", "hello".into())).await;
    let client = client(|s| {
        s.auth = Some(basic());
        s.headers = vec![("x-a".parse().unwrap(), vec![Secret::inline("1"), Secret::inline("2")])];
    });
    for _ in 0..3 {
        assert_eq!(text(&client, &peer.url("/x?y")).await.unwrap(), "200 hello");
    }
    let request = &peer.requests()[0];
    for part in [
        "GET /x?y HTTP/1.1\r\n",
        "authorization: Basic dTpw\r\n",
        "x-a: 1\r\nx-a: 2\r\n",
        "user-agent: Outrigger/",
    ] {
        assert!(request.contains(part), "{request}");
    }
    let bearer = super::tests::client(|s| {
        s.auth = Some(Auth::Credentials { scheme: "Bearer".into(), credentials: Some(Secret::inline("t")) });
    });
    text(&bearer, &peer.url("/")).await.unwrap();
    assert!(peer.requests()[3].contains("authorization: Bearer t\r\n"));
}

#[tokio::test]
async fn redirects_are_followed_without_telling_secrets_to_others() {
    let other = Peer::fixed(Answer::Text(200, "text/plain", "there".into())).await;
    let away = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\n", other.url("/away"));
    let peer = Peer::start(move |request| match request {
        r if r.starts_with("GET /a ") => Answer::Full("HTTP/1.1 301 x\r\nLocation: /b\r\n".into(), vec![]),
        r if r.starts_with("GET /b ") => Answer::Full(away.clone(), vec![]),
        _ => Answer::Full("HTTP/1.1 307 x\r\nLocation: loop\r\n".into(), vec![]),
    })
    .await;
    let follows = client(|s| s.auth = Some(basic()));
    assert_eq!(text(&follows, &peer.url("/a")).await.unwrap(), "200 there");
    assert!(peer.requests().iter().all(|r| r.contains("authorization")));
    assert!(!other.requests()[0].contains("authorization"), "{:?}", other.requests());
    let error = text(&follows, &peer.url("/loop")).await.unwrap_err();
    assert!(
        error.ends_with("/loop\": stopped after 10 redirects")
            || error.ends_with("loop: stopped after 10 redirects"),
        "{error}"
    );
    let stays = client(|s| s.follow_redirects = false);
    assert_eq!(text(&stays, &peer.url("/a")).await.unwrap(), "301 ");
}

#[tokio::test]
async fn what_goes_wrong_is_said_as_go_says_it() {
    let client = client(|_| {});
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url: hyper::Uri = format!("http://{free}/m").parse().unwrap();
    assert_eq!(
        text(&client, &url).await.unwrap_err(),
        format!("Get \"http://{free}/m\": dial tcp {free}: connect: connection refused")
    );
    for (answer, end) in [
        (Answer::Raw(b"".to_vec()), ": EOF"),
        (
            Answer::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
            "malformed HTTP response: invalid HTTP version parsed",
        ),
        (Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab".to_vec()), "unexpected EOF"),
    ] {
        let peer = Peer::fixed(answer).await;
        let error = text(&client, &peer.url("/m")).await.unwrap_err();
        assert!(error.ends_with(end), "{error}");
    }
    for answer in [Answer::Hang, Answer::Stall] {
        let peer = Peer::fixed(answer).await;
        let past = Instant::now() + Duration::from_millis(100);
        let error = match client.get(&peer.url("/m"), HeaderMap::new(), past).await {
            Ok(response) => response.read(&mut Vec::new(), |_| true).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.is_timeout() && error.to_string().ends_with("context deadline exceeded"), "{error}");
    }
}

#[tokio::test]
async fn an_endless_body_stops_where_the_reader_says() {
    let peer = Peer::fixed(Answer::Endless).await;
    let response = client(|_| {}).get(&peer.url("/"), HeaderMap::new(), soon()).await.unwrap();
    let (mut body, mut left) = (Vec::new(), 1_usize << 20);
    let error = response
        .read(&mut body, |bytes| {
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        })
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::TooLarge) && body.len() <= 1 << 20);
}

#[tokio::test]
async fn a_proxy_gets_whole_urls_and_a_socket_any_host() {
    let proxy = Peer::fixed(Answer::Text(200, "text/plain", "proxied".into())).await;
    let through = client(|s| s.proxy.url = format!("http://u:p@{}", proxy.address).parse().ok());
    assert_eq!(text(&through, &"http://nowhere.invalid:9/x".parse().unwrap()).await.unwrap(), "200 proxied");
    let request = &proxy.requests()[0];
    assert!(request.starts_with("GET http://nowhere.invalid:9/x HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("proxy-authorization: Basic dTpw\r\n"), "{request}");
    let error = text(&through, &"https://nowhere.invalid/x".parse().unwrap()).await.unwrap_err();
    assert!(proxy.requests()[1].starts_with("CONNECT nowhere.invalid:443 HTTP/1.1\r\n"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let _peer = Peer::on_socket(&path, |_| Answer::Text(200, "text/plain", "local".into()));
    let local = HttpClient::over_socket(&HttpClientSettings::default(), &path);
    assert_eq!(text(&local, &"http://docker/x".parse().unwrap()).await.unwrap(), "200 local");
}

/// A TLS server for `localhost`; returns its port and its certificate in PEM.
async fn localhost_peer() -> (u16, String) {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let port = tls_peer(CertifiedKey::new(vec![issued.cert.der().clone()], key), None).await;
    let der = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, issued.cert.der());
    (port, format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n"))
}

#[tokio::test]
async fn who_checks_no_chain_takes_any_key() {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let der = issued.cert.der().to_vec();
    for (certificate, scheme) in [
        (version_1(&der), SignatureScheme::ECDSA_NISTP256_SHA256),
        (der.clone(), SignatureScheme::RSA_PSS_SHA256),
        (der.clone(), SignatureScheme::ECDSA_NISTP521_SHA512),
        (der.clone(), SignatureScheme::ED448),
    ] {
        let port = tls_peer(wrong_key(certificate, scheme), None).await;
        let url: hyper::Uri = format!("https://localhost:{port}/").parse().unwrap();
        let careless = client(|s| s.tls.insecure_skip_verify = true);
        assert_eq!(text(&careless, &url).await.unwrap(), "200 ok", "{scheme:?}");
        let careful = text(&client(|_| ()), &url).await.unwrap_err();
        assert!(careful.contains("tls: "), "{careful}");
    }
}

#[tokio::test]
async fn certificates_are_checked_as_the_settings_say() {
    let (port, pem) = localhost_peer().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &pem).unwrap();
    let by_name: hyper::Uri = format!("https://localhost:{port}/").parse().unwrap();
    let by_address: hyper::Uri = format!("https://127.0.0.1:{port}/").parse().unwrap();
    let trusts = |s: &mut HttpClientSettings| s.tls.ca = Some(Secret::file(&file));
    assert_eq!(text(&client(trusts), &by_name).await.unwrap(), "200 ok");
    let error = text(&client(trusts), &by_address).await.unwrap_err();
    assert!(error.contains("tls: failed to verify certificate: x509: "), "{error}");
    let named = client(|s| {
        s.tls.ca = Some(Secret::inline(pem.as_str()));
        s.tls.server_name = Some("localhost".into());
    });
    assert_eq!(text(&named, &by_address).await.unwrap(), "200 ok");
    let careless = client(|s| s.tls.insecure_skip_verify = true);
    assert_eq!(text(&careless, &by_address).await.unwrap(), "200 ok");
    let missing = client(|s| s.tls.ca = Some(Secret::file(dir.path().join("none"))));
    let error = text(&missing, &by_name).await.unwrap_err();
    assert!(error.contains("No such file"), "{error}");
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: hyper::Uri = format!("https://{}/", plain.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 4096]).await;
    });
    let error = text(&careless, &url).await.unwrap_err();
    assert!(error.ends_with(": http: server gave HTTP response to HTTPS client"), "{error}");
}
