//! What a probe found out, under blackbox_exporter's names.
//!
//! A family that a prober always has is 0 until more is known, as there: dashboards and rules find it also when a
//! probe fails early.

use std::net::IpAddr;
use std::time::Duration;

use super::ProbeSettings;
use super::module::Prober;
use crate::checks::sample::{Family, Sample, Samples};

pub(super) const SUCCESS: &str = "probe_success";
pub(super) const DURATION: &str = "probe_duration_seconds";
pub(super) const LOOKUP: &str = "probe_dns_lookup_time_seconds";
pub(super) const PROTOCOL: &str = "probe_ip_protocol";
pub(super) const ADDRESS_HASH: &str = "probe_ip_addr_hash";
pub(super) const FAILED_REGEX: &str = "probe_failed_due_to_regex";
pub(super) const FAILED_BYTES: &str = "probe_failed_due_to_bytes";
pub(super) const EXPECT_INFO: &str = "probe_expect_info";
pub(super) const HTTP_STATUS: &str = "probe_http_status_code";
pub(super) const HTTP_LENGTH: &str = "probe_http_content_length";
pub(super) const HTTP_BODY: &str = "probe_http_uncompressed_body_length";
pub(super) const HTTP_REDIRECTS: &str = "probe_http_redirects";
pub(super) const HTTP_SSL: &str = "probe_http_ssl";
pub(super) const HTTP_VERSION: &str = "probe_http_version";
pub(super) const HTTP_DURATION: &str = "probe_http_duration_seconds";
pub(super) const HTTP_MODIFIED: &str = "probe_http_last_modified_timestamp_seconds";
pub(super) const SSL_EARLIEST: &str = "probe_ssl_earliest_cert_expiry";
pub(super) const SSL_LAST_CHAIN: &str = "probe_ssl_last_chain_expiry_timestamp_seconds";
pub(super) const SSL_INFO: &str = "probe_ssl_last_chain_info";
pub(super) const TLS_VERSION: &str = "probe_tls_version_info";
pub(super) const TLS_CIPHER: &str = "probe_tls_cipher_info";
pub(super) const DNS_DURATION: &str = "probe_dns_duration_seconds";
pub(super) const DNS_ANSWERS: &str = "probe_dns_answer_rrs";
pub(super) const DNS_AUTHORITY: &str = "probe_dns_authority_rrs";
pub(super) const DNS_ADDITIONAL: &str = "probe_dns_additional_rrs";
pub(super) const DNS_SUCCEEDED: &str = "probe_dns_query_succeeded";
pub(super) const DNS_SERIAL: &str = "probe_dns_serial";
pub(super) const ICMP_DURATION: &str = "probe_icmp_duration_seconds";
pub(super) const ICMP_HOPS: &str = "probe_icmp_reply_hop_limit";
pub(super) const GRPC_DURATION: &str = "probe_grpc_duration_seconds";
pub(super) const GRPC_SSL: &str = "probe_grpc_ssl";
pub(super) const GRPC_STATUS: &str = "probe_grpc_status_code";
pub(super) const GRPC_HEALTH: &str = "probe_grpc_healthcheck_response";

/// All families, in the order in which they are written.
pub(in crate::checks) static FAMILIES: &[Family] = &[
    Family::gauge(SUCCESS, "Whether the probe got the answer that its module asks for."),
    Family::gauge(DURATION, "How long the probe took."),
    Family::gauge(LOOKUP, "How long finding the target's address took."),
    Family::gauge(PROTOCOL, "Version of IP that was used: 4 or 6; 0 where no address was found."),
    Family::gauge(ADDRESS_HASH, "A hash of the target's address, which tells when that changes."),
    Family::gauge(FAILED_REGEX, "Whether the probe failed because of an expression."),
    Family::gauge(FAILED_BYTES, "Whether the probe failed because other bytes came than those expected."),
    Family::gauge(EXPECT_INFO, "What the line that fitted an expression holds, in the labels of its step."),
    Family::gauge(HTTP_STATUS, "Status code of the answer; 0 where there was none."),
    Family::gauge(HTTP_LENGTH, "Length of the body as the server announced it; -1 where it did not."),
    Family::gauge(HTTP_BODY, "Length of the body as it came, inflated."),
    Family::gauge(HTTP_REDIRECTS, "Redirects that were followed."),
    Family::gauge(HTTP_SSL, "Whether the last answer came over TLS."),
    Family::gauge(HTTP_VERSION, "Version of HTTP of the answer."),
    Family::gauge(HTTP_DURATION, "How long each phase took, over all redirects."),
    Family::gauge(
        HTTP_MODIFIED,
        "When the server says that the answer was last changed, in seconds since 1970.",
    ),
    Family::gauge(
        SSL_EARLIEST,
        "When the first certificate of the presented chain ends, in seconds since 1970.",
    ),
    Family::gauge(SSL_LAST_CHAIN, "When the verified chain ends, in seconds since 1970."),
    Family::gauge(SSL_INFO, "Who the server's certificate is for, and by whom."),
    Family::gauge(TLS_VERSION, "The version of TLS that was agreed upon."),
    Family::gauge(TLS_CIPHER, "The cipher that was agreed upon."),
    Family::gauge(DNS_DURATION, "How long each phase took."),
    Family::gauge(DNS_ANSWERS, "Records in the answer section."),
    Family::gauge(DNS_AUTHORITY, "Records in the authority section."),
    Family::gauge(DNS_ADDITIONAL, "Records in the additional section."),
    Family::gauge(DNS_SUCCEEDED, "Whether an answer of DNS came at all."),
    Family::gauge(DNS_SERIAL, "Serial number of the zone, where its SOA is asked for; 0 without one."),
    Family::gauge(ICMP_DURATION, "How long each phase took."),
    Family::gauge(ICMP_HOPS, "Hops that the reply had left, where the kernel tells."),
    Family::gauge(GRPC_DURATION, "How long each phase took."),
    Family::gauge(GRPC_SSL, "Whether the answer came over TLS."),
    Family::gauge(GRPC_STATUS, "gRPC's status of the call."),
    Family::gauge(GRPC_HEALTH, "Which health the service says it has."),
];

