//! Listening, keeping connections, and ending them in good order.

use std::time::Duration;

use outrigger::web::{BoundAddress, Limits, ReloadHandle, WebConfig, WebError};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

use super::{Reply, closed_without_a_word, config, exchange, read_reply, start, state};

const RELOAD: &str = "POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
const HEALTHY: &str = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn every_address_has_the_same_pages() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("o.sock");
    let listen = ["127.0.0.1:0".to_owned(), ":0".to_owned(), format!("unix:{}", path.display())];
    let listen = listen.iter().map(|a| a.parse().unwrap()).collect();
    let server = start(WebConfig { listen, ..config() }, state()).await;
    assert_eq!(server.addresses.len(), 3);
    let request = "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for address in server.addresses.clone() {
        let reply = match &address {
            BoundAddress::Tcp(tcp) => {
                exchange(TcpStream::connect(("127.0.0.1", tcp.port())).await.unwrap(), request).await
            }
            BoundAddress::Unix(path) => exchange(UnixStream::connect(path).await.unwrap(), request).await,
        };
        assert_eq!(reply.status, 200, "{address}");
    }
    server.stop().await.unwrap();
    assert!(!path.exists(), "the socket is gone with the server");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = start(config(), state()).await;
    let listen = vec![server.address().to_string().parse().unwrap()];
    let error = outrigger::web::Server::bind(WebConfig { listen, ..config() }, state()).await.err().unwrap();
    let WebError::Listen { address, source } = error else { panic!("{error}") };
    assert_eq!(
        (address.to_string(), source.kind()),
        (server.address().to_string(), std::io::ErrorKind::AddrInUse)
    );
}

#[tokio::test]
async fn a_connection_serves_many_requests_also_pipelined_and_half_closed() {
    let server = start(config(), state()).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(HEALTHY.as_bytes()).await.unwrap();
        assert_eq!(read_reply(&mut stream).await.status, 200);
    }
    let pipelined = format!("{HEALTHY}GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let replies = exchange(&mut stream, &pipelined).await;
    assert!(replies.text().contains("is Healthy") && replies.text().contains("is Ready"), "{replies:?}");

    let mut half_closed = server.connect().await;
    half_closed.write_all(HEALTHY.as_bytes()).await.unwrap();
    half_closed.shutdown().await.unwrap();
    assert_eq!(read_reply(&mut half_closed).await.status, 200);

    let old = server.send("GET /-/healthy HTTP/1.0\r\n\r\n").await;
    assert_eq!((old.status, old.text().as_str()), (200, "Outrigger is Healthy.\n"));
}

#[tokio::test]
async fn stopping_lets_requests_end_and_closes_the_rest() {
    let (handle, mut requests) = ReloadHandle::new();
    let mut state = state();
    state.reload = Some(handle);
    let server = start(config(), state).await;
    let address = server.address();
    let (mut idle, mut silent, mut busy) =
        (server.connect().await, server.connect().await, server.connect().await);
    idle.write_all(HEALTHY.as_bytes()).await.unwrap();
    read_reply(&mut idle).await;
    busy.write_all(RELOAD.as_bytes()).await.unwrap();
    let request = requests.recv().await.unwrap();
    server.metric_becomes("outrigger_http_connections", 3.0).await;
    let stopped = server.stop();
    assert!(closed_without_a_word(&mut idle).await && closed_without_a_word(&mut silent).await);
    // The listener closes at about the same time.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopped.is_finished());
    request.finish(Ok(()));
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut busy, &mut bytes).await.unwrap();
    assert_eq!(Reply::parse(&bytes).status, 200);
    assert_eq!(stopped.await.unwrap().cut_connections, 0);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let (handle, mut requests) = ReloadHandle::new();
    let mut state = state();
    state.reload = Some(handle);
    let limits = Limits { drain_timeout: Duration::from_millis(20), ..Limits::default() };
    let server = start(WebConfig { limits, ..config() }, state).await;
    let mut busy = server.connect().await;
    busy.write_all(RELOAD.as_bytes()).await.unwrap();
    let _held = requests.recv().await.unwrap();
    assert_eq!(server.stop().await.unwrap().cut_connections, 1);
    assert!(closed_without_a_word(&mut busy).await);
}
