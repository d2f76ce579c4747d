//! Of a certificate in DER: serial number, names, validity.
//!
//! Reads strictly forward, without recursion; whatever does not look as expected ends the reading, so that a malformed
//! certificate is none. Signatures are not looked at: who trusts a certificate is not the question here.
//!
//! Source: RFC 5280 section 4.1; X.690; names of attributes as RFC 4514 and Go's `pkix` write them.

use jiff::civil::{DateTime, date};

use crate::wire::der::{self, Elements};

/// What is known of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checks) struct Certificate {
    /// Big-endian, without leading zeros.
    pub(in crate::checks) serial: Vec<u8>,
    pub(in crate::checks) subject: Name,
    pub(in crate::checks) issuer: Name,
    /// In seconds since 1970.
    pub(in crate::checks) not_before: i64,
    pub(in crate::checks) not_after: i64,
    pub(in crate::checks) dns_names: Vec<String>,
}

/// Attributes of a distinguished name in their order, under their short names.
pub(in crate::checks) type Name = Vec<(&'static str, String)>;

/// Most attributes of a name and most names that are read.
const MOST: usize = 200;

/// Reads a certificate; `None` if it is none.
pub(in crate::checks) fn read(certificate: &[u8]) -> Option<Certificate> {
    let mut fields = Elements(der::to_be_signed(certificate)?).skip_while(|(tag, _)| *tag == der::VERSION);
    let serial = fields.next().filter(|(tag, _)| *tag == der::INTEGER)?.1;
    let mut sequence = || fields.next().filter(|(tag, _)| *tag == der::SEQUENCE).map(|(_, content)| content);
    let _algorithm = sequence()?;
    let issuer = name(sequence()?)?;
    let mut validity = Elements(sequence()?);
    let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
    let subject = name(sequence()?)?;
    let dns_names = der::subject_alt_names(fields).map(dns_names);
    let zeros = serial.iter().take_while(|b| **b == 0).count();
    Some(Certificate {
        serial: serial.get(zeros..).unwrap_or_default().to_vec(),
        subject,
        issuer,
        not_before,
        not_after,
        dns_names: dns_names.unwrap_or_default(),
    })
}

fn name(sets: &[u8]) -> Option<Name> {
    let mut name = Name::new();
    for (tag, set) in Elements(sets).take(MOST) {
        if tag != der::SET {
            return None;
        }
        for (_, attribute) in Elements(set).take(MOST) {
            let mut parts = Elements(attribute);
            let (tag, kind) = parts.next()?;
            let (encoding, value) = parts.next()?;
            if tag != der::OBJECT_IDENTIFIER {
                return None;
            }
            name.extend(short_name(kind).map(|short| (short, text(encoding, value))));
        }
    }
    Some(name)
}

/// Of `id-at`, 2.5.4: the attributes that names have in practice.
const fn short_name(identifier: &[u8]) -> Option<&'static str> {
    match identifier {
        [0x55, 0x04, 0x03] => Some("CN"),
        [0x55, 0x04, 0x05] => Some("SERIALNUMBER"),
        [0x55, 0x04, 0x06] => Some("C"),
        [0x55, 0x04, 0x07] => Some("L"),
        [0x55, 0x04, 0x08] => Some("ST"),
        [0x55, 0x04, 0x09] => Some("STREET"),
        [0x55, 0x04, 0x0a] => Some("O"),
        [0x55, 0x04, 0x0b] => Some("OU"),
        [0x55, 0x04, 0x11] => Some("POSTALCODE"),
        _ => None,
    }
}

/// A string of whichever kind; `BMPString` is UTF-16.
fn text(encoding: u8, value: &[u8]) -> String {
    if encoding != der::BMP_STRING {
        return String::from_utf8_lossy(value).into_owned();
    }
    let units: Vec<u16> =
        value.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?))).collect();
    String::from_utf16_lossy(&units)
}

