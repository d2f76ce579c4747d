//! Probes over gRPC against a server of this test.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::tests::{seen, seen_within, serve};

/// What hangs is waited for this long.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn health_of_grpc_services() {
    use http_body_util::BodyExt as _;
    use hyper::body::Frame;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let sent = |name| request.headers().get_all(name).iter().cloned().collect::<Vec<_>>();
                    let (plain, binary, agent) = (sent("x-a"), sent("x-bin"), sent("user-agent"));
                    let body = request.into_body().collect().await?.to_bytes();
                    let asked = String::from_utf8_lossy(body.get(7..).unwrap_or_default()).into_owned();
                    let (message, status) = match asked.as_str() {
                        "" => (vec![0, 0, 0, 0, 2, 8, 1], "0"),
                        "told" if plain == ["b", "c"] && binary == ["aGk"] && agent.len() == 1 => {
                            (vec![0, 0, 0, 0, 2, 8, 1], "0")
                        }
                        "ill" => (vec![0, 0, 0, 0, 2, 8, 2], "0"),
                        "nothing" => (vec![], "0"),
                        "lies" => (vec![0, 0xff, 0, 0, 2, 8, 2], "0"),
                        "unknown" => (vec![], "5"),
                        "telling" => (vec![], "9"),
                        "silent" => std::future::pending().await,
                        other if other.starts_with("http ") => {
                            let status = other[5..].parse().unwrap();
                            let mut answer = hyper::Response::new(Frames([].into()));
                            *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
                            return Ok(answer);
                        }
                        _ => (vec![], "12"),
                    };
                    let trailers = [("grpc-status", status), ("grpc-message", "why%20not%3F")];
                    let trailers = trailers.map(|(name, value)| {
                        (HeaderName::from_static(name), HeaderValue::from_static(value))
                    });
                    let trailers = Frame::trailers(trailers.into_iter().collect());
                    let frames = Frames([Frame::data(message.into()), trailers].into());
                    Ok::<_, hyper::Error>(hyper::Response::new(frames))
                });
            let executor = hyper_util::rt::TokioExecutor::new();
            let connection = hyper::server::conn::http2::Builder::new(executor)
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    for (service, want, status, health) in [
        ("''", "", 0.0, "SERVING"),
        ("told, metadata: {X-A: [b, c], x-bin: [hi], user-agent: [d]}", "", 0.0, "SERVING"),
        ("told", "has no health checks", 12.0, ""),
        ("ill", "the service says NOT_SERVING", 0.0, "NOT_SERVING"),
        ("unknown", "the service says SERVICE_UNKNOWN", 5.0, "SERVICE_UNKNOWN"),
        ("other", "has no health checks", 12.0, ""),
        ("lies", "is no health check's", 13.0, ""),
        ("nothing", "is no health check's", 2.0, ""),
        ("telling", "the call ended with status 9: why not?", 9.0, ""),
        // Not gRPC's answers: translated.
        ("http 200", "the answer has no grpc-status", 2.0, ""),
        ("http 400", "HTTP status 400", 13.0, ""),
        ("http 401", "HTTP status 401", 16.0, ""),
        ("http 403", "HTTP status 403", 7.0, ""),
        ("http 404", "HTTP status 404", 12.0, ""),
        ("http 500", "HTTP status 500", 2.0, ""),
        ("http 503", "HTTP status 503", 14.0, ""),
    ] {
        let module = format!("{{prober: grpc, grpc: {{service: {service}}}}}");
        let (values, failure) = seen(&module, &server.to_string()).await;
        let failure = failure.unwrap_or_default();
        assert!(failure.contains(want) && failure.is_empty() == want.is_empty(), "{service}: {failure}");
        assert_eq!((values["grpc_status_code"], values["grpc_ssl"]), (status, 0.0), "{service}");
        for name in ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"] {
            let value = values[&format!("grpc_healthcheck_response/{name}")];
            assert_eq!(value, f64::from(u8::from(name == health)), "{service} {name}");
        }
    }
    let (values, _) =
        seen_within("{prober: grpc, grpc: {service: silent}}", &server.to_string(), SHORT).await;
    assert_eq!(values["grpc_status_code"], 4.0);
    // It speaks, but no HTTP/2.
    let other = serve(|mut stream| async move { drop(stream.write_all(b"220 hello\r\n").await) }).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (options, address) in [("", other), ("", gone), ("grpc: {tls: true}", other)] {
        let (values, failure) = seen(&format!("{{prober: grpc, {options}}}"), &address.to_string()).await;
        assert!(failure.is_some());
        assert_eq!(values["grpc_status_code"], 14.0, "{options} {failure:?}");
    }
    let (values, _) = seen("{prober: grpc}", "no-such-host.invalid:1").await;
    assert_eq!(values["grpc_status_code"], 0.0);
}

/// A body and its trailers.
struct Frames(std::collections::VecDeque<hyper::body::Frame<bytes::Bytes>>);

impl hyper::body::Body for Frames {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}