/// Values by family, and by label where there are several.
#[derive(Debug)]
pub(super) struct Report {
    samples: Samples,
    values: Vec<(&'static str, &'static str, f64)>,
}

impl Report {
    pub(super) fn new(settings: &ProbeSettings) -> Self {
        let mut own = settings.labels.clone();
        own.extend([
            ("probe".to_owned(), settings.name.clone()),
            ("target".to_owned(), settings.target.clone()),
            ("module".to_owned(), settings.module_name.clone()),
        ]);
        let mut report = Self { samples: Samples::new(own), values: Vec::new() };
        for family in [LOOKUP, PROTOCOL, ADDRESS_HASH] {
            report.set(family, 0.0);
        }
        let (families, phased, phases): (&[&str], &str, &[&str]) = match &settings.module.prober {
            Prober::Http(_) => (
                &[FAILED_REGEX, HTTP_STATUS, HTTP_LENGTH, HTTP_BODY, HTTP_REDIRECTS, HTTP_SSL, HTTP_VERSION],
                HTTP_DURATION,
                &["resolve"],
            ),
            Prober::Tcp(module) if module.query_response.iter().any(|step| !step.expect_bytes.is_empty()) => {
                (&[FAILED_REGEX, FAILED_BYTES], "", &[])
            }
            Prober::Tcp(_) => (&[FAILED_REGEX], "", &[]),
            Prober::Dns(_) => {
                let families = &[DNS_ANSWERS, DNS_AUTHORITY, DNS_ADDITIONAL, DNS_SUCCEEDED];
                (families, DNS_DURATION, &["resolve", "connect", "request"])
            }
            Prober::Icmp(_) => (&[], ICMP_DURATION, &["resolve", "setup", "rtt"]),
            Prober::Grpc(_) => (&[GRPC_SSL, GRPC_STATUS], GRPC_DURATION, &["resolve", "check"]),
        };
        for family in families {
            report.set_named(family, "", 0.0);
        }
        for phase in phases {
            report.set_named(phased, phase, 0.0);
        }
        report
    }

    /// Sets the value of a family.
    pub(super) fn set(&mut self, family: &'static str, value: f64) {
        self.set_named(family, "", value);
    }

    pub(super) fn set_flag(&mut self, family: &'static str, flag: bool) {
        self.set(family, f64::from(u8::from(flag)));
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    pub(super) fn set_count(&mut self, family: &'static str, count: usize) {
        self.set(family, count as f64);
    }

    /// Adds the duration of a phase to what it has already.
    pub(super) fn phase(&mut self, family: &'static str, phase: &'static str, took: Duration) {
        let before = self.values.iter().find(|(name, label, _)| (*name, *label) == (family, phase));
        let before = before.map_or(0.0, |(.., value)| *value);
        self.set_named(family, phase, before + took.as_secs_f64());
    }

    pub(super) fn set_named(&mut self, family: &'static str, label: &'static str, value: f64) {
        match self.values.iter_mut().find(|(name, other, _)| (*name, *other) == (family, label)) {
            Some((.., before)) => *before = value,
            None => self.values.push((family, label, value)),
        }
    }

    /// A sample with labels that only the answer tells.
    pub(super) fn info(&mut self, family: &'static str, labels: &[(&str, &str)], value: f64) {
        self.samples.with(family, labels, value);
    }

    /// Notes where the target is, or that nobody knows.
    pub(super) fn resolved(
        &mut self,
        address: Result<IpAddr, String>,
        took: Duration,
    ) -> Result<IpAddr, String> {
        self.set(LOOKUP, took.as_secs_f64());
        let address = address?;
        self.set(PROTOCOL, if address.is_ipv4() { 4.0 } else { 6.0 });
        self.set(ADDRESS_HASH, f64::from(address_hash(address)));
        Ok(address)
    }

    /// Takes back what only a lookup tells: a proxy does it.
    pub(super) fn not_resolved(&mut self) {
        let told = [LOOKUP, PROTOCOL, ADDRESS_HASH];
        self.values.retain(|(family, label, _)| !told.contains(family) && *label != "resolve");
    }

    pub(super) fn finish(mut self, result: &Result<(), String>, took: Duration) -> Vec<Sample> {
        self.set_flag(SUCCESS, result.is_ok());
        self.set(DURATION, took.as_secs_f64());
        for (family, label, value) in self.values {
            let name = if family == GRPC_HEALTH { "serving_status" } else { "phase" };
            let labels = [(name, label)];
            self.samples.with(family, if label.is_empty() { &[] } else { &labels }, value);
        }
        self.samples.finish()
    }
}

/// FNV-1a, 32 bits, over the bytes of the address.
fn address_hash(address: IpAddr) -> u32 {
    let hash = |bytes: &[u8]| {
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    };
    match address {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}
