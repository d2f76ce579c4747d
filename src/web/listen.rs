//! Sockets that wait for clients: made, accepted from, and taken away again.
//!
//! Invariants: an address without a host listens on IPv6 and IPv4 in one socket, on IPv4 alone where
//! the machine has no IPv6; a Unix socket left behind by a process that is gone is replaced, one that
//! answers never is; its permissions are in force before anyone can connect.
//!
//! Source: ipv6(7) `IPV6_V6ONLY`, unix(7), Go's `net.Listen`.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::ListenAddress;

use crate::model::ColdSort;

/// Clients that the kernel keeps waiting for `accept`; it lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 1_024;

/// An address that is being listened on, with the port that the kernel chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl BoundAddress {
    /// The TCP address, if it is one.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    /// The file is ours to remove, unless the service manager made the socket.
    Unix(UnixListener, Option<SocketFile>),
}

impl Listener {
    /// Listens on `address`. Errors: as the kernel says, or that another process serves the socket.
    pub(super) async fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Unix { path, mode } => bind_unix(path, *mode),
            ListenAddress::Tcp { host: None, port } => bind_all_interfaces(*port),
            ListenAddress::Tcp { host: Some(host), port } => bind_host(host, *port).await,
        }
    }

    /// A socket of the service manager's.
    pub(super) fn inherited_tcp(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Self::Tcp)
    }

    /// A Unix socket of the service manager's, which also takes its file away.
    pub(super) fn inherited_unix(socket: std::os::unix::net::UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket).map(|listener| Self::Unix(listener, None))
    }

    /// Where it listens.
    pub(super) fn address(&self) -> io::Result<BoundAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(BoundAddress::Tcp),
            Self::Unix(_, Some(file)) => Ok(BoundAddress::Unix(file.path.clone())),
            // An abstract socket has a name but no path.
            Self::Unix(listener, None) => Ok(BoundAddress::Unix(
                listener.local_addr()?.as_pathname().unwrap_or(Path::new("(no path)")).to_owned(),
            )),
        }
    }

    /// The next client.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Responses are written whole; waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

fn bind_all_interfaces(port: u16) -> io::Result<Listener> {
    let wildcard = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match bind_tcp(wildcard, AddressFamily::INET6) {
        Err(e) if no_ipv6(&e) => {
            bind_tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), AddressFamily::INET)
        }
        bound => bound,
    }
}

/// IPv6 compiled out, switched off by `ipv6.disable=1`, or by `net.ipv6.conf.all.disable_ipv6`.
fn no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT))
}

/// The first address of the host that can be bound, IPv4 first as Go does.
async fn bind_host(host: &str, port: u16) -> io::Result<Listener> {
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    addresses.cold_sort_by_key(SocketAddr::is_ipv6);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        match bind_tcp(address, family) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_tcp(address: SocketAddr, family: AddressFamily) -> io::Result<Listener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // A restart must not wait for the last run's connections to leave TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into()).map(Listener::Tcp)
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<Listener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The socket's own mode, less the umask, becomes the file's at `bind`: no moment of open access.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    let name = SocketAddrUnix::new(path)?;
    match rustix::net::bind(&socket, &name) {
        Err(rustix::io::Errno::ADDRINUSE) => {
            remove_stale(path)?;
            rustix::net::bind(&socket, &name)?;
        }
        bound => bound?,
    }
    let file = SocketFile::of(path)?;
    // What the umask took away.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = std::os::unix::net::UnixListener::from(socket);
    UnixListener::from_std(listener).map(|listener| Listener::Unix(listener, Some(file)))
}

/// Removes the socket at `path` if nobody answers there.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket is there"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(e) => Err(e),
    }
}

/// The file of a Unix socket; removed with the listener, unless another process has replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), device_and_inode: identity(path)? })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.device_and_inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A connection as accepted, before TLS.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Waits for the first byte without taking it.
    pub(super) async fn first_byte(&self) -> io::Result<u8> {
        let mut byte = [0];
        let peek = |fd: BorrowedFd<'_>, byte: &mut [u8]| -> io::Result<usize> {
            Ok(rustix::net::recv(fd, byte, RecvFlags::PEEK)?.0)
        };
        let count = match self {
            Self::Tcp(s) => s.async_io(Interest::READABLE, || peek(s.as_fd(), &mut byte)).await?,
            Self::Unix(s) => s.async_io(Interest::READABLE, || peek(s.as_fd(), &mut byte)).await?,
        };
        let [byte] = byte;
        if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(byte) }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Self::Unix(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_flush(cx),
            Self::Unix(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bind(text: &str) -> io::Result<Listener> {
        Listener::bind(&text.parse().expect(text)).await
    }

    #[tokio::test]
    async fn an_address_without_host_serves_ipv4_and_where_possible_ipv6() {
        let listener = bind(":0").await.unwrap();
        let bound = listener.address().unwrap().tcp().unwrap();
        assert!(bound.ip().is_unspecified());
        let clients = [
            SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port())),
            (Ipv6Addr::LOCALHOST, bound.port()).into(),
        ];
        for client in clients.into_iter().filter(|c| c.is_ipv4() || bound.is_ipv6()) {
            let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(client));
            assert!(accepted.is_ok() && connected.is_ok(), "{client}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error() {
        let first = bind("127.0.0.1:0").await.unwrap();
        let again = bind(&first.address().unwrap().to_string()).await.unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o.sock");
        let text = format!("unix:{},mode=0600", path.display());
        // Dropping a std listener leaves its file: a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = bind(&text).await.expect("stale socket replaced");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let second = bind(&text).await.unwrap_err();
        assert!(second.to_string().contains("another process"), "{second}");
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(listener);
        assert!(!path.exists(), "removed with the listener");
        fs::write(&path, "data").unwrap();
        let not_a_socket = bind(&text).await.unwrap_err();
        assert!(not_a_socket.to_string().contains("not a socket"), "{not_a_socket}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }
}
