//! What `/api/v1/targets`, `/api/v1/targets/metadata` and `/api/v1/scrape_pools` show.

use std::time::Duration;

use super::pipeline::MetricMetadata;
use super::sink::TargetKey;
use super::target_loop::LastScrape;
use crate::model::Labels;

/// The targets of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSnapshot {
    /// The job's name.
    pub name: String,
    /// Targets that are scraped, by label.
    pub active: Vec<TargetSnapshot>,
    /// Discovered labels of targets that relabelling dropped; bounded.
    pub dropped: Vec<Labels>,
    /// How many were dropped.
    pub dropped_count: usize,
}

/// One target that is scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSnapshot {
    /// Which one.
    pub key: TargetKey,
    /// Labels before relabelling.
    pub discovered: Labels,
    /// How often it is scraped.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// How the last scrape went.
    pub last: LastScrape,
}

/// What one target says about one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetMetadata {
    /// Labels of the target.
    pub target: Labels,
    /// The metric.
    pub metric: String,
    /// Type, help, unit.
    pub metadata: MetricMetadata,
}

impl TargetSnapshot {
    /// Labels of its samples.
    pub fn labels(&self) -> &Labels {
        self.key.labels()
    }

    /// `scrapePool`.
    pub fn pool(&self) -> &str {
        self.key.pool()
    }

    /// `scrapeUrl`.
    pub fn url(&self) -> &str {
        self.key.url()
    }

    /// `globalUrl`: the URL as others can reach it. A target on this host's loopback gets the host of `external`
    /// (`http://host:9780`), and all of it if the port is the one that this program listens on.
    pub fn global_url(&self, external: &hyper::Uri, listen_port: u16) -> String {
        let unchanged = || self.url().to_owned();
        let Ok(url) = self.url().parse::<hyper::Uri>() else { return unchanged() };
        let (Some(host), Some(port), Some(outside)) = (url.host(), url.port_u16(), external.authority())
        else {
            return unchanged();
        };
        if !matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "::1") {
            return unchanged();
        }
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        if port == listen_port {
            return format!("{}://{outside}{path}", external.scheme_str().unwrap_or("http"));
        }
        format!("{}://{}:{port}{path}", url.scheme_str().unwrap_or("http"), outside.host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_replaced_by_what_others_reach() {
        let external: hyper::Uri = "https://host.example:9780".parse().unwrap();
        for (url, expected) in [
            ("http://localhost:9100/metrics?a=b", "http://host.example:9100/metrics?a=b"),
            ("http://127.0.0.1:9780/metrics", "https://host.example:9780/metrics"),
            ("http://10.0.0.1:9100/metrics", "http://10.0.0.1:9100/metrics"),
            ("http://localhost/metrics", "http://localhost/metrics"),
        ] {
            let snapshot = TargetSnapshot {
                key: TargetKey::new("j", Labels::empty(), url),
                discovered: Labels::empty(),
                interval: Duration::ZERO,
                timeout: Duration::ZERO,
                last: LastScrape::default(),
            };
            assert_eq!(snapshot.global_url(&external, 9780), expected);
        }
    }
}
