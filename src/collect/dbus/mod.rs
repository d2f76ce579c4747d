//! A small D-Bus client: blocking calls over a Unix socket, each read and write under a deadline.
//!
//! Ours, because what the collectors need is three methods and a property, while the crates bring an
//! async runtime of their own (zbus) or are no longer kept up (rustbus). Calls are pipelined: many
//! properties cost a few turns on the bus, not one each.
//!
//! Invariants: no call outlives the deadline; at most [`IN_FLIGHT`] calls wait for an answer; no
//! message above [`MOST_MESSAGE_BYTES`] is read; signals and whatever else comes is skipped.
//!
//! Source: D-Bus specification 0.43 (authentication `EXTERNAL`, server addresses, the message bus).

#[cfg(test)]
pub(super) mod testing;
mod wire;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

pub(super) use wire::{Call, Reader, Value};
use wire::{FIXED_HEADER_BYTES, Frame, Kind};

use super::{CollectError, HostPaths, Pass};

/// Calls sent before the answer to the first has come; below the least that a bus allows (128).
const IN_FLIGHT: usize = 64;

/// Longest message read. The list of 100,000 units has 30 MB.
const MOST_MESSAGE_BYTES: usize = 32 << 20;

/// Longest line of the authentication.
const MOST_LINE_BYTES: usize = 4_096;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Why a call did not give its answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum DbusError {
    /// The socket cannot be connected to, read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The deadline has passed.
    #[error("no answer before the deadline")]
    Deadline,
    /// What came is no D-Bus, or not what the method returns.
    #[error("unexpected answer: {0}")]
    Protocol(&'static str),
    /// The peer refused the call.
    #[error("{name}: {message}")]
    Refused {
        /// The error's name, as `org.freedesktop.DBus.Error.AccessDenied`.
        name: String,
        /// What it says of itself.
        message: String,
    },
}

impl From<DbusError> for CollectError {
    fn from(error: DbusError) -> Self {
        Self::Other(format!("D-Bus: {error}"))
    }
}

/// Where a peer listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// A socket in the file system.
    Path(PathBuf),
    /// A name in Linux's abstract namespace.
    Abstract(String),
}

impl Address {
    /// The system bus: what `DBUS_SYSTEM_BUS_ADDRESS` says, else the host's usual socket.
    pub(super) fn system_bus(paths: &HostPaths) -> Self {
        let given = given_address();
        let usual = || Self::Path(paths.root("run/dbus/system_bus_socket"));
        given.as_deref().and_then(Self::parse).unwrap_or_else(usual)
    }

    /// The first Unix socket of `unix:path=/x,guid=..;tcp:..`.
    fn parse(addresses: &str) -> Option<Self> {
        addresses.split(';').filter_map(|a| a.strip_prefix("unix:")).flat_map(|a| a.split(',')).find_map(
            |pair| match pair.split_once('=')? {
                ("path", path) => Some(Self::Path(path.into())),
                ("abstract", name) => Some(Self::Abstract(name.to_owned())),
                _ => None,
            },
        )
    }
}

/// A connection, used for one pass.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    until: Instant,
    serial: u32,
    /// What has been received and not consumed yet.
    received: Vec<u8>,
}

/// The address of tests is always below the fixture.
#[cfg(test)]
fn given_address() -> Option<String> {
    None
}

#[cfg(not(test))]
fn given_address() -> Option<String> {
    std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok()
}

impl Connection {
    /// Connects to a bus and says hello.
    pub(super) fn bus(address: &Address, pass: &Pass) -> Result<Self, CollectError> {
        let mut connection = Self::direct(address, pass)?;
        let bus = "org.freedesktop.DBus";
        let hello = Call {
            destination: bus,
            path: "/org/freedesktop/DBus",
            interface: bus,
            method: "Hello",
            arguments: &[],
        };
        connection.call(&hello, "s", |mut body| body.text().map(drop))?;
        Ok(connection)
    }

