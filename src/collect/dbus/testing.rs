//! A bus that the tests play: a Unix socket, the authentication, and answers from a closure.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

pub(crate) use super::wire::peer::Body;
use super::wire::peer::{put_answer, take_call};

/// What the peer says to a call.
pub(crate) enum Answer {
    /// Signature and body.
    Reply(&'static str, Body),
    Refuse,
    /// Nothing, and the connection stays open.
    Silence,
    /// These bytes in place of a message.
    Raw(Vec<u8>),
}

impl Answer {
    pub(crate) fn text(text: &str) -> Self {
        Self::Reply("v", Body::default().variant(b's', text, 0))
    }

    /// `kind` is the type's code: `u`, `t` or `b`.
    pub(crate) fn number(kind: u8, n: u64) -> Self {
        Self::Reply("v", Body::default().variant(kind, "", n))
    }
}

/// Serves connections at `socket` until the test ends. The closure gets the object, the method and its arguments.
pub(crate) fn serve(socket: &Path, answer: impl Fn(&str, &str, &[&str]) -> Answer + Send + 'static) {
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that leaves in the middle is a test's right.
            let _ = stream.and_then(|s| converse(s, &answer));
        }
    });
}

fn converse(mut stream: UnixStream, answer: &impl Fn(&str, &str, &[&str]) -> Answer) -> std::io::Result<()> {
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n") {
        read_more(&mut stream, &mut received)?;
    }
    assert!(received.starts_with(b"\0AUTH EXTERNAL "), "{received:?}");
    stream.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n")?;
    received.clear();
    while !received.starts_with(b"BEGIN\r\n") {
        read_more(&mut stream, &mut received)?;
    }
    received.drain(..7);
    loop {
        let mut out = Vec::new();
        while let Some(call) = take_call(&mut received) {
            let arguments: Vec<_> = call.arguments.iter().map(String::as_str).collect();
            // A signal in between must not confuse the client.
            put_answer(4, 0, "s", &Body::default().text("NameAcquired").0, &mut out);
            let answer = match call.method.as_str() {
                "Hello" => Answer::Reply("s", Body::default().text(":1.1")),
                method => answer(&call.path, method, &arguments),
            };
            match answer {
                Answer::Reply(signature, body) => put_answer(2, call.serial, signature, &body.0, &mut out),
                Answer::Refuse => {
                    put_answer(3, call.serial, "s", &Body::default().text("not allowed").0, &mut out);
                }
                Answer::Silence => {}
                Answer::Raw(bytes) => out.extend(bytes),
            }
        }
        stream.write_all(&out)?;
        read_more(&mut stream, &mut received)?;
    }
}

fn read_more(stream: &mut UnixStream, into: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 4_096];
    match stream.read(&mut buffer)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        n => {
            into.extend(&buffer[..n]);
            Ok(())
        }
    }
}
