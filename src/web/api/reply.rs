//! The envelope of every API answer, its error types and their status codes; large bodies as a stream.
//!
//! Invariant: an answer is made on a blocking thread and handed over in pieces of [`PIECE_BYTES`], a few at a time,
//! so that a large one never stands in memory whole; when the client leaves, making it ends at the next piece.
//!
//! Source: Prometheus `web/api/v1/api.go`: field order `status data errorType error warnings infos`.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::json::{write_json, write_text};
use crate::expose::ContentEncoding;
use crate::store::StoreError;

/// Size of a piece of an answer. What fits into one is sent with its length.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces that wait for the client.
const PIECES: usize = 2;

/// What went wrong, by the names of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// A parameter is wrong: 400.
    BadData,
    /// The query failed: 422.
    Execution,
    /// The query took too long: 503.
    Timeout,
    /// The client left: 499.
    Canceled,
    /// There is no such thing: 404.
    NotFound,
    /// Something else is wrong with us: 500.
    Internal,
    /// Not switched on: 500.
    Unavailable,
    /// Not at present, such as while the disk is full: 503.
    Paused,
}

impl FailureKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::NotFound => "not_found",
            Self::Internal => "internal",
            Self::Unavailable | Self::Paused => "unavailable",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout | Self::Paused => StatusCode::SERVICE_UNAVAILABLE,
            // nginx's code, which Prometheus took over; there is no standard one.
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Internal | Self::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(FailureKind::BadData, message)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Internal, message)
    }

    /// What the store refuses.
    pub(super) fn of_store(error: &StoreError) -> Self {
        let kind = match error {
            StoreError::Paused(_) => FailureKind::Paused,
            _ => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }

    pub(super) fn into_response(self) -> Response {
        let mut body = Vec::new();
        let write = |out: &mut Vec<u8>| {
            write!(out, "{{\"status\":\"error\",\"errorType\":\"{}\",\"error\":", self.kind.as_str())?;
            write_text(out, &self.message)?;
            out.write_all(b"}")
        };
        // Writing to memory does not fail.
        drop(write(&mut body));
        json_response(self.kind.status(), Body::from(body))
    }
}

/// Remarks that go with an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Remarks {
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

impl Remarks {
    /// The one that says that `limit` cut the result.
    pub(super) fn truncated() -> Self {
        Self { warnings: vec!["results truncated due to limit".to_owned()], infos: Vec::new() }
    }
}

/// Writes an answer's `data`.
pub(super) type WriteData = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// A good answer that is small, from anything that serializes.
pub(super) fn success(data: &impl Serialize) -> Response {
    success_with(data, &Remarks::default())
}

/// The same with remarks.
pub(super) fn success_with(data: &impl Serialize, remarks: &Remarks) -> Response {
    let mut body = Vec::new();
    let written = write_envelope(&mut body, remarks, |out| write_json(out, data));
    match written {
        Ok(()) => json_response(StatusCode::OK, Body::from(body)),
        Err(error) => Failure::internal(error.to_string()).into_response(),
    }
}

/// A good answer of any size, made on this blocking thread; the response goes out through `head` as soon as the
/// first piece is full, or all is made.
pub(super) fn stream_success(
    head: oneshot::Sender<Response>,
    encoding: ContentEncoding,
    remarks: &Remarks,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) {
    let mut pieces = Pieces { head: Some(head), encoding, sender: None, piece: Vec::new() };
    let made = compressing(encoding, &mut pieces, |out| write_envelope(out, remarks, write));
    match made {
        Ok(()) => pieces.finish(),
        // The client is gone, or learns it by the connection's end.
        Err(error) => pieces.fail(error),
    }
}

fn write_envelope<W: Write + ?Sized>(
    mut out: &mut W,
    remarks: &Remarks,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"{\"status\":\"success\",\"data\":")?;
    write(&mut out)?;
    for (name, texts) in [("warnings", &remarks.warnings), ("infos", &remarks.infos)] {
        if texts.is_empty() {
            continue;
        }
        write!(out, ",\"{name}\":[")?;
        for (at, text) in texts.iter().enumerate() {
            out.write_all(if at > 0 { b"," } else { b"" })?;
            write_text(&mut out, text)?;
        }
        out.write_all(b"]")?;
    }
    out.write_all(b"}")
}

fn compressing(
    encoding: ContentEncoding,
    pieces: &mut Pieces,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    match encoding {
        ContentEncoding::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(pieces, flate2::Compression::fast());
            write(&mut gzip)?;
            gzip.finish().map(drop)
        }
        ContentEncoding::Zstd => {
            let mut zstd = zstd::Encoder::new(pieces, 1)?;
            write(&mut zstd)?;
            zstd.finish().map(drop)
        }
        ContentEncoding::Identity => write(pieces),
    }
}

