//! Messages as bytes: the method calls that are sent, the replies that come back.
//!
//! Only what the collectors ask for can be written (strings); everything basic can be read, in either
//! byte order. Reading checks every length against what is there; nothing is copied.
//!
//! Source: D-Bus specification 0.43, "Message Format" and "Marshaling".

/// What a message is, besides those that the collectors ignore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reply,
    Error,
    Other,
}

const CALL: u8 = 1;
const REPLY: u8 = 2;
const ERROR: u8 = 3;

/// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Fixed part of a header: up to and with the length of the array of fields.
pub(super) const FIXED_HEADER_BYTES: usize = 16;

/// A method call with string arguments.
#[derive(Clone, Copy, Debug)]
pub(in crate::collect) struct Call<'a> {
    /// Bus name of the peer.
    pub(in crate::collect) destination: &'a str,
    /// Object.
    pub(in crate::collect) path: &'a str,
    /// Interface of the method.
    pub(in crate::collect) interface: &'a str,
    /// The method.
    pub(in crate::collect) method: &'a str,
    /// Its arguments, all of type string.
    pub(in crate::collect) arguments: &'a [&'a str],
}

impl Call<'_> {
    /// Appends the message, little-endian.
    pub(super) fn write(&self, serial: u32, out: &mut Vec<u8>) {
        let start = out.len();
        let mut body = Vec::new();
        for argument in self.arguments {
            put_string(&mut body, 0, argument);
        }
        out.extend([b'l', CALL, 0, 1]);
        put_u32(out, length(body.len()));
        put_u32(out, serial);
        put_u32(out, 0);
        let fields_start = out.len();
        let signature = "s".repeat(self.arguments.len());
        for (code, kind, text) in [
            (PATH, b'o', self.path),
            (INTERFACE, b's', self.interface),
            (MEMBER, b's', self.method),
            (DESTINATION, b's', self.destination),
        ] {
            pad(out, start, 8);
            out.extend([code, 1, kind, 0]);
            put_string(out, start, text);
        }
        if !signature.is_empty() {
            pad(out, start, 8);
            out.extend([SIGNATURE, 1, b'g', 0, u8::try_from(signature.len()).unwrap_or(u8::MAX)]);
            out.extend(signature.as_bytes());
            out.push(0);
        }
        let fields_bytes = length(out.len() - fields_start).to_le_bytes();
        if let Some(place) = out.get_mut(fields_start - 4..fields_start) {
            place.copy_from_slice(&fields_bytes);
        }
        pad(out, start, 8);
        out.extend(body);
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn pad(out: &mut Vec<u8>, start: usize, to: usize) {
    let used = out.len() - start;
    out.resize(start + used.next_multiple_of(to), 0);
}

fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend(n.to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, start: usize, text: &str) {
    pad(out, start, 4);
    put_u32(out, length(text.len()));
    out.extend(text.as_bytes());
    out.push(0);
}

/// A header's fixed part: how long the message is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    big_endian: bool,
    fields_bytes: usize,
    body_bytes: usize,
}

impl Frame {
    pub(super) fn read(fixed: &[u8]) -> Option<Self> {
        let (endian, kind) = (*fixed.first()?, *fixed.get(1)?);
        let big_endian = match endian {
            b'l' => false,
            b'B' => true,
            _ => return None,
        };
        let mut reader = Reader { data: fixed, at: 4, big_endian };
        let body_bytes = reader.u32()? as usize;
        reader.u32()?;
        let fields_bytes = reader.u32()? as usize;
        let kind = match kind {
            REPLY => Kind::Reply,
            ERROR => Kind::Error,
            _ => Kind::Other,
        };
        Some(Self { kind, big_endian, fields_bytes, body_bytes })
    }

    /// Bytes that follow the fixed part.
    pub(super) fn rest_bytes(&self) -> Option<usize> {
        self.fields_bytes.checked_next_multiple_of(8)?.checked_add(self.body_bytes)
    }

    /// Header fields and body out of what follows the fixed part.
    pub(super) fn message<'a>(&self, rest: &'a [u8]) -> Option<Message<'a>> {
        let (fields, body) = rest.split_at_checked(self.fields_bytes.next_multiple_of(8))?;
        let fields = fields.get(..self.fields_bytes)?;
        let mut reader = Reader { data: fields, at: 0, big_endian: self.big_endian };
        let body = Reader { data: body, at: 0, big_endian: self.big_endian };
        let mut message = Message { reply_to: 0, error: "", signature: "", body };
        while reader.at < fields.len() {
            reader.align(8)?;
            let code = reader.u8()?;
            match (code, reader.variant()?) {
                (REPLY_SERIAL, Value::Number(serial)) => message.reply_to = u32::try_from(serial).ok()?,
                (ERROR_NAME, Value::Text(name)) => message.error = name,
                (SIGNATURE, Value::Text(signature)) => message.signature = signature,
                _ => {}
            }
        }
        Some(message)
    }
}

