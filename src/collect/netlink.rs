//! Netlink: asks the kernel for tables of links, neighbours, routes, sockets. No unsafe.
//!
//! A [`Netlink`] socket belongs to the network namespace that the process was in when it was opened,
//! so its answers describe that namespace whatever `--path.procfs` says. It is opened at first use
//! and kept; an error closes it, so that what is left of an answer is never taken for the next one.
//!
//! Invariants: a request ends by the pass's deadline; one message is held at a time, [`MAX_MESSAGE_BYTES`]
//! at most; no input panics - a message that is cut short ends the walk.
//!
//! Sources: kernel `include/uapi/linux/netlink.h`, `Documentation/userspace-api/netlink/`.

use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

use super::CollectError;

/// Room for one answer; the kernel makes its parts of a dump no longer than what was offered.
const USUAL_MESSAGE_BYTES: usize = 32 << 10;
/// Longest answer accepted: a link with thousands of virtual functions stays below.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Longest silence; the kernel answers at once, so this only guards against a bug in it.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(2);

const HEADER_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Links, addresses, neighbours, routes, queueing disciplines.
    Route,
    /// Sockets.
    SocketDiagnostics,
    /// Families found by name: nl80211, ethtool.
    Generic,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    /// The system refused a call, or the kernel the request.
    #[error("netlink: {0}")]
    System(#[from] Errno),
    /// No complete answer by the deadline.
    #[error("netlink: no complete answer in time")]
    TimedOut,
    /// An answer longer than [`MAX_MESSAGE_BYTES`].
    #[error("netlink: answer of {0} bytes")]
    TooLong(usize),
}

impl NetlinkError {
    /// The system's code, if it is one.
    pub(crate) const fn errno(&self) -> Option<Errno> {
        match self {
            Self::System(errno) => Some(*errno),
            Self::TimedOut | Self::TooLong(_) => None,
        }
    }
}

impl From<NetlinkError> for CollectError {
    fn from(error: NetlinkError) -> Self {
        Self::Other(error.to_string())
    }
}

/// A socket to the kernel, opened at first use.
#[derive(Debug)]
pub(crate) struct Netlink {
    protocol: Protocol,
    socket: Option<OwnedFd>,
    sequence: u32,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Netlink {
    pub(crate) const fn new(protocol: Protocol) -> Self {
        Self { protocol, socket: None, sequence: 0, request: Vec::new(), answer: Vec::new() }
    }

    /// Asks for a whole table and hands each of its messages (type and payload) to `each`.
    ///
    /// # Errors
    /// The kernel's refusal, or no end of the table by `deadline`.
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        payload: &[u8],
        deadline: Instant,
        each: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        self.ask(kind, NLM_F_DUMP, payload, deadline, each)
    }

    /// Asks one question; its answer is handed to `each`.
    ///
    /// # Errors
    /// As [`Self::dump`].
    pub(crate) fn request(
        &mut self,
        kind: u16,
        payload: &[u8],
        deadline: Instant,
        each: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        self.ask(kind, NLM_F_ACK, payload, deadline, each)
    }

    /// The name of the interface with this index; `None` where it is gone.
    pub(crate) fn interface_name(&mut self, index: u32) -> Option<String> {
        rustix::net::netdevice::index_to_name(self.open().ok()?, index).ok()
    }

    fn open(&mut self) -> Result<&OwnedFd, Errno> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open(self.protocol)?,
        };
        Ok(self.socket.insert(socket))
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        deadline: Instant,
        each: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        let result = self.ask_once(kind, flags, payload, deadline, each);
        if result.is_err() {
            self.socket = None;
        }
        result
    }

    fn ask_once(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        deadline: Instant,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        self.open()?;
        self.sequence = self.sequence.wrapping_add(1);
        write_request(&mut self.request, kind, flags, self.sequence, payload);
        let Some(socket) = &self.socket else { return Err(Errno::BADF.into()) };
        rustix::net::send(socket, &self.request, SendFlags::empty())?;
        loop {
            if Instant::now() >= deadline {
                return Err(NetlinkError::TimedOut);
            }
            let part = receive(socket, &mut self.answer)?;
            for message in messages(part).filter(|m| m.sequence == self.sequence) {
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => return status(message.payload),
                    kind => each(kind, message.payload),
                }
            }
        }
    }
}

fn open(protocol: Protocol) -> Result<OwnedFd, Errno> {
    let protocol = match protocol {
        // NETLINK_ROUTE is 0, which the protocol argument spells as "none given".
        Protocol::Route => None,
        Protocol::SocketDiagnostics => Some(netlink::SOCK_DIAG),
        Protocol::Generic => Some(netlink::GENERIC),
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(RECEIVE_TIMEOUT))?;
    Ok(socket)
}

fn write_request(request: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, payload: &[u8]) {
    let length = u32::try_from(HEADER_BYTES + payload.len()).unwrap_or(u32::MAX);
    request.clear();
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    request.extend_from_slice(&sequence.to_ne_bytes());
    request.extend_from_slice(&0_u32.to_ne_bytes());
    request.extend_from_slice(payload);
}

/// One datagram. Its length is asked for first: a longer one than the buffer would be cut.
fn receive<'a>(socket: &OwnedFd, answer: &'a mut Vec<u8>) -> Result<&'a [u8], NetlinkError> {
    let length = retry(|| {
        let mut nothing = [0_u8; 0];
        rustix::net::recv(socket, &mut nothing, RecvFlags::PEEK | RecvFlags::TRUNC)
    })?
    .1;
    if length > MAX_MESSAGE_BYTES {
        return Err(NetlinkError::TooLong(length));
    }
    answer.resize(length.max(USUAL_MESSAGE_BYTES), 0);
    let (_, length) = retry(|| rustix::net::recv(socket, answer.as_mut_slice(), RecvFlags::TRUNC))?;
    Ok(answer.get(..length).unwrap_or_default())
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, NetlinkError> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(NetlinkError::TimedOut),
            result => return Ok(result?),
        }
    }
}

