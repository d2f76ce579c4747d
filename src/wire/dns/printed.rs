//! Records that nobody here computes with: their data as text, as the library behind blackbox_exporter prints it.
//!
//! Source: RFC 1183, 2782, 3403, 4034, 4255, 4398, 5155, 6672, 6698, 7553, 7929, 9460; the forms are checked against
//! blackbox_exporter.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Reader;
use super::text::{Quoted, type_name};

/// The kind of key, or of the signature that it makes, in a certificate record.
const ALGORITHMS: [(u8, &str); 12] = [
    (1, "RSAMD5"),
    (2, "DH"),
    (3, "DSA"),
    (5, "RSASHA1"),
    (6, "DSA-NSEC3-SHA1"),
    (7, "RSASHA1-NSEC3-SHA1"),
    (8, "RSASHA256"),
    (10, "RSASHA512"),
    (13, "ECDSAP256SHA256"),
    (14, "ECDSAP384SHA384"),
    (15, "ED25519"),
    (16, "ED448"),
];

const CERTIFICATE_KINDS: [(u16, &str); 8] = [
    (1, "PKIX"),
    (2, "SPKI"),
    (3, "PGP"),
    (4, "IPIX"),
    (5, "ISPKI"),
    (6, "IPGP"),
    (7, "ACPKIX"),
    (8, "IACPKIX"),
];

/// Parameters of services by number.
const PARAMETERS: [&str; 8] =
    ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath"];

/// Most types that a record's list of types is read to have: all there are.
const MOST_TYPES: usize = 1 << 16;

impl<'m> Reader<'m> {
    /// The data of a record of one of these types; `Some(None)` for any other type, `None` for what is no such data.
    pub(super) fn printed(&mut self, kind: u16) -> Option<Option<String>> {
        Some(Some(match kind {
            13 => format!("{} {}", Quoted(self.string()?), Quoted(self.string()?)),
            17 => format!("{} {}", self.name()?, self.name()?),
            18 | 36 => format!("{} {}", self.u16()?, self.name()?),
            35 => {
                let (order, preference) = (self.u16()?, self.u16()?);
                let (flags, service, regexp) = (self.string()?, self.string()?, self.string()?);
                let (flags, service, regexp) = (Quoted(flags), Quoted(service), Quoted(regexp));
                format!("{order} {preference} {flags} {service} {regexp} {}", self.name()?)
            }
            37 => self.certificate()?,
            39 => self.name()?,
            43 | 59 => format!("{} {} {} {:X}", self.u16()?, self.u8()?, self.u8()?, Hex(self.rest()?)),
            44 => format!("{} {} {:X}", self.u8()?, self.u8()?, Hex(self.rest()?)),
            46 => self.signature()?,
            47 => format!("{}{}", self.name()?, self.types()?),
            48 | 60 => format!("{} {} {} {}", self.u16()?, self.u8()?, self.u8()?, self.base64()?),
            50 => {
                let parameters = self.hash_parameters()?;
                let next = base32hex(self.string()?);
                format!("{parameters} {next}{}", self.types()?)
            }
            51 => self.hash_parameters()?,
            52 | 53 => format!("{} {} {} {:x}", self.u8()?, self.u8()?, self.u8()?, Hex(self.rest()?)),
            61 => self.base64()?,
            64 | 65 => self.service()?,
            256 => format!("{} {} {}", self.u16()?, self.u16()?, Quoted(self.rest()?)),
            _ => return Some(None),
        }))
    }

