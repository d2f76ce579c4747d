//! Certificates of a connection as blackbox_exporter shows them.
//!
//! The verified chain is the one from the server's certificate over those presented with it. When the authority that
//! this machine trusts ends is not part of it: rustls tells the chain no further, and an authority outlives its chains.

use ring::digest::{SHA256, digest};

use super::report::{Report, SSL_EARLIEST, SSL_INFO, SSL_LAST_CHAIN, TLS_CIPHER, TLS_VERSION};
use crate::checks::certificate::der::{self, Certificate, Name, decimal};
use crate::checks::net::TlsFacts;

/// Before the year 1: what Go's zero time is where no chain was verified.
const NO_CHAIN: f64 = -62_135_596_800.0;

#[expect(clippy::cast_precision_loss, reason = "seconds, far below 2^53")]
pub(super) fn report(facts: &TlsFacts, report: &mut Report) {
    let chain: Vec<Certificate> = facts.chain.iter().filter_map(|der| der::read(der)).collect();
    let earliest = chain.iter().map(|certificate| certificate.not_after).min();
    report.set(SSL_EARLIEST, earliest.unwrap_or(0) as f64);
    let verified = if facts.verified { path_end(&chain) } else { None };
    report.set(SSL_LAST_CHAIN, verified.map_or(NO_CHAIN, |seconds| seconds as f64));
    report.info(TLS_VERSION, &[("version", &facts.version)], 1.0);
    report.info(TLS_CIPHER, &[("cipher", &facts.cipher)], 1.0);
    if let (Some(der), Some(leaf)) = (facts.chain.first(), chain.first()) {
        let fingerprint: String =
            digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let labels = [
            ("fingerprint_sha256", fingerprint),
            ("subject", shown(&leaf.subject)),
            ("issuer", shown(&leaf.issuer)),
            ("subjectalternative", leaf.dns_names.join(",")),
            ("serialnumber", decimal(&leaf.serial)),
        ];
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        report.info(SSL_INFO, &labels, 1.0);
    }
}

/// The earliest end on the way from the first certificate to the last that is presented above it.
fn path_end(chain: &[Certificate]) -> Option<i64> {
    let mut at = chain.first()?;
    let mut end = at.not_after;
    for _ in chain {
        if at.subject == at.issuer {
            break;
        }
        let Some(issuer) = chain.iter().find(|other| other.subject == at.issuer) else { break };
        end = end.min(issuer.not_after);
        at = issuer;
    }
    Some(end)
}

/// Go's order of attributes, last first.
const ORDER: [&str; 9] = ["SERIALNUMBER", "CN", "POSTALCODE", "STREET", "ST", "L", "OU", "O", "C"];

/// A distinguished name as Go prints it.
fn shown(name: &Name) -> String {
    let parts = ORDER.iter().filter_map(|short| {
        let values: Vec<String> = name
            .iter()
            .filter(|(other, _)| other == short)
            .map(|(_, value)| format!("{short}={}", escaped(value)))
            .collect();
        (!values.is_empty()).then(|| values.join("+"))
    });
    parts.collect::<Vec<_>>().join(",")
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(subject: &'static str, issuer: &'static str, not_after: i64) -> Certificate {
        let name = |text: &str| vec![("CN", text.to_owned())];
        let (serial, dns_names) = (Vec::new(), Vec::new());
        Certificate {
            serial,
            subject: name(subject),
            issuer: name(issuer),
            not_before: 0,
            not_after,
            dns_names,
        }
    }

    #[test]
    fn the_chain_ends_with_its_first_end() {
        let leaf = certificate("leaf", "between", 100);
        let stray = certificate("other", "root", 10);
        for (chain, want) in [
            (vec![leaf.clone()], Some(100)),
            (vec![leaf.clone(), stray.clone(), certificate("between", "root", 50)], Some(50)),
            (vec![leaf.clone(), certificate("between", "leaf", 200)], Some(100)),
            (vec![certificate("self", "self", 7)], Some(7)),
            (vec![], None),
        ] {
            assert_eq!(path_end(&chain), want);
        }
    }

    #[test]
    fn names_in_gos_order() {
        let name = vec![("C", "DE".to_owned()), ("O", "A, B".to_owned()), ("CN", "x".to_owned())];
        assert_eq!(shown(&name), "CN=x,O=A\\, B,C=DE");
    }
}
