//! One question to a runtime over its Unix socket: `GET` of HTTP/1.0, whose answer ends with the connection (RFC 1945).
//!
//! Invariant: over by the deadline, whatever the other side does - accepts and never answers, lets its queue of
//! connections run full, sends a byte now and then, or more than [`MOST_BYTES`].

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Longest answer: a runtime says about a kilobyte of a container.
pub(super) const MOST_BYTES: usize = 8 << 20;

/// Most of an answer that comes before its body.
const MOST_HEAD_BYTES: usize = 16 << 10;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpError {
    #[error("nothing listens there: {0}")]
    Absent(String),
    #[error("no answer in time")]
    Timeout,
    #[error("an answer of more than {MOST_BYTES} bytes")]
    TooLong,
    #[error("an answer that is not HTTP")]
    NotHttp,
    #[error("answered {0}")]
    Status(u16),
    #[error("{0}")]
    Io(String),
}

impl From<std::io::Error> for HttpError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// The body of what is answered to a `GET`.
pub(super) fn get(socket: &Path, target: &str, deadline: Instant) -> Result<Vec<u8>, HttpError> {
    let mut stream = open(socket)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut chunk) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        answer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if answer.len() > MOST_BYTES + MOST_HEAD_BYTES {
            return Err(HttpError::TooLong);
        }
    }
    let (status, body) = split(&answer).ok_or(HttpError::NotHttp)?;
    match status {
        200 => Ok(answer.split_off(body)),
        other => Err(HttpError::Status(other)),
    }
}

/// Connects without waiting: a listener that does not accept has a queue, and a full one would hold the caller.
fn open(socket: &Path) -> Result<UnixStream, HttpError> {
    let io = |error: rustix::io::Errno| HttpError::Io(error.to_string());
    let fd = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(io)?;
    let address = SocketAddrUnix::new(socket).map_err(io)?;
    match connect(&fd, &address) {
        Ok(()) => {}
        Err(rustix::io::Errno::AGAIN) => return Err(HttpError::Timeout),
        Err(error) => return Err(HttpError::Absent(error.to_string())),
    }
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// How long there is left; never nothing, which would stand for ever.
fn left(deadline: Instant) -> Result<Duration, HttpError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(HttpError::Timeout) } else { Ok(left) }
}

/// The status of an answer, and where its body begins.
pub(super) fn split(answer: &[u8]) -> Option<(u16, usize)> {
    let version = answer.strip_prefix(b"HTTP/1.")?;
    let status = version.get(2..5).filter(|_| version.get(1) == Some(&b' '))?;
    let status = std::str::from_utf8(status).ok()?.parse().ok()?;
    let head = answer.get(..answer.len().min(MOST_HEAD_BYTES))?;
    let end = memchr::memmem::find(head, b"\r\n\r\n")?;
    Some((status, end + 4))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Answers one question with what `answer` writes, in pieces.
    fn serve(answer: impl FnOnce(UnixStream) + Send + 'static) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || answer(listener.accept().unwrap().0));
        (dir, path)
    }

    fn ask(path: &Path, patience: Duration) -> Result<Vec<u8>, HttpError> {
        get(path, "/containers/json", Instant::now() + patience)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn bodies_and_statuses() {
        for (answer, want) in [
            ("HTTP/1.0 200 OK\r\nX: y\r\n\r\n[]", Ok(b"[]".to_vec())),
            ("HTTP/1.1 200 OK\r\n\r\n", Ok(Vec::new())),
            ("HTTP/1.0 404 Not Found\r\n\r\nx", Err(HttpError::Status(404))),
            ("SSH-2.0-x\r\n\r\n", Err(HttpError::NotHttp)),
            ("HTTP/1.0 200 OK\r\n", Err(HttpError::NotHttp)),
            ("", Err(HttpError::NotHttp)),
        ] {
            let (_dir, path) = serve(move |mut stream| {
                let mut request = [0; 16];
                stream.read_exact(&mut request).unwrap();
                assert_eq!(&request, b"GET /containers/");
                let _ = stream.write_all(answer.as_bytes());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            });
            assert_eq!(ask(&path, LONG), want, "{answer}");
        }
    }

    #[test]
    fn who_never_answers_is_left() {
        let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let (_dir, path) = serve(move |stream| {
            let _ = wait.recv();
            drop(stream);
        });
        assert_eq!(ask(&path, Duration::from_millis(50)), Err(HttpError::Timeout));
        drop(done);
    }

    #[test]
    fn who_does_not_even_accept_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let waiting: Vec<_> = std::iter::from_fn(|| open(&path).ok()).take(10_000).collect();
        assert!(waiting.len() < 10_000, "the queue is full");
        assert_eq!(ask(&path, LONG), Err(HttpError::Timeout));
    }

    #[test]
    fn who_sends_without_end_is_left() {
        let (_dir, path) = serve(|mut stream| {
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            let chunk = vec![b' '; 1 << 20];
            while stream.write_all(&chunk).is_ok() {}
        });
        assert_eq!(ask(&path, LONG), Err(HttpError::TooLong));
    }

    #[test]
    fn nobody_there() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(ask(&dir.path().join("none"), LONG), Err(HttpError::Absent(_))));
        assert!(ask(&dir.path().join("x".repeat(200)), LONG).is_err());
    }
}
