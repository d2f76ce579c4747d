//! Sockets that are handed over by the service manager (`--web.systemd-socket`) instead of bound here.
//!
//! Invariant: taken before the program has a second thread, because that changes the environment;
//! only a socket that waits for clients is served, anything else handed over stops the start.
//!
//! Source: sd_listen_fds(3), systemd.socket(5).

use std::env;
use std::io;
use std::net;
use std::os::fd::AsFd;
use std::os::unix::net as unix;

use listenfd::ListenFd;
use rustix::net::sockopt;

use super::WebError;
use super::listen::{BoundAddress, Listener};

/// Far more than any unit hands over.
const MOST_SOCKETS: usize = 64;

/// Listening sockets that this process was started with.
#[derive(Debug)]
pub struct InheritedSockets(Vec<Inherited>);

#[derive(Debug)]
enum Inherited {
    Tcp(net::TcpListener),
    Unix(unix::UnixListener),
}

impl InheritedSockets {
    /// Takes them out of the environment, once. To be called while the process has one thread.
    ///
    /// # Errors
    /// There is none; one of them is not a stream socket that listens.
    pub fn take() -> Result<Self, WebError> {
        let variable = |name| env::var(name).ok();
        let own_pid = rustix::process::getpid().as_raw_nonzero().get();
        let count =
            handed_over(variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref(), own_pid);
        let count = count.ok_or(WebError::NoSystemdSocket)?;
        let mut sockets = ListenFd::from_env();
        let take =
            |index| take(&mut sockets, index).map_err(|source| WebError::SystemdSocket { index, source });
        (0..count).map(take).collect::<Result<_, _>>().map(Self)
    }

    /// Hands them to the async runtime.
    pub(super) fn listeners(self) -> Result<Vec<(BoundAddress, Listener)>, WebError> {
        let listener = |(index, socket)| {
            let listener = match socket {
                Inherited::Tcp(socket) => Listener::inherited_tcp(socket),
                Inherited::Unix(socket) => Listener::inherited_unix(socket),
            };
            let with_address = listener.and_then(|listener| Ok((listener.address()?, listener)));
            with_address.map_err(|source| WebError::SystemdSocket { index, source })
        };
        self.0.into_iter().enumerate().map(listener).collect()
    }
}

/// How many sockets are meant for this process; those of a parent that passed its environment on are not.
fn handed_over(listen_pid: Option<&str>, listen_fds: Option<&str>, own_pid: i32) -> Option<usize> {
    let ours = listen_pid?.parse() == Ok(own_pid);
    listen_fds?.parse().ok().filter(|count| ours && (1..=MOST_SOCKETS).contains(count))
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<Inherited> {
    let no_listener = || io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket that listens");
    let tcp = sockets.take_tcp_listener(index).ok().flatten().map(Inherited::Tcp);
    let unix = || sockets.take_unix_listener(index).ok().flatten().map(Inherited::Unix);
    let socket = tcp.or_else(unix).ok_or_else(no_listener)?;
    let listens = match &socket {
        Inherited::Tcp(socket) => sockopt::socket_acceptconn(socket.as_fd())?,
        Inherited::Unix(socket) => sockopt::socket_acceptconn(socket.as_fd())?,
    };
    // A unit with `Accept=yes` hands over connections.
    if listens { Ok(socket) } else { Err(no_listener()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_this_process_counts() {
        for (pid, fds, count) in [
            (Some("7"), Some("2"), Some(2)),
            (Some("7"), Some("64"), Some(64)),
            (Some("8"), Some("2"), None),
            (None, Some("2"), None),
            (Some("7"), None, None),
            (Some("7"), Some("0"), None),
            (Some("7"), Some("-1"), None),
            (Some("7"), Some("99999999999"), None),
            (Some("x"), Some("1"), None),
        ] {
            assert_eq!(handed_over(pid, fds, 7), count, "{pid:?} {fds:?}");
        }
    }
}