/// Both NLMSG_DONE and NLMSG_ERROR begin with zero or a negated error code.
fn status(payload: &[u8]) -> Result<(), NetlinkError> {
    /// Error codes end here; the system call layer can tell no larger one.
    const LAST_CODE: i32 = -4_095;
    match u32_at(payload, 0).map_or(0, u32::cast_signed) {
        code @ LAST_CODE..0 => Err(Errno::from_raw_os_error(-code).into()),
        code if code < 0 => Err(Errno::PROTO.into()),
        _ => Ok(()),
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The messages of a datagram, up to the first that is cut short.
fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        let payload = rest.get(HEADER_BYTES..length)?;
        let message = Message { kind: u16_at(rest, 4)?, sequence: u32_at(rest, 8)?, payload };
        rest = rest.get(align(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes (type and value) in `bytes`, up to the first that is cut short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// From the bytes after a message's fixed header, or those of a nested attribute.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// After a fixed header of this many bytes.
    pub(crate) fn after(payload: &'a [u8], header: usize) -> Self {
        Self(payload.get(header..).unwrap_or_default())
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        /// Flags "nested" and "network byte order" share the type's field.
        const TYPE_MASK: u16 = 0x3fff;
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(u16_at(rest, 0)?);
            let value = rest.get(4..length)?;
            let kind = u16_at(rest, 2)? & TYPE_MASK;
            rest = rest.get(align(length)..).unwrap_or_default();
            Some((kind, value))
        })
    }

    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|(k, _)| *k == kind).map(|(_, value)| value)
    }

    /// The attributes nested in this one; none where it is missing.
    pub(crate) fn nested(self, kind: u16) -> Self {
        Self(self.get(kind).unwrap_or_default())
    }

    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        u32_at(self.get(kind)?, 0)
    }

    /// A string without its terminating zero.
    pub(crate) fn text(self, kind: u16) -> Option<&'a [u8]> {
        let value = self.get(kind)?;
        Some(value.split(|b| *b == 0).next().unwrap_or_default())
    }
}

/// Appends an attribute to a request.
pub(crate) fn push_attribute(request: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(value);
    request.resize(align(request.len()), 0);
}

const fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// A 16-bit number in the machine's byte order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// A 32-bit number in the machine's byte order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// A 64-bit number in the machine's byte order.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_request(&mut bytes, kind, 0, sequence, payload);
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let mut attributes = Vec::new();
        push_attribute(&mut attributes, 3, b"eth0\0");
        push_attribute(&mut attributes, 0x8000 | 4, &7_u32.to_ne_bytes());
        let both = [message(16, 1, &attributes), message(17, 2, b"")].concat();
        let got: Vec<_> = messages(&both).map(|m| (m.kind, m.sequence)).collect();
        assert_eq!(got, [(16, 1), (17, 2)]);
        let read = Attributes::new(messages(&both).next().unwrap().payload);
        assert_eq!((read.text(3), read.u32(4), read.u32(5)), (Some(&b"eth0"[..]), Some(7), None));
    }

    #[test]
    fn an_error_code_is_an_error_and_zero_is_not() {
        assert!(status(&0_i32.to_ne_bytes()).is_ok() && status(b"").is_ok());
        let refused = status(&(-1_i32).to_ne_bytes()).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::PERM));
        assert!(status(&i32::MIN.to_ne_bytes()).is_err());
    }

    #[test]
    fn the_kernel_answers_and_refuses() {
        let mut socket = Netlink::new(Protocol::Route);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut links = 0;
        for _ in 0..2 {
            socket.dump(18, &[0; 16], deadline, |_, _| links += 1).unwrap();
        }
        assert!(links >= 2, "the loopback, twice");
        assert_eq!(socket.interface_name(1).as_deref(), Some("lo"));
        let refused = socket.request(9_999, &[], deadline, |_, _| ()).unwrap_err();
        assert!(refused.errno().is_some(), "{refused}");
        let late = socket.dump(18, &[0; 16], Instant::now(), |_, _| ());
        assert!(matches!(late, Err(NetlinkError::TimedOut)));
        socket.dump(18, &[0; 16], deadline, |_, _| ()).unwrap();
    }

    proptest! {
        #[test]
        fn garbage_ends_the_walk(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for message in messages(&bytes) {
                prop_assert!(message.payload.len() < bytes.len());
                for (_, value) in Attributes::new(message.payload).iter() {
                    prop_assert!(value.len() < message.payload.len());
                }
            }
            prop_assert!(Attributes::new(&bytes).iter().count() <= bytes.len() / 4);
            let _ = status(&bytes);
        }

        #[test]
        fn a_damaged_message_never_reaches_beyond_its_end(
            at in 0_usize..64, byte: u8, cut in 0_usize..64,
        ) {
            let mut attributes = Vec::new();
            push_attribute(&mut attributes, 1, &[1; 6]);
            push_attribute(&mut attributes, 2, &[2; 20]);
            let mut bytes = message(16, 1, &attributes);
            if let Some(b) = bytes.get_mut(at) {
                *b = byte;
            }
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            for message in messages(&bytes) {
                let _ = Attributes::new(message.payload).iter().count();
            }
        }
    }
}
