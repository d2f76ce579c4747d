//! Messages of the DNS: a question written, an answer read; records print as zone files have them.
//!
//! Invariant: no answer makes it panic, loop or grow: compression pointers are followed a bounded number of times,
//! records are counted, lengths are held against what is there. Source: RFC 1035 sections 3 and 4, RFC 3596, RFC 2782,
//! RFC 8659.

mod printed;
mod text;

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

pub(crate) use self::text::RECORD_TYPES;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 0: it is there; 3: there is no such name; anything else: the server failed.
    pub(crate) code: u8,
    /// It did not fit, and is to be asked for over TCP; what came of it is here.
    pub(crate) truncated: bool,
    pub(crate) answer: Vec<Record>,
    pub(crate) authority: Vec<Record>,
    pub(crate) additional: Vec<Record>,
}

/// A resource record; names end with their dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    /// In seconds.
    pub(crate) ttl: u32,
    pub(crate) data: RecordData,
}

/// What a record says, by its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordData {
    /// A, AAAA.
    Address(IpAddr),
    /// NS, CNAME, PTR.
    Name(String),
    /// SOA; its numbers are refresh, retry, expire and minimum, in seconds.
    Authority { server: String, mailbox: String, serial: u32, numbers: [u32; 4] },
    /// MX.
    Exchange { preference: u16, host: String },
    /// TXT.
    Text(Vec<Vec<u8>>),
    /// SRV.
    Service { priority: u16, weight: u16, port: u16, host: String },
    /// CAA.
    Issuer { flags: u8, tag: Vec<u8>, value: Vec<u8> },
    /// A type that is only ever shown.
    Printed(String),
    /// A type whose form is not known here.
    Other(Vec<u8>),
}

/// The answer is no message of the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("shorter than a header")]
    Short,
    #[error("a name or record does not end where it says")]
    Broken,
}

const HEADER_BYTES: usize = 12;

/// Most records read from an answer.
const MOST_RECORDS: usize = 4_096;

/// Pointers followed within one name.
const MOST_POINTERS: usize = 32;

const LONGEST_NAME: usize = 255;