fn dns_names(names: Elements<'_>) -> Vec<String> {
    let names = names.filter(|(tag, _)| *tag == der::DNS).take(MOST);
    names.map(|(_, name)| String::from_utf8_lossy(name).into_owned()).collect()
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, in seconds since 1970.
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = text.strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        der::UTC_TIME => {
            let year = number(text.get(..2)?)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        der::GENERALIZED_TIME => (number(text.get(..4)?)?, text.get(4..)?),
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| i8::try_from(number(rest.get(at..at + 2)?)?).ok();
    let civil = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    // Not by way of a `jiff::Timestamp`: those end a day before 9999-12-31, which stands for "never".
    let days = civil.date().since(date(1970, 1, 1)).ok()?.get_days();
    let of_day = i64::from(civil.hour()) * 3600 + i64::from(civil.minute()) * 60 + i64::from(civil.second());
    Some(i64::from(days) * 86_400 + of_day)
}

fn number(digits: &[u8]) -> Option<i16> {
    digits.iter().try_fold(0_i16, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| i16::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// A big number in decimal, as Go prints it.
pub(in crate::checks) fn decimal(bytes: &[u8]) -> String {
    // Nine digits at a time, least significant first.
    let mut groups: Vec<u64> = vec![0];
    for byte in bytes.iter().take(MOST) {
        let mut carry = u64::from(*byte);
        for group in &mut groups {
            let value = *group * 256 + carry;
            (*group, carry) = (value % 1_000_000_000, value / 1_000_000_000);
        }
        if carry > 0 {
            groups.push(carry);
        }
    }
    let mut groups = groups.into_iter().rev();
    let first = groups.next().unwrap_or(0).to_string();
    groups.fold(first, |text, group| format!("{text}{group:09}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber, date_time_ymd};

    use super::*;

    fn certificate() -> Vec<u8> {
        let mut params =
            CertificateParams::new(vec!["a.example.org".to_owned(), "*.b.org".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2024, 2, 29);
        params.not_after = date_time_ymd(2061, 1, 2);
        params.serial_number =
            Some(SerialNumber::from_slice(&[0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00]));
        params.distinguished_name.push(DnType::CommonName, "a, b");
        params.distinguished_name.push(DnType::OrganizationName, "Ö");
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn what_matters_is_read() {
        let read = read(&certificate()).unwrap();
        let name: Name = vec![("CN", "a, b".to_owned()), ("O", "Ö".to_owned())];
        assert_eq!((&read.subject, &read.issuer), (&name, &name));
        assert_eq!((read.not_before, read.not_after), (1_709_164_800, 2_871_849_600));
        assert_eq!(decimal(&read.serial), "18446744073709551616");
        assert_eq!(read.dns_names, ["a.example.org", "*.b.org"]);
        assert_eq!(
            (decimal(&[]), decimal(&[255]), decimal(&[0x3b, 0x9a, 0xca, 0x00])),
            ("0".into(), "255".into(), "1000000000".into())
        );
    }

    #[test]
    fn times_of_both_kinds() {
        for (tag, text, want) in [
            (der::UTC_TIME, "700101000000Z", Some(0)),
            (der::UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (der::GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (der::GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (der::GENERALIZED_TIME, "20240229120001Z", Some(1_709_208_001)),
            (der::UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (der::GENERALIZED_TIME, "00000101000000Z", Some(-62_167_219_200)),
            (der::GENERALIZED_TIME, "20230229000000Z", None),
            (der::UTC_TIME, "701301000000Z", None),
            (der::UTC_TIME, "7001010000Z", None),
            (der::UTC_TIME, "700101000000+0100", None),
            (0x02, "700101000000Z", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())), want, "{text}");
        }
    }

    #[test]
    fn damaged_certificates_do_no_harm() {
        let good = certificate();
        for end in 0..good.len() {
            assert_eq!(read(&good[..end]), None, "cut at {end}");
        }
        for at in 0..good.len() {
            for byte in [0x00, 0x7f, 0x80, 0x84, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = read(&bad);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read(&bytes), decimal(&bytes));
        }
    }
}
