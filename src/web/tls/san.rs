//! The subject alternative names of a certificate, as texts.
//!
//! rustls does not hand them out, and a whole X.509 parser for one extension would be the largest
//! dependency of this module. Reads DER strictly forward, without recursion; whatever does not look
//! as expected ends the reading, so a malformed certificate has no names and is refused.
//!
//! Source: RFC 5280 sections 4.1 and 4.2.1.6; the texts are those of Go's `crypto/x509`.

use std::net::{Ipv4Addr, Ipv6Addr};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
/// `[3] EXPLICIT`: the extensions of a `TBSCertificate`.
const EXTENSIONS: u8 = 0xa3;
/// `id-ce-subjectAltName`, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Implicit tags of `GeneralName`.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// DNS names, e-mail addresses, URIs and IP addresses of a certificate in DER.
pub(super) fn subject_alt_names(certificate: &[u8]) -> Vec<String> {
    names_extension(certificate).map(|names| Elements(names).filter_map(name).collect()).unwrap_or_default()
}

fn names_extension(certificate: &[u8]) -> Option<&[u8]> {
    let certificate = child(certificate, SEQUENCE)?;
    let to_be_signed = child(certificate, SEQUENCE)?;
    let (_, extensions) = Elements(to_be_signed).find(|(tag, _)| *tag == EXTENSIONS)?;
    let extensions = child(extensions, SEQUENCE)?;
    let extension = Elements(extensions).find(|(tag, extension)| {
        *tag == SEQUENCE && child(extension, OBJECT_IDENTIFIER) == Some(SUBJECT_ALT_NAME)
    });
    // Between the identifier and the value there may be the boolean `critical`.
    let (_, value) = Elements(extension?.1).find(|(tag, _)| *tag == OCTET_STRING)?;
    child(value, SEQUENCE)
}

fn name((tag, bytes): (u8, &[u8])) -> Option<String> {
    match tag {
        EMAIL | DNS | URI => String::from_utf8(bytes.to_vec()).ok(),
        IP => {
            let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).to_string());
            let v6 = || <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).to_string());
            v4.or_else(|_| v6()).ok()
        }
        _ => None,
    }
}

/// The content of the first element, if it has this tag.
fn child(der: &[u8], tag: u8) -> Option<&[u8]> {
    Elements(der).next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// The elements of a constructed value: tag and content.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Long form: up to four bytes of length; more, or none, is not DER of a certificate.
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate() -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::DnsName("a.example.org".try_into().unwrap()),
            SanType::Rfc822Name("b@example.org".try_into().unwrap()),
            SanType::URI("spiffe://example.org/c".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 1].into()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::DnsName("x".repeat(200).try_into().unwrap()),
        ];
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn every_kind_of_name_is_found() {
        let long = "x".repeat(200);
        assert_eq!(
            subject_alt_names(&certificate()),
            ["a.example.org", "b@example.org", "spiffe://example.org/c", "192.0.2.1", "2001:db8::1", &long]
        );
        let nameless = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(subject_alt_names(nameless.der()), [""; 0]);
    }

    #[test]
    fn damaged_certificates_do_no_harm() {
        let good = certificate();
        for end in 0..good.len() {
            assert!(subject_alt_names(&good[..end]).is_empty(), "cut at {end}");
        }
        for at in 0..good.len() {
            for byte in [0x00, 0x7f, 0x80, 0x84, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                assert!(subject_alt_names(&bad).len() <= 8);
            }
        }
    }
}