    /// Connects to a peer without a bus between.
    pub(super) fn direct(address: &Address, pass: &Pass) -> Result<Self, CollectError> {
        let stream = connect(address).map_err(|e| match address {
            Address::Path(path) => CollectError::reading(path, e),
            Address::Abstract(name) => CollectError::Other(format!("D-Bus at abstract {name:?}: {e}")),
        })?;
        // What is known by then is still worth more in time than all of it too late.
        let left = pass.deadline.saturating_duration_since(Instant::now());
        let until = pass.deadline - (left / 10).min(Duration::from_millis(200));
        let mut connection = Self { stream, until, serial: 0, received: Vec::new() };
        connection.authenticate()?;
        Ok(connection)
    }

    fn authenticate(&mut self) -> Result<(), DbusError> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        self.write(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let line = loop {
            if let Some(end) = memchr::memmem::find(&self.received, b"\r\n") {
                break self.received.drain(..end + 2).collect::<Vec<_>>();
            }
            if self.received.len() > MOST_LINE_BYTES {
                return Err(DbusError::Protocol("an endless line during authentication"));
            }
            self.receive(MOST_LINE_BYTES)?;
        };
        if !line.starts_with(b"OK ") {
            return Err(DbusError::Protocol("it does not let this user in"));
        }
        self.write(b"BEGIN\r\n")
    }

