//! One connection: HTTP over a stream, under a watchdog that ends it when the client dawdles.
//!
//! hyper knows one timeout, for the header. The rest is told apart here from what the connection
//! does: bytes read, writes that do not get through, requests begun and ended. All of it happens
//! within the connection's own task, so the deadline is computed anew after each poll and needs a
//! timer only while nothing happens.
//!
//! Invariant: [`serve`] returns; see [`Limits`] for when.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tower::ServiceExt;

use super::Limits;

/// Why a connection ended; the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// The client closed it, or asked for that.
    Client,
    /// It was not HTTP, or broke.
    Protocol,
    /// The TLS handshake failed.
    Handshake,
    /// No complete request header in time.
    HeaderTimeout,
    /// A request and its response took too long.
    RequestTimeout,
    /// The client did not read.
    WriteStall,
    /// No request for long.
    Idle,
    /// A newer connection took its place.
    Evicted,
    /// The server stops.
    Shutdown,
}

impl End {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Protocol => "protocol_error",
            Self::Handshake => "tls_handshake_error",
            Self::HeaderTimeout => "header_timeout",
            Self::RequestTimeout => "request_timeout",
            Self::WriteStall => "write_stall",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What a connection is doing, as its stream, its requests and the server see it.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    evicted: Notify,
}

#[derive(Debug)]
struct State {
    /// When it was accepted, or its last request ended.
    quiet_since: Instant,
    /// The first request has begun.
    served: bool,
    /// First byte of a later request whose header is not complete.
    head_since: Option<Instant>,
    /// Bytes came in during a request after its body: the next one has begun already.
    pipelined: bool,
    /// Requests in flight, oldest first.
    requests: Vec<(u64, Instant)>,
    next_request: u64,
    write_blocked_since: Option<Instant>,
    evicted: bool,
}

impl Activity {
    pub(super) fn new(accepted: Instant) -> Arc<Self> {
        let state = State {
            quiet_since: accepted,
            served: false,
            head_since: None,
            pipelined: false,
            requests: Vec::new(),
            next_request: 0,
            write_blocked_since: None,
            evicted: false,
        };
        Arc::new(Self { state: Mutex::new(state), evicted: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is valid after every statement, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when it has had no request; `None` while it has one or is being closed.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.requests.is_empty() && !state.evicted).then_some(state.quiet_since)
    }

    /// Asks the connection to make room.
    pub(super) fn evict(&self) {
        self.state().evicted = true;
        self.evicted.notify_one();
    }

    /// Resolves when it has been asked to.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn on_read(&self) {
        let mut state = self.state();
        if state.requests.is_empty() {
            state.head_since.get_or_insert_with(Instant::now);
        } else {
            state.pipelined = true;
        }
    }

    fn on_write(&self, blocked: bool) {
        let mut state = self.state();
        if blocked {
            state.write_blocked_since.get_or_insert_with(Instant::now);
        } else {
            state.write_blocked_since = None;
        }
    }

    fn begin_request(self: &Arc<Self>) -> InFlight {
        let mut state = self.state();
        let id = state.next_request;
        state.next_request += 1;
        state.served = true;
        state.head_since = None;
        state.pipelined = false;
        state.requests.push((id, Instant::now()));
        drop(state);
        InFlight { activity: Arc::clone(self), id }
    }

    fn end_request(&self, id: u64) {
        let mut state = self.state();
        state.requests.retain(|(request, _)| *request != id);
        if state.requests.is_empty() {
            let now = Instant::now();
            state.quiet_since = now;
            state.head_since = state.pipelined.then_some(now);
        }
    }

    /// When the watchdog strikes if nothing happens until then, and what that is called.
    fn deadline(&self, limits: &Limits, http2: bool) -> (Instant, End) {
        let state = self.state();
        if let Some(since) = state.write_blocked_since {
            return (since + limits.write_stall_timeout, End::WriteStall);
        }
        if let Some((_, oldest)) = state.requests.first() {
            return (*oldest + limits.request_timeout, End::RequestTimeout);
        }
        if !state.served {
            return (state.quiet_since + limits.header_timeout, End::HeaderTimeout);
        }
        // Between HTTP/2 requests there are pings and window updates; they begin no header.
        match state.head_since.filter(|_| !http2) {
            Some(since) => (since + limits.header_timeout, End::HeaderTimeout),
            None => (state.quiet_since + limits.idle_timeout, End::Idle),
        }
    }

    /// Nothing would be lost by closing it now.
    fn is_quiet(&self) -> bool {
        let state = self.state();
        state.requests.is_empty() && state.head_since.is_none()
    }
}

/// A request between its head and the last byte of its response.
struct InFlight {
    activity: Arc<Activity>,
    id: u64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.end_request(self.id);
    }
}

/// A body that tells the connection what it needs to know of it.
struct Watched<B> {
    body: B,
    watch: BodyWatch,
}

enum BodyWatch {
    /// Once the request's body has ended, what is read belongs to the next request.
    Request(Arc<Activity>),
    /// The request is in flight for as long as hyper holds its response's body.
    Response { _in_flight: InFlight },
}

