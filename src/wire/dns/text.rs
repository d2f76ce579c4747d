//! Records as zone files have them, in the form in which the library behind blackbox_exporter prints them.

use std::fmt;

use super::{Record, RecordData};

/// Types of records by name. Source: the registry of DNS parameters.
pub(crate) const RECORD_TYPES: [(&str, u16); 43] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AFSDB", 18),
    ("AAAA", 28),
    ("LOC", 29),
    ("SRV", 33),
    ("NAPTR", 35),
    ("KX", 36),
    ("CERT", 37),
    ("DNAME", 39),
    ("APL", 42),
    ("DS", 43),
    ("SSHFP", 44),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("DHCID", 49),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("SMIMEA", 53),
    ("HIP", 55),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("OPENPGPKEY", 61),
    ("CSYNC", 62),
    ("ZONEMD", 63),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("EUI48", 108),
    ("EUI64", 109),
    ("AXFR", 252),
    ("ANY", 255),
    ("URI", 256),
    ("CAA", 257),
];

/// The type that is no record: what a server says of itself.
const OPTIONS: u16 = 41;

/// Set among its flags where signatures are welcome.
const SIGNATURES_WELCOME: u32 = 0x8000;

/// A type's name, or its number.
pub(super) fn type_name(kind: u16) -> String {
    match RECORD_TYPES.iter().find(|(_, number)| *number == kind) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("TYPE{kind}"),
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, class, ttl, data } = self;
        if *kind == OPTIONS {
            let flags = if ttl & SIGNATURES_WELCOME == 0 { ": " } else { ": do" };
            let version = ttl >> 16 & 0xff;
            return write!(
                f,
                "\n;; OPT PSEUDOSECTION:\n; EDNS: version {version}; flags{flags}; udp: {class}"
            );
        }
        let known = RECORD_TYPES.iter().any(|(_, number)| number == kind);
        let class = match class {
            1 if known => "IN".to_owned(),
            3 if known => "CH".to_owned(),
            4 if known => "HS".to_owned(),
            other => format!("CLASS{other}"),
        };
        write!(f, "{name}\t{ttl}\t{class}\t{}\t{data}", type_name(*kind))
    }
}

impl fmt::Display for RecordData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{}", address.to_canonical()),
            Self::Name(name) => f.write_str(name),
            Self::Authority { server, mailbox, serial, numbers: [refresh, retry, expire, minimum] } => {
                write!(f, "{server} {mailbox} {serial} {refresh} {retry} {expire} {minimum}")
            }
            Self::Exchange { preference, host } => write!(f, "{preference} {host}"),
            Self::Text(parts) => {
                for (at, part) in parts.iter().enumerate() {
                    write!(f, "{}{}", if at == 0 { "" } else { " " }, Quoted(part))?;
                }
                Ok(())
            }
            Self::Service { priority, weight, port, host } => write!(f, "{priority} {weight} {port} {host}"),
            Self::Issuer { flags, tag, value } => {
                write!(f, "{flags} {} {}", String::from_utf8_lossy(tag), Quoted(value))
            }
            Self::Printed(text) => f.write_str(text),
            // RFC 3597.
            Self::Other(data) => {
                write!(f, "\\# {} ", data.len())?;
                data.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// A character string.
pub(super) struct Quoted<'a>(pub(super) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
                byte => write!(f, "\\{byte:03}")?,
            }
        }
        f.write_str("\"")
    }
}
