//! DNS messages: a question written, an answer read.
//!
//! Invariant: no answer makes it panic or loop: compression pointers are followed a bounded number of times.
//!
//! Source: RFC 1035 section 4; RFC 3596; RFC 2782.

use std::net::IpAddr;

/// What an answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    Service { host: String, port: u16 },
    Exchange(String),
    NameServer(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// 0: it is there; 3: there is no such name; anything else: the server failed.
    pub(super) code: u8,
    /// It did not fit, and is to be asked for over TCP.
    pub(super) truncated: bool,
    pub(super) records: Vec<Record>,
}

const HEADER_BYTES: usize = 12;

/// Most records read from an answer.
const MOST_RECORDS: usize = 4_096;

/// Pointers followed within one name.
const MOST_POINTERS: usize = 32;

/// Longest name, in bytes.
const LONGEST_NAME: usize = 255;

/// A question; `None` for a name that the DNS cannot have.
pub(super) fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(64);
    message.extend(id.to_be_bytes());
    // Recursion desired; one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    (message.len() <= HEADER_BYTES + LONGEST_NAME + 4).then_some(message)
}

/// Reads the answer to the question with this id; `None` if it is none.
pub(super) fn read_answer(message: &[u8], id: u16) -> Option<Answer> {
    let [id_high, id_low, flags, code, ..] = *message.get(..HEADER_BYTES)? else { return None };
    if u16::from_be_bytes([id_high, id_low]) != id || flags & 0x80 == 0 {
        return None;
    }
    let mut reader = Reader { message, at: 4 };
    let questions = reader.u16()?;
    let answers = reader.u16()?;
    reader.at = HEADER_BYTES;
    for _ in 0..questions {
        reader.name()?;
        reader.skip(4)?;
    }
    let mut records = Vec::new();
    for _ in 0..usize::from(answers).min(MOST_RECORDS) {
        match reader.record() {
            Some(record) => records.extend(record),
            // Cut off where the datagram ended.
            None if flags & 0x02 != 0 => break,
            None => return None,
        }
    }
    Some(Answer { code: code & 0x0f, truncated: flags & 0x02 != 0, records })
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

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.skip(2)?.try_into().ok()?))
    }

    /// `None`: the message ends; `Some(None)`: a record of no use.
    fn record(&mut self) -> Option<Option<Record>> {
        self.name()?;
        let kind = self.u16()?;
        self.skip(6)?;
        let length = usize::from(self.u16()?);
        let start = self.at;
        let data = self.skip(length)?;
        let mut inner = Reader { message: self.message, at: start };
        Some(match kind {
            1 => Some(Record::Address(IpAddr::from(<[u8; 4]>::try_from(data).ok()?))),
            28 => Some(Record::Address(IpAddr::from(<[u8; 16]>::try_from(data).ok()?))),
            2 => Some(Record::NameServer(inner.name()?)),
            15 => {
                inner.skip(2)?;
                Some(Record::Exchange(inner.name()?))
            }
            33 => {
                inner.skip(4)?;
                let port = inner.u16()?;
                Some(Record::Service { host: inner.name()?, port })
            }
            _ => None,
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
                    name.push_str(&String::from_utf8_lossy(label));
                    name.push('.');
                    at += 1 + usize::from(length);
                }
            }
            if pointers > MOST_POINTERS || name.len() > 4 * LONGEST_NAME {
                return None;
            }
        }
        self.at = after.unwrap_or(at + 1);
        Some(if name.is_empty() { ".".to_owned() } else { name })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Name and type that a query asks for.
    pub(in super::super) fn question_of(query: &[u8]) -> (String, u16) {
        let mut reader = Reader { message: query, at: HEADER_BYTES };
        (reader.name().unwrap(), reader.u16().unwrap())
    }

    /// An answer to a query: code, and type and data of each record.
    pub(in super::super) fn answer(query: &[u8], code: u8, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut reply = query.to_vec();
        reply[2] |= 0x80;
        reply[3] = code;
        reply[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            reply.extend([0xc0, 12]);
            reply.extend(kind.to_be_bytes());
            reply.extend([0, 1, 0, 0, 0, 60]);
            reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            reply.extend(data);
        }
        reply
    }

    #[test]
    fn questions_are_answered() {
        let query = question(7, "a.example.org.", 15).unwrap();
        assert_eq!(question_of(&query), ("a.example.org.".to_owned(), 15));
        let reply = answer(&query, 0, &[(15, b"\0\x0a\x02mx\xc0\x0e".to_vec()), (2, b"\x02ns\0".to_vec())]);
        let read = read_answer(&reply, 7).unwrap();
        assert_eq!(
            read.records,
            [Record::Exchange("mx.example.org.".into()), Record::NameServer("ns.".into())]
        );
        assert_eq!(read_answer(&reply, 8), None);
        assert_eq!(read_answer(&query, 7), None);
        assert_eq!(question(1, "a..b", 1), None);
        assert_eq!(question(1, &"a".repeat(64), 1), None);
        assert_eq!(question(1, &"a.".repeat(200), 1), None);
    }

    #[test]
    fn a_pointer_to_itself_ends() {
        let query = question(7, "a", 1).unwrap();
        let reply = answer(&query, 0, &[(2, vec![0xc0, 31])]);
        assert_eq!(read_answer(&reply, 7), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 12..120)) {
            bytes[..4].copy_from_slice(&[0, 7, 0x80, 0]);
            let _ = read_answer(&bytes, 7);
        }
    }
}
