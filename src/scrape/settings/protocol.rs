//! What a target is asked to answer in, and what it may be taken for.
//!
//! Source: Prometheus's `scrape_protocols` and the `Accept` header that it builds from them.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::model::NameScheme;

/// A format that a target may answer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrapeProtocol {
    /// Delimited protobuf.
    PrometheusProto,
    /// Text 0.0.4.
    PrometheusText0_0_4,
    /// Text 1.0.0.
    PrometheusText1_0_0,
    /// OpenMetrics 0.0.1.
    OpenMetricsText0_0_1,
    /// OpenMetrics 1.0.0.
    OpenMetricsText1_0_0,
}

const PROTOCOLS: [(&str, ScrapeProtocol, &str); 5] = [
    (
        "OpenMetricsText0.0.1",
        ScrapeProtocol::OpenMetricsText0_0_1,
        "application/openmetrics-text;version=0.0.1",
    ),
    (
        "OpenMetricsText1.0.0",
        ScrapeProtocol::OpenMetricsText1_0_0,
        "application/openmetrics-text;version=1.0.0",
    ),
    (
        "PrometheusProto",
        ScrapeProtocol::PrometheusProto,
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ),
    ("PrometheusText0.0.4", ScrapeProtocol::PrometheusText0_0_4, "text/plain;version=0.0.4"),
    ("PrometheusText1.0.0", ScrapeProtocol::PrometheusText1_0_0, "text/plain;version=1.0.0"),
];

impl ScrapeProtocol {
    /// What is asked for unless the file says otherwise, the most wanted first.
    pub const DEFAULT: [Self; 4] = [
        Self::OpenMetricsText1_0_0,
        Self::OpenMetricsText0_0_1,
        Self::PrometheusText1_0_0,
        Self::PrometheusText0_0_4,
    ];

    /// The media type that the protocol means, without parameters.
    pub fn media_type(self) -> &'static str {
        let header =
            PROTOCOLS.iter().find(|(_, protocol, _)| *protocol == self).map_or("", |(_, _, header)| *header);
        header.split_once(';').map_or(header, |(media_type, _)| media_type)
    }

    /// The `Accept` header that asks for these, in falling order.
    pub fn accept(protocols: &[Self], scheme: NameScheme) -> String {
        let escaping = match scheme {
            NameScheme::Utf8 => "allow-utf-8",
            NameScheme::Legacy => "underscores",
        };
        let mut accept = String::new();
        let mut weight = PROTOCOLS.len() + 1;
        for protocol in protocols {
            let Some((_, _, header)) = PROTOCOLS.iter().find(|(_, p, _)| p == protocol) else { continue };
            accept.push_str(header);
            if matches!(protocol, Self::PrometheusText1_0_0 | Self::OpenMetricsText1_0_0) {
                // Writing to a String cannot fail.
                let _ = write!(accept, ";escaping={escaping}");
            }
            let _ = write!(accept, ";q=0.{weight},");
            weight = weight.saturating_sub(1);
        }
        let _ = write!(accept, "*/*;q=0.{weight}");
        accept
    }
}

impl FromStr for ScrapeProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = PROTOCOLS.iter().find(|(name, ..)| *name == text);
        found.map(|(_, protocol, _)| *protocol).ok_or_else(|| {
            let names: Vec<&str> = PROTOCOLS.iter().map(|(name, ..)| *name).collect();
            format!("unknown scrape protocol {text}, supported: [{}]", names.join(" "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_prometheus_own() {
        assert_eq!(
            ScrapeProtocol::accept(&ScrapeProtocol::DEFAULT, NameScheme::Utf8),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(
            ScrapeProtocol::accept(&[ScrapeProtocol::PrometheusText1_0_0], NameScheme::Legacy),
            "text/plain;version=1.0.0;escaping=underscores;q=0.6,*/*;q=0.5"
        );
        assert_eq!(ScrapeProtocol::PrometheusProto.media_type(), "application/vnd.google.protobuf");
        assert!(
            "Text".parse::<ScrapeProtocol>().unwrap_err().starts_with("unknown scrape protocol Text, supp")
        );
    }
}