    /// Calls one method and reads its answer, which must have this signature.
    pub(super) fn call<T>(
        &mut self,
        call: &Call<'_>,
        signature: &'static str,
        read: impl FnOnce(Reader<'_>) -> Option<T>,
    ) -> Result<T, DbusError> {
        let mut read = Some(read);
        let mut answer = Err(DbusError::Protocol("none"));
        self.calls(
            1,
            |_, send| send(call),
            signature,
            |_, body| {
                answer = body.and_then(|body| {
                    let value = read.take().and_then(|read| read(body));
                    value.ok_or(DbusError::Protocol("other values than the method returns"))
                });
            },
        )?;
        answer
    }

    /// Reads many properties. `take` gets each one's place in `wanted`, and its value or why there is
    /// none; that one object refuses is no error of the whole.
    pub(super) fn properties(
        &mut self,
        destination: &str,
        wanted: &[Property<'_>],
        mut take: impl FnMut(usize, Result<Value<'_>, DbusError>),
    ) -> Result<(), DbusError> {
        let send = |at: usize, send: &mut dyn FnMut(&Call<'_>)| {
            if let Some(Property { path, interface, name }) = wanted.get(at) {
                let arguments = [*interface, *name];
                send(&Call {
                    destination,
                    path,
                    interface: PROPERTIES,
                    method: "Get",
                    arguments: &arguments,
                });
            }
        };
        self.calls(wanted.len(), send, "v", |at, body| {
            let value =
                body.and_then(|mut b| b.variant().ok_or(DbusError::Protocol("a value of another type")));
            take(at, value);
        })
    }

    /// One property of one object.
    pub(super) fn property(&mut self, destination: &str, wanted: Property<'_>) -> Result<Owned, DbusError> {
        let mut answer = Err(DbusError::Protocol("none"));
        self.properties(destination, &[wanted], |_, value| answer = value.map(Owned::from))?;
        answer
    }

    /// Sends `count` calls, a few ahead of the answers, and hands each answer's body to `take`.
    fn calls(
        &mut self,
        count: usize,
        mut describe: impl FnMut(usize, &mut dyn FnMut(&Call<'_>)),
        signature: &'static str,
        mut take: impl FnMut(usize, Result<Reader<'_>, DbusError>),
    ) -> Result<(), DbusError> {
        let first_serial = self.serial.wrapping_add(1);
        let (mut sent, mut answered) = (0, 0);
        let mut out = Vec::new();
        while answered < count {
            // Refilled when half empty: writes are few, and the peer always has something to do.
            if sent < count && sent - answered <= IN_FLIGHT / 2 {
                out.clear();
                while sent < count && sent - answered < IN_FLIGHT {
                    self.serial = self.serial.wrapping_add(1);
                    describe(sent, &mut |call| call.write(self.serial, &mut out));
                    sent += 1;
                }
                self.write(&out)?;
            }
            let (frame, rest) = self.next_message()?;
            let message = frame.message(&rest).ok_or(DbusError::Protocol("a torn message"))?;
            let at = message.reply_to.wrapping_sub(first_serial) as usize;
            if frame.kind == Kind::Other || at >= sent {
                continue;
            }
            answered += 1;
            take(at, body_of(frame.kind, &message, signature));
        }
        Ok(())
    }

    /// The next message's frame, and what follows its fixed part.
    fn next_message(&mut self) -> Result<(Frame, Vec<u8>), DbusError> {
        self.receive_at_least(FIXED_HEADER_BYTES)?;
        let frame = Frame::read(&self.received).ok_or(DbusError::Protocol("no D-Bus message"))?;
        let rest = frame.rest_bytes().filter(|bytes| *bytes <= MOST_MESSAGE_BYTES);
        let all = rest.ok_or(DbusError::Protocol("a message that is too long"))? + FIXED_HEADER_BYTES;
        self.receive_at_least(all)?;
        let rest = self.received.get(FIXED_HEADER_BYTES..all).unwrap_or_default().to_vec();
        self.received.drain(..all);
        Ok((frame, rest))
    }

    fn receive_at_least(&mut self, bytes: usize) -> Result<(), DbusError> {
        while self.received.len() < bytes {
            let missing = bytes - self.received.len();
            self.receive(missing.clamp(4_096, 1 << 20))?;
        }
        Ok(())
    }

    fn receive(&mut self, most: usize) -> Result<(), DbusError> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        let had = self.received.len();
        self.received.resize(had + most, 0);
        let got = self.stream.read(self.received.get_mut(had..).unwrap_or_default());
        self.received.truncate(had + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) => Err(DbusError::Io(io::ErrorKind::UnexpectedEof.into())),
            Err(e) if !is_timeout(&e) && e.kind() != io::ErrorKind::Interrupted => Err(DbusError::Io(e)),
            // Whether time is up, the next call of `left` says.
            _ => Ok(()),
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), DbusError> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(DbusError::Io(io::ErrorKind::WriteZero.into())),
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(e) if is_timeout(&e) || e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(DbusError::Io(e)),
            }
        }
        Ok(())
    }

    fn left(&self) -> Result<Duration, DbusError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(DbusError::Deadline) } else { Ok(left) }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn body_of<'a>(
    kind: Kind,
    message: &wire::Message<'a>,
    signature: &'static str,
) -> Result<Reader<'a>, DbusError> {
    if kind == Kind::Error {
        let mut body = message.body;
        let said = if message.signature.starts_with('s') { body.text() } else { None };
        let name = message.error.to_owned();
        return Err(DbusError::Refused { name, message: said.unwrap_or_default().to_owned() });
    }
    if message.signature != signature {
        return Err(DbusError::Protocol("another type than the method returns"));
    }
    Ok(message.body)
}

/// Fails at once where the peer's backlog is full: a blocking `connect` would have no deadline.
fn connect(address: &Address) -> io::Result<UnixStream> {
    let address = match address {
        Address::Path(path) => SocketAddrUnix::new(path)?,
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A property to ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Property<'a> {
    /// The object.
    pub(super) path: &'a str,
    /// The interface that has it.
    pub(super) interface: &'a str,
    /// Its name.
    pub(super) name: &'a str,
}

/// A [`Value`] that outlives its message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Owned {
    /// See [`Value::Text`].
    Text(String),
    /// Every other type, as a sample has it.
    Number(f64),
}

impl From<Value<'_>> for Owned {
    #[expect(clippy::cast_precision_loss, reason = "samples are f64")]
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Flag(flag) => Self::Number(f64::from(u8::from(flag))),
            Value::Number(n) => Self::Number(n as f64),
            Value::Signed(n) => Self::Number(n as f64),
            Value::Real(n) => Self::Number(n),
        }
    }
}

impl Owned {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) => None,
        }
    }
}
