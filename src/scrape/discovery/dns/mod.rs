//! `dns_sd_configs`: names looked up in the DNS.
//!
//! The client is our own, a few messages over UDP and TCP: the system's resolver answers no SRV, MX or NS, and a
//! full resolver crate would outweigh all of discovery.
//!
//! Source: Prometheus's documentation of `dns_sd_config`; RFC 1035, RFC 2782; resolv.conf(5).

mod resolver;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use self::resolver::Resolver;
use crate::model::{ColdSort, Labels};
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::settings::{DnsRecord, DnsSettings, TargetGroup};
use crate::wire::dns::{Record, RecordData};

/// Looks the names of one configuration up.
pub(super) struct DnsProvider {
    settings: DnsSettings,
    metrics: ScrapeMetrics,
    /// What each name gave last.
    known: BTreeMap<String, TargetGroup>,
    /// Of tests: in place of resolv.conf.
    resolver: Option<Resolver>,
}

impl DnsProvider {
    /// `known`: groups of names as they were found before.
    pub(super) fn new(settings: &DnsSettings, known: Vec<TargetGroup>, metrics: ScrapeMetrics) -> Self {
        let known = known.into_iter().filter(|group| settings.names.contains(&group.source));
        let known = known.map(|group| (group.source.clone(), group)).collect();
        Self { settings: settings.clone(), metrics, known, resolver: None }
    }

    pub(super) const fn interval(&self) -> Duration {
        self.settings.refresh_interval
    }

    /// A name that fails keeps its targets; that it failed is the error if no name has any.
    pub(super) async fn look(&mut self) -> super::Outcome {
        let resolver = match &self.resolver {
            Some(resolver) => resolver.clone(),
            None => Resolver::from_system().await,
        };
        let mut errors = Vec::new();
        for name in &self.settings.names {
            self.metrics.get().dns_lookups.inc();
            match resolver.look_up(name, self.settings.record).await {
                Ok(records) => {
                    let group = group(name, &records, self.settings.port);
                    self.known.insert(name.clone(), group);
                }
                Err(error) => {
                    self.metrics.get().dns_failures.inc();
                    errors.push(error);
                }
            }
        }
        let any = !self.known.is_empty() || errors.is_empty();
        super::Outcome {
            groups: any.then(|| self.known.values().cloned().collect()),
            error: (!errors.is_empty()).then(|| errors.join("; ")),
        }
    }
}

fn group(name: &str, records: &[Record], port: u16) -> TargetGroup {
    let mut targets: Vec<Labels> =
        records.iter().filter_map(|record| target(name, &record.data, port)).collect();
    // Servers turn answers round; targets do not change with that.
    targets.cold_sort();
    TargetGroup { targets, labels: Labels::empty(), source: name.to_owned() }
}

/// `None` for records of types that are not asked for.
fn target(name: &str, data: &RecordData, port: u16) -> Option<Labels> {
    let of_host = |host: &str, port| format!("{}:{port}", host.trim_end_matches('.'));
    let mut service_port = String::new();
    let (address, (label, value)) = match data {
        RecordData::Address(address) => (SocketAddr::new(*address, port).to_string(), ("", String::new())),
        RecordData::Service { host, port, .. } => {
            service_port = port.to_string();
            (of_host(host, *port), ("__meta_dns_srv_record_target", host.clone()))
        }
        RecordData::Exchange { host, .. } => {
            (of_host(host, port), ("__meta_dns_mx_record_target", host.clone()))
        }
        RecordData::Name(host) => (of_host(host, port), ("__meta_dns_ns_record_target", host.clone())),
        _ => return None,
    };
    Some(Labels::from_pairs([
        ("__address__", address),
        ("__meta_dns_name", name.to_owned()),
        (label, value),
        ("__meta_dns_srv_record_port", service_port),
    ]))
}

impl DnsRecord {
    const fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ns => 2,
            Self::Mx => 15,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

#[cfg(test)]
mod tests;