impl<B> hyper::body::Body for Watched<B>
where
    B: hyper::body::Body + Unpin,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let BodyWatch::Request(activity) = &this.watch {
            activity.state().pipelined = false;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that notes when bytes come and when writes are stuck.
///
/// Closed while there are unread bytes - a body too large, say - the kernel would send a reset, and
/// the client might lose the answer that explains it. So a shutdown is followed by some reading, as
/// RFC 9112 section 9.6 recommends.
pub(super) struct WatchedStream<S> {
    stream: S,
    activity: Arc<Activity>,
    linger: Option<Linger>,
}

struct Linger {
    until: Pin<Box<tokio::time::Sleep>>,
    bytes_left: usize,
}

/// How long, and for how many bytes, a client is listened to after the last answer.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 << 10;

impl<S> WatchedStream<S> {
    pub(super) const fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, linger: None }
    }

    fn note_write<T>(&self, written: &Poll<io::Result<T>>) {
        self.activity.on_write(written.is_pending());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            this.activity.on_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_write(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let linger = this.linger.get_or_insert_with(|| Linger {
            until: Box::pin(tokio::time::sleep(LINGER)),
            bytes_left: LINGER_BYTES,
        });
        let mut scratch = [0; 4096];
        while linger.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf));
            let count = buf.filled().len();
            if read.is_err() || count == 0 || count > linger.bytes_left {
                break;
            }
            linger.bytes_left -= count;
        }
        Poll::Ready(Ok(()))
    }
}

/// Which HTTP the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// Only after ALPN.
    Http2,
}

/// Serves requests on `stream` until the client, a limit, an eviction or `stop` ends it.
pub(super) async fn serve<S>(
    stream: S,
    protocol: Protocol,
    activity: &Arc<Activity>,
    router: Router,
    limits: &Limits,
    stop: watch::Receiver<bool>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let watched = Arc::clone(activity);
    let service = service_fn(move |request| answer(router.clone(), Arc::clone(&watched), request));
    match protocol {
        Protocol::Http1 => {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(None)
                .half_close(true)
                .max_headers(limits.max_headers)
                .max_header_size(limits.max_header_bytes)
                .max_buf_size(limits.max_header_bytes.max(SMALLEST_BUFFER_BYTES));
            let connection = pin!(http.serve_connection(io, service));
            Guarded { connection, activity, limits, http2: false, stop }.run(|c| c.graceful_shutdown()).await
        }
        Protocol::Http2 => {
            let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            http.timer(TokioTimer::new())
                .max_concurrent_streams(limits.max_streams)
                .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
                .keep_alive_interval(HTTP2_PING_INTERVAL);
            let connection = pin!(http.serve_connection(io, service));
            Guarded { connection, activity, limits, http2: true, stop }.run(|c| c.graceful_shutdown()).await
        }
    }
}

/// hyper refuses a smaller read buffer.
const SMALLEST_BUFFER_BYTES: usize = 8_192;

/// A client that is gone without a word is noticed by an unanswered ping.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);

async fn answer(
    router: Router,
    activity: Arc<Activity>,
    request: Request<Incoming>,
) -> Result<Response<Watched<Body>>, Infallible> {
    let in_flight = activity.begin_request();
    let request = request.map(|body| Body::new(Watched { body, watch: BodyWatch::Request(activity) }));
    let response = router.oneshot(request).await?;
    Ok(response.map(|body| Watched { body, watch: BodyWatch::Response { _in_flight: in_flight } }))
}

/// A hyper connection and all that may end it.
struct Guarded<'a, C> {
    connection: Pin<&'a mut C>,
    activity: &'a Activity,
    limits: &'a Limits,
    http2: bool,
    stop: watch::Receiver<bool>,
}

impl<C: Future<Output = hyper::Result<()>>> Guarded<'_, C> {
    async fn run(mut self, finish: impl Fn(Pin<&mut C>)) -> End {
        let mut stopping = pin!(stopped(self.stop));
        let mut evicted = pin!(self.activity.evicted());
        let mut timer = pin!(tokio::time::sleep(self.limits.header_timeout));
        let mut draining = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = self.connection.as_mut().poll(cx) {
                let end = if draining { End::Shutdown } else { End::Client };
                return Poll::Ready(if result.is_ok() { end } else { End::Protocol });
            }
            if evicted.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Evicted);
            }
            if !draining && stopping.as_mut().poll(cx).is_ready() {
                draining = true;
                if self.activity.is_quiet() && !self.http2 {
                    return Poll::Ready(End::Shutdown);
                }
                finish(self.connection.as_mut());
                cx.waker().wake_by_ref();
            }
            loop {
                let (deadline, end) = self.activity.deadline(self.limits, self.http2);
                if deadline <= Instant::now() {
                    return Poll::Ready(end);
                }
                // A later deadline needs no new timer: the old one fires and finds it.
                let deadline = tokio::time::Instant::from_std(deadline);
                if timer.deadline() > deadline || timer.is_elapsed() {
                    timer.as_mut().reset(deadline);
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

/// Resolves when the server stops.
pub(super) async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the server is gone altogether.
    let _ = stop.wait_for(|stop| *stop).await;
}