/// A message that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Serial of the call that it answers.
    pub(super) reply_to: u32,
    pub(super) error: &'a str,
    pub(super) signature: &'a str,
    pub(super) body: Reader<'a>,
}

/// A value of a basic type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::collect) enum Value<'a> {
    /// A string, an object path or a signature.
    Text(&'a str),
    /// A boolean.
    Flag(bool),
    /// Any unsigned whole number.
    Number(u64),
    /// Any signed whole number.
    Signed(i64),
    /// A floating-point number.
    Real(f64),
}

/// Reads the values of a body in turn; `None` where they are not what was asked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::collect) struct Reader<'a> {
    data: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(bytes)?;
        let taken = self.data.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn align(&mut self, to: usize) -> Option<()> {
        let at = self.at.checked_next_multiple_of(to)?;
        (at <= self.data.len()).then(|| self.at = at)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N)?;
        let mut bytes: [u8; N] = self.take(N)?.try_into().ok()?;
        if self.big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    pub(in crate::collect) fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    /// A string or an object path.
    pub(in crate::collect) fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        let text = self.take(length)?;
        self.u8().filter(|end| *end == 0)?;
        std::str::from_utf8(text).ok()
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(self.u8()?);
        let text = self.take(length)?;
        self.u8().filter(|end| *end == 0)?;
        std::str::from_utf8(text).ok()
    }

    /// A variant that holds a basic type.
    pub(in crate::collect) fn variant(&mut self) -> Option<Value<'a>> {
        Some(match self.signature()? {
            "s" | "o" => Value::Text(self.text()?),
            "g" => Value::Text(self.signature()?),
            "b" => Value::Flag(self.u32()? != 0),
            "y" => Value::Number(self.u8()?.into()),
            "q" => Value::Number(self.fixed().map(u16::from_le_bytes)?.into()),
            "u" | "h" => Value::Number(self.u32()?.into()),
            "t" => Value::Number(self.fixed().map(u64::from_le_bytes)?),
            "n" => Value::Signed(self.fixed().map(i16::from_le_bytes)?.into()),
            "i" => Value::Signed(self.fixed().map(i32::from_le_bytes)?.into()),
            "x" => Value::Signed(self.fixed().map(i64::from_le_bytes)?),
            "d" => Value::Real(self.fixed().map(f64::from_le_bytes)?),
            _ => return None,
        })
    }

    /// An array of structures: calls `each` at the start of each; false if it does not fit.
    pub(in crate::collect) fn structures(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> bool {
        let mut read = || {
            let bytes = self.u32()? as usize;
            self.align(8)?;
            let end = self.at.checked_add(bytes).filter(|end| *end <= self.data.len())?;
            while self.at < end {
                self.align(8)?;
                each(self)?;
            }
            Some(())
        };
        read().is_some()
    }
}

/// The other side of the format, for the peer that the tests play.
#[cfg(test)]
pub(crate) mod peer {
    use super::{FIXED_HEADER_BYTES, Frame, MEMBER, PATH, Reader, Value, length, pad, put_string, put_u32};

    /// A call as it came: serial, object, method, arguments. The length taken stands beside it.
    pub(crate) struct Received {
        pub(crate) serial: u32,
        pub(crate) path: String,
        pub(crate) method: String,
        pub(crate) arguments: Vec<String>,
    }

    /// The first message of `data`, if all of it is there.
    pub(crate) fn take_call(data: &mut Vec<u8>) -> Option<Received> {
        let frame = Frame::read(data.get(..FIXED_HEADER_BYTES)?)?;
        let all = FIXED_HEADER_BYTES + frame.rest_bytes()?;
        let message: Vec<u8> = data.get(..all)?.to_vec();
        data.drain(..all);
        let serial = Reader { data: &message, at: 8, big_endian: false }.u32()?;
        let rest = message.get(FIXED_HEADER_BYTES..)?;
        let mut fields = Reader { data: rest.get(..frame.fields_bytes)?, at: 0, big_endian: false };
        let mut received =
            Received { serial, path: String::new(), method: String::new(), arguments: Vec::new() };
        while fields.at < frame.fields_bytes {
            fields.align(8)?;
            match (fields.u8()?, fields.variant()?) {
                (PATH, Value::Text(text)) => text.clone_into(&mut received.path),
                (MEMBER, Value::Text(text)) => text.clone_into(&mut received.method),
                _ => {}
            }
        }
        let mut body = frame.message(rest)?.body;
        while let Some(argument) = body.text() {
            received.arguments.push(argument.to_owned());
        }
        Some(received)
    }

