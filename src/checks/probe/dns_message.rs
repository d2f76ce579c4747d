//! DNS messages of probes: a question written, all sections of an answer read as the texts that zone files have.
//!
//! Invariant: no answer makes it panic, loop or grow: compression pointers are followed a bounded number of times,
//! lengths are held against what is there. Source: RFC 1035 sections 3 and 4, RFC 3596, RFC 2782, RFC 8659; texts as
//! the library behind blackbox_exporter prints them.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::module::RECORD_TYPES;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u8,
    pub(super) truncated: bool,
    pub(super) answer: Vec<String>,
    pub(super) authority: Vec<String>,
    pub(super) additional: Vec<String>,
    /// Of the first start of authority in the answer section.
    pub(super) serial: Option<u32>,
}

const HEADER_BYTES: usize = 12;

/// Most records read from an answer, and most bytes of their texts.
const MOST_RECORDS: usize = 4_096;
const MOST_TEXT: usize = 1 << 20;

/// Pointers followed within one name.
const MOST_POINTERS: usize = 32;

const LONGEST_NAME: usize = 255;

/// A question; `None` for a name that the DNS cannot have.
pub(super) fn question(id: u16, name: &str, kind: u16, class: u16, recursion: bool) -> Option<Vec<u8>> {
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
pub(super) fn read_answer(message: &[u8], id: u16) -> Result<Option<Answer>, &'static str> {
    let Some([id_high, id_low, flags, code, ..]) = message.get(..HEADER_BYTES) else {
        return Err("shorter than a header");
    };
    if u16::from_be_bytes([*id_high, *id_low]) != id || flags & 0x80 == 0 {
        return Ok(None);
    }
    read_sections(message, *flags, *code).map(Some).ok_or("a name or record does not end where it says")
}

fn read_sections(message: &[u8], flags: u8, code: u8) -> Option<Answer> {
    let mut reader = Reader { message, at: 4 };
    let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    let [questions, sections @ ..] = counts;
    for _ in 0..questions {
        reader.name()?;
        reader.skip(4)?;
    }
    let truncated = flags & 0x02 != 0;
    let mut answer = Answer { code: code & 0x0f, truncated, ..Answer::default() };
    let (mut room, mut texts) = (MOST_RECORDS, MOST_TEXT);
    for (section, count) in sections.into_iter().enumerate() {
        for _ in 0..count {
            room = room.checked_sub(1)?;
            let Some(record) = reader.record() else {
                // Cut off where the datagram ended.
                return truncated.then_some(answer);
            };
            texts = texts.checked_sub(record.text.len())?;
            if section == 0 && answer.serial.is_none() {
                answer.serial = record.serial;
            }
            match section {
                0 => answer.answer.push(record.text),
                1 => answer.authority.push(record.text),
                _ => answer.additional.push(record.text),
            }
        }
    }
    Some(answer)
}

struct Record {
    text: String,
    serial: Option<u32>,
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
        let data = self.skip(length)?;
        let mut inner = Reader { message: self.message.get(..start + length)?, at: start };
        let (value, serial) = inner.value(kind, data)?;
        let class = if class == 1 { "IN".to_owned() } else { format!("CLASS{class}") };
        let named = RECORD_TYPES.iter().find(|(_, number)| *number == kind);
        let kind = named.map_or_else(|| format!("TYPE{kind}"), |(name, _)| (*name).to_owned());
        Some(Record { text: format!("{name}\t{ttl}\t{class}\t{kind}\t{value}"), serial })
    }

    /// The data of a record as text; a start of authority's serial number beside it.
    fn value(&mut self, kind: u16, data: &[u8]) -> Option<(String, Option<u32>)> {
        let text = match kind {
            1 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string(),
            28 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string(),
            2 | 5 | 12 => self.name()?,
            6 => {
                let (server, mailbox) = (self.name()?, self.name()?);
                let numbers = [self.u32()?, self.u32()?, self.u32()?, self.u32()?, self.u32()?];
                let [serial, refresh, retry, expire, minimum] = numbers;
                let text = format!("{server} {mailbox} {serial} {refresh} {retry} {expire} {minimum}");
                return Some((text, Some(serial)));
            }
            15 => {
                let preference = self.u16()?;
                format!("{preference} {}", self.name()?)
            }
            16 => {
                let mut parts = Vec::new();
                while self.at < self.message.len() {
                    parts.push(self.string()?);
                }
                parts.join(" ")
            }
            33 => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                format!("{priority} {weight} {port} {}", self.name()?)
            }
            257 => {
                let (flag, length) = (self.u8()?, usize::from(self.u8()?));
                let tag = String::from_utf8_lossy(self.skip(length)?).into_owned();
                let rest = self.skip(self.message.len() - self.at)?;
                format!("{flag} {tag} {}", quoted(rest))
            }
            // RFC 3597: a type whose form is not known here.
            _ => {
                let mut text = format!("\\# {}", data.len());
                if !data.is_empty() {
                    text.push(' ');
                }
                for byte in data {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "{byte:02x}");
                }
                text
            }
        };
        Some((text, None))
    }

    fn string(&mut self) -> Option<String> {
        let length = usize::from(self.u8()?);
        Some(quoted(self.skip(length)?))
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

/// A character string as zone files have it.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Writing to a String cannot fail.
            byte => drop(write!(text, "\\{byte:03}")),
        }
    }
    text.push('"');
    text
}

