//! Records as zone files have them, in the form in which the library behind blackbox_exporter prints them.

use std::fmt;

use super::{Record, RecordData};

/// Types of records by name. Source: the registry of DNS parameters.
pub(crate) const RECORD_TYPES: [(&str, u16); 16] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DS", 43),
    ("RRSIG", 46),
    ("DNSKEY", 48),
    ("HTTPS", 65),
    ("ANY", 255),
    ("CAA", 257),
];

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, class, ttl, data } = self;
        write!(f, "{name}\t{ttl}\t")?;
        match class {
            1 => f.write_str("IN\t")?,
            other => write!(f, "CLASS{other}\t")?,
        }
        match RECORD_TYPES.iter().find(|(_, number)| number == kind) {
            Some((known, _)) => f.write_str(known)?,
            None => write!(f, "TYPE{kind}")?,
        }
        write!(f, "\t{data}")
    }
}

impl fmt::Display for RecordData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
            Self::Authority { server, mailbox, serial, numbers: [refresh, retry, expire, minimum] } => {
                write!(f, "{server} {mailbox} {serial} {refresh} {retry} {expire} {minimum}")
            }
            Self::Exchange { preference, host } => write!(f, "{preference} {host}"),
            Self::Text(parts) => {
                for (at, part) in parts.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { " " })?;
                    quoted(part, f)?;
                }
                Ok(())
            }
            Self::Service { priority, weight, port, host } => write!(f, "{priority} {weight} {port} {host}"),
            Self::Issuer { flags, tag, value } => {
                write!(f, "{flags} {} ", String::from_utf8_lossy(tag))?;
                quoted(value, f)
            }
            // RFC 3597.
            Self::Other(data) => {
                write!(f, "\\# {}", data.len())?;
                f.write_str(if data.is_empty() { "" } else { " " })?;
                data.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// A character string.
fn quoted(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for byte in bytes {
        match byte {
            b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
            b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
            byte => write!(f, "\\{byte:03}")?,
        }
    }
    f.write_str("\"")
}