    fn string(&mut self) -> Option<&'m [u8]> {
        let length = usize::from(self.u8()?);
        self.skip(length)
    }

    fn base64(&mut self) -> Option<String> {
        self.rest().map(|rest| STANDARD.encode(rest))
    }

    fn certificate(&mut self) -> Option<String> {
        let (kind, tag, algorithm) = (self.u16()?, self.u16()?, self.u8()?);
        let kind = match CERTIFICATE_KINDS.iter().find(|(number, _)| *number == kind) {
            Some((_, name)) => (*name).to_owned(),
            None => kind.to_string(),
        };
        let algorithm = match ALGORITHMS.iter().find(|(number, _)| *number == algorithm) {
            Some((_, name)) => (*name).to_owned(),
            None => algorithm.to_string(),
        };
        Some(format!("{kind} {tag} {algorithm} {}", self.base64()?))
    }

    fn signature(&mut self) -> Option<String> {
        let covered = type_name(self.u16()?);
        let (algorithm, labels, ttl) = (self.u8()?, self.u8()?, self.u32()?);
        let (until, from) = (time(self.u32()?)?, time(self.u32()?)?);
        let (tag, signer) = (self.u16()?, self.name()?);
        let signature = self.base64()?;
        Some(format!("{covered} {algorithm} {labels} {ttl} {until} {from} {tag} {signer} {signature}"))
    }

    fn hash_parameters(&mut self) -> Option<String> {
        let (hash, flags, iterations) = (self.u8()?, self.u8()?, self.u16()?);
        let salt = self.string()?;
        let salt = if salt.is_empty() { "-".to_owned() } else { format!("{:X}", Hex(salt)) };
        Some(format!("{hash} {flags} {iterations} {salt}"))
    }

    /// The types that a name has, each after a space.
    fn types(&mut self) -> Option<String> {
        let (mut types, mut count) = (String::new(), 0);
        while self.at < self.message.len() {
            let window = self.u8()?;
            for (at, byte) in (0_u16..).zip(self.string()?) {
                for bit in (0..8_u16).filter(|bit| byte & (0x80 >> bit) != 0) {
                    count += 1;
                    let low = u8::try_from(8 * at + bit).ok()?;
                    let _ = write!(types, " {}", type_name(u16::from_be_bytes([window, low])));
                }
            }
            if count > MOST_TYPES {
                return None;
            }
        }
        Some(types)
    }

    fn service(&mut self) -> Option<String> {
        let mut text = format!("{} {}", self.u16()?, self.name()?);
        while self.at < self.message.len() {
            let (key, length) = (self.u16()?, self.u16()?);
            let value = parameter(key, self.skip(usize::from(length))?)?;
            let _ = match PARAMETERS.get(usize::from(key)) {
                Some(name) => write!(text, " {name}=\"{value}\""),
                None => write!(text, " key{key}=\"{value}\""),
            };
        }
        Some(text)
    }
}

fn parameter(key: u16, value: &[u8]) -> Option<String> {
    let mut inner = Reader { message: value, at: 0 };
    let mut parts = Vec::new();
    while inner.at < value.len() {
        parts.push(match key {
            0 => {
                let key = inner.u16()?;
                PARAMETERS
                    .get(usize::from(key))
                    .map_or_else(|| format!("key{key}"), |name| (*name).to_owned())
            }
            1 => escaped(inner.string()?),
            3 => inner.u16()?.to_string(),
            4 => Ipv4Addr::from(inner.u32()?).to_string(),
            5 => inner.base64()?,
            6 => Ipv6Addr::from(<[u8; 16]>::try_from(inner.skip(16)?).ok()?).to_string(),
            _ => escaped(inner.rest()?),
        });
    }
    Some(parts.join(","))
}

/// A value within quotes.
fn escaped(value: &[u8]) -> String {
    let mut text = String::new();
    for byte in value {
        let _ = match byte {
            b'"' | b'\\' | b';' | b' ' => write!(text, "\\{}", char::from(*byte)),
            b'!'..=b'~' => write!(text, "{}", char::from(*byte)),
            byte => write!(text, "\\{byte:03}"),
        };
    }
    text
}

/// `YYYYMMDDHHMMSS`.
fn time(seconds: u32) -> Option<String> {
    let at = jiff::Timestamp::from_second(i64::from(seconds)).ok()?;
    Some(at.strftime("%Y%m%d%H%M%S").to_string())
}

fn base32hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    let (mut text, mut held, mut bits) = (String::new(), 0_u32, 0);
    let mut push = |digit: u32| text.extend(DIGITS.get(digit as usize & 31).map(|digit| char::from(*digit)));
    for byte in bytes {
        held = (held & 0xf) << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(held >> bits);
        }
    }
    if bits > 0 {
        push(held << (5 - bits));
    }
    text
}

struct Hex<'a>(&'a [u8]);

impl fmt::UpperHex for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