/// Reads bytes as an answer; for fuzzing.
pub(super) fn survives(bytes: &[u8]) {
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let _ = read_answer(bytes, id);
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to a question: flags, code, and of each section type and data of its records.
    pub(in super::super) fn answer(question: &[u8], code: u8, sections: [&[(u16, Vec<u8>)]; 3]) -> Vec<u8> {
        let mut reply = question.to_vec();
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

    #[test]
    fn records_read_as_in_zone_files() {
        let asked = question(7, "example.org.", 255, 1, true).unwrap();
        let numbers: Vec<u8> = [1_u32, 2, 3, 4, 5].iter().flat_map(|n| n.to_be_bytes()).collect();
        let soa = [b"\xc0\x0c\x01m\0".as_slice(), &numbers].concat();
        let first: &[(u16, Vec<u8>)] = &[
            (1, vec![192, 0, 2, 1]),
            (28, vec![0; 16]),
            (15, b"\0\x0a\x02mx\xc0\x0c".to_vec()),
            (16, b"\x03a\"b\x01\x07".to_vec()),
            (6, soa),
            (33, b"\0\x01\0\x02\0\x50\xc0\x0c".to_vec()),
            (257, b"\0\x05issueca.org".to_vec()),
            (99, vec![0xab]),
        ];
        let reply = answer(&asked, 3, [first, &[(2, b"\x02ns\0".to_vec())], &[(41, vec![])]]);
        let read = read_answer(&reply, 7).unwrap().unwrap();
        let line = |kind: &str, value: &str| format!("example.org.\t60\tIN\t{kind}\t{value}");
        assert_eq!(
            read.answer,
            [
                line("A", "192.0.2.1"),
                line("AAAA", "::"),
                line("MX", "10 mx.example.org."),
                line("TXT", "\"a\\\"b\" \"\\007\""),
                line("SOA", "example.org. m. 1 2 3 4 5"),
                line("SRV", "1 2 80 example.org."),
                line("CAA", "0 issue \"ca.org\""),
                line("TYPE99", "\\# 1 ab"),
            ]
        );
        assert_eq!((read.code, read.serial), (3, Some(1)));
        assert_eq!(
            (read.authority, read.additional),
            (vec![line("NS", "ns.")], vec![line("TYPE41", "\\# 0")])
        );
        assert_eq!(read_answer(&reply, 8), Ok(None));
        assert_eq!(read_answer(&asked, 7), Ok(None));
    }

    #[test]
    fn answers_that_lie_are_refused() {
        let asked = question(7, "a", 1, 1, false).unwrap();
        // A length beyond the end, a pointer to itself, more records than there are, a name that is no name.
        let mut long = answer(&asked, 0, [&[(1, vec![1, 2, 3, 4])], &[], &[]]);
        let at = long.len() - 5;
        long[at] = 200;
        let itself = answer(&asked, 0, [&[(2, vec![0xc0, 31])], &[], &[]]);
        let mut many = answer(&asked, 0, [&[(1, vec![1, 2, 3, 4])], &[], &[]]);
        many[7] = 9;
        let short = answer(&asked, 0, [&[(1, vec![1, 2, 3])], &[], &[]]);
        for wrong in [&long, &itself, &many, &short, &many[..13].to_vec()] {
            assert!(read_answer(wrong, 7).is_err(), "{wrong:?}");
        }
        assert!(read_answer(&[0, 7], 7).is_err());
        // One that was cut, and says so, is as long as it is.
        many[2] |= 0x02;
        let read = read_answer(&many, 7).unwrap().unwrap();
        assert!(read.truncated && read.answer.len() == 1);
        assert_eq!(question(1, "a..b", 1, 1, true), None);
        assert_eq!(question(1, &"a".repeat(64), 1, 1, true), None);
        assert_eq!(question(1, ".", 1, 1, true).map(|message| message.len()), Some(17));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 12..160)) {
            bytes[2] |= 0x80;
            survives(&bytes);
        }
    }
}