/// Collects bytes into pieces and sends them.
struct Pieces {
    head: Option<oneshot::Sender<Response>>,
    encoding: ContentEncoding,
    sender: Option<mpsc::Sender<io::Result<Bytes>>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the client left");
        if let Some(head) = self.head.take() {
            let (sender, receiver) = mpsc::channel(PIECES);
            let response = self.response(Body::new(PieceBody(receiver)));
            head.send(response).map_err(|_| gone())?;
            self.sender = Some(sender);
        }
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        let sent = self.sender.as_ref().map(|sender| sender.blocking_send(Ok(piece)));
        sent.ok_or_else(gone)?.map_err(|_| gone())
    }

    fn finish(mut self) {
        match self.head.take() {
            Some(head) => {
                let body = Body::from(std::mem::take(&mut self.piece));
                let response = self.response(body);
                drop(head.send(response));
            }
            None if self.piece.is_empty() => {}
            None => drop(self.send()),
        }
    }

    fn fail(mut self, error: io::Error) {
        if let Some(head) = self.head.take() {
            drop(head.send(Failure::internal(error.to_string()).into_response()));
        } else if let Some(sender) = self.sender.take() {
            drop(sender.blocking_send(Err(error)));
        }
    }

    fn response(&self, body: Body) -> Response {
        let mut response = json_response(StatusCode::OK, body);
        if let Some(encoding) = self.encoding.header() {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    }
}

/// The pieces as a body.
struct PieceBody(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for PieceBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

fn json_response(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(response: Response) -> Vec<u8> {
        axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()
    }

    #[test]
    fn a_store_that_cannot_be_written_at_present_is_no_error_of_ours() {
        let status = |error: &StoreError| Failure::of_store(error).into_response().status().as_u16();
        assert_eq!(status(&StoreError::Paused("no space left".to_owned())), 503);
        assert_eq!(status(&StoreError::Closed), 500);
    }

    #[tokio::test]
    async fn answers_have_prometheus_envelope() {
        let small = success(&["a", "b"]);
        assert_eq!(small.status(), StatusCode::OK);
        assert_eq!(body(small).await, br#"{"status":"success","data":["a","b"]}"#);
        let remarks = Remarks { warnings: vec!["w\"".into()], infos: vec!["i".into(), "j".into()] };
        let expected = br#"{"status":"success","data":1,"warnings":["w\""],"infos":["i","j"]}"#;
        assert_eq!(body(success_with(&1, &remarks)).await, expected);
        let failure = Failure::new(FailureKind::Execution, "no \"x\"").into_response();
        assert_eq!(failure.status().as_u16(), 422);
        assert_eq!(body(failure).await, br#"{"status":"error","errorType":"execution","error":"no \"x\""}"#);
    }

    #[tokio::test]
    async fn large_answers_are_streamed_and_small_ones_have_a_length() {
        for (lines, encoding, has_length) in [
            (10, ContentEncoding::Identity, true),
            (100_000, ContentEncoding::Identity, false),
            (10, ContentEncoding::Gzip, true),
            (300_000, ContentEncoding::Gzip, true),
        ] {
            let (head, response) = oneshot::channel();
            let making = tokio::task::spawn_blocking(move || {
                stream_success(head, encoding, &Remarks::default(), |out| {
                    (0..lines).try_for_each(|_| out.write_all(b"[]\n"))
                });
            });
            let response = response.await.unwrap();
            assert_eq!(
                hyper::body::Body::size_hint(response.body()).exact().is_some(),
                has_length,
                "{lines}"
            );
            let mut bytes = body(response).await;
            making.await.unwrap();
            if encoding == ContentEncoding::Gzip {
                let mut plain = Vec::new();
                io::copy(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut plain).unwrap();
                bytes = plain;
            }
            assert_eq!(bytes.len(), lines * 3 + br#"{"status":"success","data":}"#.len());
        }
    }

    #[tokio::test]
    async fn nothing_more_is_made_for_a_client_that_left() {
        let (head, response) = oneshot::channel();
        drop(response);
        let made = tokio::task::spawn_blocking(move || {
            let mut pieces = 0_u64;
            stream_success(head, ContentEncoding::Identity, &Remarks::default(), |out| {
                loop {
                    out.write_all(&[b'x'; PIECE_BYTES])?;
                    pieces += 1;
                }
            });
            pieces
        });
        assert!(made.await.unwrap() <= 2);
    }
}
