//! The subject alternative names of a certificate, as texts: rustls does not hand them out.
//!
//! Source: RFC 5280 section 4.2.1.6; the texts are those of Go's `crypto/x509`.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::der::{self, Elements};

/// DNS names, e-mail addresses, URIs and IP addresses of a certificate in DER; none of one that is malformed.
pub(super) fn subject_alt_names(certificate: &[u8]) -> Vec<String> {
    let names = der::to_be_signed(certificate).and_then(|fields| der::subject_alt_names(Elements(fields)));
    names.into_iter().flatten().filter_map(name).collect()
}

fn name((tag, bytes): (u8, &[u8])) -> Option<String> {
    match tag {
        der::EMAIL | der::DNS | der::URI => String::from_utf8(bytes.to_vec()).ok(),
        der::IP => {
            let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).to_string());
            let v6 = || <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).to_string());
            v4.or_else(|_| v6()).ok()
        }
        _ => None,
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
