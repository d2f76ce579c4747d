//! The stream below HTTP: it notes when bytes come and when writes are stuck, sees a client leave, and closes gently.
//!
//! Invariant: bytes come out in the order in which they came; at most [`AHEAD_BYTES`] are read before hyper wants them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Activity;

/// A stream that notes when bytes come and when writes are stuck.
///
/// hyper does not read while a request is being answered, and so would not see the client leave. If somebody wants to
/// know, a few bytes are read ahead whenever hyper flushes, which it does at every turn.
///
/// Closed while there are unread bytes - a body too large, say - the kernel would send a reset, and
/// the client might lose the answer that explains it. So a shutdown is followed by some reading, as
/// RFC 9112 section 9.6 recommends.
pub(super) struct WatchedStream<S> {
    stream: S,
    activity: Arc<Activity>,
    linger: Option<Linger>,
    /// Read, but not yet by hyper.
    ahead: Vec<u8>,
    /// There is nothing behind that.
    ended: bool,
}

/// Most bytes that are read ahead.
const AHEAD_BYTES: usize = 256;

struct Linger {
    until: Pin<Box<tokio::time::Sleep>>,
    bytes_left: usize,
}

/// How long, and for how many bytes, a client is listened to after the last answer.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 << 10;

impl<S> WatchedStream<S> {
    pub(super) const fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, linger: None, ahead: Vec::new(), ended: false }
    }

    fn note_write<T>(&self, written: &Poll<io::Result<T>>) {
        self.activity.on_write(written.is_pending());
    }
}

impl<S: AsyncRead + Unpin> WatchedStream<S> {
    /// Sees whether the client leaves, and has the task woken when it does.
    fn look_ahead(&mut self, cx: &mut Context<'_>) {
        while !self.ended && self.ahead.len() < AHEAD_BYTES && self.activity.is_watched() {
            let mut scratch = [0; AHEAD_BYTES];
            let mut buf = ReadBuf::new(scratch.get_mut(self.ahead.len()..).unwrap_or_default());
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.ahead.extend_from_slice(buf.filled()),
                // A connection that is broken cannot be written to either; hyper finds that out.
                Poll::Ready(_) => {
                    self.ended = true;
                    self.activity.on_left();
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let count = this.ahead.len().min(buf.remaining());
            buf.put_slice(this.ahead.get(..count).unwrap_or_default());
            this.ahead.drain(..count);
            this.activity.on_read();
            return Poll::Ready(Ok(()));
        }
        if this.ended {
            return Poll::Ready(Ok(()));
        }
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
        let this = self.get_mut();
        this.look_ahead(cx);
        Pin::new(&mut this.stream).poll_flush(cx)
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
