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
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, Version};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
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
    left: Notify,
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
    /// How many requests want to know whether the client leaves.
    watchers: usize,
    /// The client sends nothing more.
    left: bool,
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
            watchers: 0,
            left: false,
        };
        Arc::new(Self { state: Mutex::new(state), evicted: Notify::new(), left: Notify::new() })
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

    pub(super) fn is_watched(&self) -> bool {
        self.state().watchers > 0
    }

    pub(super) fn on_left(&self) {
        self.state().left = true;
        self.left.notify_waiters();
    }

    pub(super) fn on_read(&self) {
        let mut state = self.state();
        if state.requests.is_empty() {
            state.head_since.get_or_insert_with(Instant::now);
        } else {
            state.pipelined = true;
        }
    }

    pub(super) fn on_write(&self, blocked: bool) {
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
        let oldest = state.requests.first().map(|(_, begun)| *begun);
        if let Some(since) = state.write_blocked_since {
            let stall = (since + limits.write_stall_timeout, End::WriteStall);
            // A client that takes a little now and then never stalls for long; and of a response that hyper
            // has whole, the request has ended already.
            let whole = (oldest.unwrap_or(state.quiet_since) + limits.request_timeout, End::RequestTimeout);
            return if whole.0 < stall.0 { whole } else { stall };
        }
        if let Some(oldest) = oldest {
            return (oldest + limits.request_timeout, End::RequestTimeout);
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

/// The client of a request. Whoever answers slowly learns here that nobody waits any more.
///
/// A client that has only closed its side for writing looks the same, and is answered all the same: what is begun for
/// it may end early, the connection does not.
#[derive(Clone, Debug)]
pub(super) struct Client(Arc<Activity>);

impl Client {
    /// Resolves when the client sends nothing more.
    pub(super) async fn left(&self) {
        let _watching = Watching::new(&self.0);
        let left = self.0.left.notified();
        if !self.0.state().left {
            left.await;
        }
    }
}

/// Somebody wants to know whether the client leaves.
struct Watching<'a>(&'a Activity);

impl<'a> Watching<'a> {
    fn new(activity: &'a Activity) -> Self {
        activity.state().watchers += 1;
        Self(activity)
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.state().watchers -= 1;
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
    let client = Client(Arc::clone(&activity));
    let mut request = request.map(|body| Body::new(Watched { body, watch: BodyWatch::Request(activity) }));
    // A client of HTTP/2 cancels its stream, which hyper tells by dropping the answer's future.
    if request.version() != Version::HTTP_2 {
        request.extensions_mut().insert(client);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_reads_now_and_then_has_no_more_time_than_others() {
        let begun = Instant::now();
        let limits = Limits { request_timeout: Duration::from_secs(20), ..Limits::default() };
        let activity = Activity::new(begun);
        let request = activity.begin_request();
        activity.on_write(true);
        let (deadline, end) = activity.deadline(&limits, false);
        assert_eq!(end, End::RequestTimeout);
        assert!(deadline < begun + limits.write_stall_timeout);
        // The response is hyper's, and written to a client that takes a byte at a time.
        drop(request);
        activity.on_write(false);
        activity.on_write(true);
        let (deadline, end) = activity.deadline(&limits, false);
        assert_eq!(end, End::RequestTimeout);
        assert!(deadline < begun + limits.write_stall_timeout);
        let patient = Limits { request_timeout: Duration::from_secs(3_600), ..limits };
        assert_eq!(activity.deadline(&patient, false).1, End::WriteStall);
        activity.on_write(false);
        assert_eq!(activity.deadline(&patient, false).1, End::Idle);
    }
}