    /// A reply (2), an error (3) or a signal (4).
    pub(crate) fn put_answer(kind: u8, reply_to: u32, signature: &str, body: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([b'l', kind, 1, 1]);
        put_u32(out, length(body.len()));
        put_u32(out, 1);
        put_u32(out, 0);
        let fields_start = out.len();
        out.extend([super::REPLY_SERIAL, 1, b'u', 0]);
        put_u32(out, reply_to);
        out.extend([super::ERROR_NAME, 1, b's', 0]);
        put_string(out, start, "org.example.Refused");
        pad(out, start, 8);
        out.extend([super::SIGNATURE, 1, b'g', 0, u8::try_from(signature.len()).unwrap()]);
        out.extend(signature.as_bytes());
        out.push(0);
        let fields = length(out.len() - fields_start);
        out[fields_start - 4..fields_start].copy_from_slice(&fields.to_le_bytes());
        pad(out, start, 8);
        out.extend(body);
    }

    /// Values of a body, written in turn.
    #[derive(Default)]
    pub(crate) struct Body(pub(crate) Vec<u8>);

    impl Body {
        pub(crate) fn text(mut self, text: &str) -> Self {
            put_string(&mut self.0, 0, text);
            self
        }

        pub(crate) fn u32(mut self, n: u32) -> Self {
            pad(&mut self.0, 0, 4);
            put_u32(&mut self.0, n);
            self
        }

        /// A variant; `n` holds what is not text.
        pub(crate) fn variant(mut self, kind: u8, text: &str, n: u64) -> Self {
            self.0.extend([1, kind, 0]);
            match kind {
                b's' => self.text(text),
                b't' => {
                    pad(&mut self.0, 0, 8);
                    self.0.extend(n.to_le_bytes());
                    self
                }
                _ => self.u32(u32::try_from(n).unwrap()),
            }
        }

        pub(crate) fn structures<T>(mut self, items: &[T], mut put: impl FnMut(Self, &T) -> Self) -> Self {
            let at = self.0.len();
            self = self.u32(0);
            pad(&mut self.0, 0, 8);
            let start = self.0.len();
            for item in items {
                pad(&mut self.0, 0, 8);
                self = put(self, item);
            }
            let bytes = length(self.0.len() - start);
            self.0[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let mut out = Vec::new();
        let arguments = ["a.b", "Prop"];
        Call { destination: "a.b", path: "/a", interface: "a.I", method: "M", arguments: &arguments }
            .write(7, &mut out);
        assert_eq!(out.get(..4), Some(&[b'l', 1, 0, 1][..]));
        let frame = Frame::read(&out).unwrap();
        assert_eq!(out.len(), FIXED_HEADER_BYTES + frame.rest_bytes().unwrap());
        let mut message = frame.message(&out[FIXED_HEADER_BYTES..]).unwrap();
        assert_eq!(message.signature, "ss");
        assert_eq!((message.body.text(), message.body.text()), (Some("a.b"), Some("Prop")));
        assert_eq!(message.body.text(), None);
    }

    #[test]
    fn variants_in_both_byte_orders() {
        let little = b"\x01u\0\0\x05\0\0\0\x01t\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x01s\0\0\x02\0\0\0hi\0";
        let big = b"\x01u\0\0\0\0\0\x05\x01t\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\x01s\0\0\0\0\0\x02hi\0";
        for (data, big_endian) in [(&little[..], false), (&big[..], true)] {
            let mut reader = Reader { data, at: 0, big_endian };
            assert_eq!(reader.variant(), Some(Value::Number(5)));
            assert_eq!(reader.variant(), Some(Value::Number(9)));
            assert_eq!(reader.variant(), Some(Value::Text("hi")));
            assert_eq!(reader.variant(), None);
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for data in [&b"\xff\xff\xff\xff"[..], b"\x04\0\0\0abc\0", b"\x02\0\0\0ab!", b"\x01\0\0\0\xff\0", b""]
        {
            assert_eq!(Reader { data, at: 0, big_endian: false }.text(), None, "{data:?}");
        }
        let mut endless = Reader { data: b"\xff\xff\xff\xff\0\0\0\0abc", at: 0, big_endian: false };
        assert!(!endless.structures(|r| r.text().map(drop)));
        assert!(Frame::read(b"x\x02\0\x01").is_none());
        let greedy = Frame::read(b"l\x02\0\x01\xff\xff\xff\xff\x01\0\0\0\xff\xff\xff\xff").unwrap();
        assert!(greedy.message(b"").is_none());
    }
}