/// An identifier for a question. Unforeseeable enough: each hasher of the standard library has keys of its own.
#[must_use]
pub(crate) fn random_id() -> u16 {
    let [high, low, ..] = RandomState::new().hash_one(0_u8).to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// A question; `None` for a name that the DNS cannot have.
#[must_use]
pub(crate) fn question(id: u16, name: &str, kind: u16, class: u16, recursion: bool) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(64);
    message.extend(id.to_be_bytes());
    message.extend([u8::from(recursion), 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.').filter(|_| name != ".") {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(class.to_be_bytes());
    (message.len() <= HEADER_BYTES + LONGEST_NAME + 4).then_some(message)
}

/// Reads the answer to the question with this id; `Ok(None)` if it is another's.
///
/// # Errors
///
/// If the bytes are no message, or one that does not hold what it says.
pub(crate) fn read_answer(message: &[u8], id: u16) -> Result<Option<Answer>, MessageError> {
    let Some([id_high, id_low, flags, code, ..]) = message.get(..HEADER_BYTES) else {
        return Err(MessageError::Short);
    };
    if u16::from_be_bytes([*id_high, *id_low]) != id || flags & 0x80 == 0 {
        return Ok(None);
    }
    read_sections(message, *flags, *code).map(Some).ok_or(MessageError::Broken)
}

fn read_sections(message: &[u8], flags: u8, code: u8) -> Option<Answer> {
    let mut reader = Reader { message, at: 4 };
    let [questions, sections @ ..] = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    for _ in 0..questions {
        reader.name()?;
        reader.skip(4)?;
    }
    let truncated = flags & 0x02 != 0;
    let mut answer = Answer { code: code & 0x0f, truncated, ..Answer::default() };
    let mut room = MOST_RECORDS;
    for (section, count) in sections.into_iter().enumerate() {
        for _ in 0..count {
            room = room.checked_sub(1)?;
            let Some(record) = reader.record() else {
                // Cut off where the datagram ended.
                return truncated.then_some(answer);
            };
            match section {
                0 => answer.answer.push(record),
                1 => answer.authority.push(record),
                _ => answer.additional.push(record),
            }
        }
    }
    Some(answer)
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn skip(&mut self, bytes: usize) -> Option<&'m [u8]> {
        let part = self.message.get(self.at..self.at.checked_add(bytes)?)?;
        self.at += bytes;
        Some(part)
    }

    fn rest(&mut self) -> Option<&'m [u8]> {
        self.skip(self.message.len().checked_sub(self.at)?)
    }

    fn u8(&mut self) -> Option<u8> {
        self.skip(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.skip(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.skip(4)?.try_into().ok()?))
    }

    fn record(&mut self) -> Option<Record> {
        let name = self.name()?;
        let (kind, class, ttl) = (self.u16()?, self.u16()?, self.u32()?);
        let length = usize::from(self.u16()?);
        let start = self.at;
        self.skip(length)?;
        let mut inner = Reader { message: self.message.get(..start + length)?, at: start };
        Some(Record { name, kind, class, ttl, data: inner.data(kind)? })
    }

    /// The data of a record, which ends where the message of this reader ends.
    fn data(&mut self, kind: u16) -> Option<RecordData> {
        Some(match kind {
            1 => RecordData::Address(IpAddr::from(<[u8; 4]>::try_from(self.rest()?).ok()?)),
            28 => RecordData::Address(IpAddr::from(<[u8; 16]>::try_from(self.rest()?).ok()?)),
            2 | 5 | 12 => RecordData::Name(self.name()?),
            6 => RecordData::Authority {
                server: self.name()?,
                mailbox: self.name()?,
                serial: self.u32()?,
                numbers: [self.u32()?, self.u32()?, self.u32()?, self.u32()?],
            },
            15 => RecordData::Exchange { preference: self.u16()?, host: self.name()? },
            // TXT, and what it was called for a while: SPF.
            16 | 99 => {
                let mut parts = Vec::new();
                while self.at < self.message.len() {
                    let length = usize::from(self.u8()?);
                    parts.push(self.skip(length)?.to_vec());
                }
                RecordData::Text(parts)
            }
            33 => RecordData::Service {
                priority: self.u16()?,
                weight: self.u16()?,
                port: self.u16()?,
                host: self.name()?,
            },
            257 => {
                let (flags, length) = (self.u8()?, usize::from(self.u8()?));
                RecordData::Issuer { flags, tag: self.skip(length)?.to_vec(), value: self.rest()?.to_vec() }
            }
            kind => match self.printed(kind)? {
                Some(text) => RecordData::Printed(text),
                None => RecordData::Other(self.rest()?.to_vec()),
            },
        })
    }

    /// A name with its final dot.
    fn name(&mut self) -> Option<String> {
        let (mut name, mut at, mut after, mut pointers) = (String::new(), self.at, None, 0);
        loop {
            let length = *self.message.get(at)?;
            match length {
                0 => break,
                0xc0.. => {
                    let low = *self.message.get(at + 1)?;
                    after.get_or_insert(at + 2);
                    at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    pointers += 1;
                }
                64.. => return None,
                length => {
                    let label = self.message.get(at + 1..at + 1 + usize::from(length))?;
                    push_label(label, &mut name);
                    at += 1 + usize::from(length);
                }
            }
            // Each byte may be written as four.
            if pointers > MOST_POINTERS || name.len() > 4 * LONGEST_NAME {
                return None;
            }
        }
        self.at = after.unwrap_or(at + 1);
        Some(if name.is_empty() { ".".to_owned() } else { name })
    }
}

/// A label and its dot; what is no letter of a name is escaped, as in zone files.
fn push_label(label: &[u8], name: &mut String) {
    for byte in label {
        // Writing to a string does not fail.
        let _ = match byte {
            b'.' | b'(' | b')' | b';' | b' ' | b'@' | b'"' | b'\\' => write!(name, "\\{}", char::from(*byte)),
            b'!'..=b'~' => write!(name, "{}", char::from(*byte)),
            byte => write!(name, "\\{byte:03}"),
        };
    }
    name.push('.');
}

/// Writes answers, for those who play name server.
#[cfg(test)]
pub(crate) mod testing {
    use super::{HEADER_BYTES, Reader};

    /// Name and type that a query asks for.
    pub(crate) fn question_of(query: &[u8]) -> (String, u16) {
        let mut reader = Reader { message: query, at: HEADER_BYTES };
        (reader.name().unwrap(), reader.u16().unwrap())
    }

    /// An answer to a query: code, and of each section type and data of its records.
    pub(crate) fn answer(query: &[u8], code: u8, sections: [&[(u16, Vec<u8>)]; 3]) -> Vec<u8> {
        let mut reply = query.to_vec();
        reply[2] |= 0x80;
        reply[3] = code;
        for (index, records) in sections.into_iter().enumerate() {
            reply[7 + 2 * index] = u8::try_from(records.len()).unwrap();
            for (kind, data) in records {
                reply.extend([0xc0, 12]);
                reply.extend(kind.to_be_bytes());
                reply.extend([0, 1, 0, 0, 0, 60]);
                reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
                reply.extend(data);
            }
        }
        reply
    }
}

#[cfg(test)]
mod tests;
